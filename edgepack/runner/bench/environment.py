"""The state this box is in right now: frequencies, temperatures, throttling, load, memory.

Read before and after a benchmark. What cannot be read is None with its reason, never 0: virtual
machines and containers have none of these files. It is not aware of what it means for trust.
Used by `bench`.
"""

from __future__ import annotations

from collections.abc import Callable

from edgepack.formats.device import Environment, Frequency
from edgepack.runner.bench.board import read_power_mode, read_throttles
from edgepack.runner.bench.cgroup import read_cgroup
from edgepack.runner.bench.device import NO_GPU_USED, read_meminfo
from edgepack.runner.bench.system import SystemTree

#: Returns whether the kernel's clock is synchronised, or None when that cannot be asked.
ClockSynced = Callable[[], bool | None]

#: adjtimex(2) answers TIME_ERROR while the clock is not synchronised.
_TIME_ERROR = 5
#: sizeof(struct timex) is 208 bytes on 64-bit Linux; adjtimex writes no more than that.
_TIMEX_BYTES = 512


def read_environment(system: SystemTree, clock_synced: ClockSynced) -> Environment:
    """Reads the box's state.

    Args:
        system: The file tree to look at.
        clock_synced: Asks the kernel about its clock.

    Returns:
        The state, each missing value with its reason.
    """
    memory = read_meminfo(system)
    swap_total, swap_free = memory.get("SwapTotal"), memory.get("SwapFree")
    swap_used = None if swap_total is None or swap_free is None else swap_total - swap_free
    cgroup = read_cgroup(system)
    no_memory = "/proc/meminfo is absent"
    values = {
        "frequency": (_frequencies(system), "no /sys/devices/system/cpu/cpufreq/policy*"),
        "temperature_mc": (_temperatures(system), "no /sys/class/thermal/thermal_zone*"),
        "throttle": (read_throttles(system), "no throttle counter or flag in /sys"),
        "load_1m": (_first_number(system, "/proc/loadavg"), "/proc/loadavg is absent"),
        "memory_available": (memory.get("MemAvailable"), no_memory),
        "swap_total": (swap_total, no_memory),
        "swap_used": (swap_used, no_memory),
        "cgroup_cpu_max": (cgroup.cpu_max, "no CPU limit in the cgroup"),
        "cgroup_memory_max": (cgroup.memory_max, "no memory limit in the cgroup"),
        "cgroup_throttled": (cgroup.throttled, "no CPU limit in the cgroup"),
        "uptime_s": (_first_number(system, "/proc/uptime"), "/proc/uptime is absent"),
        "clock_synced": (clock_synced(), "adjtimex cannot be called"),
        "power_mode": (read_power_mode(system), "the board names no power mode"),
        # `gpu` beside this puts the cards in, where the runtime uses them.
        "gpu": (None, NO_GPU_USED),
    }
    return Environment(
        **{name: value for name, (value, _) in values.items()},  # type: ignore[arg-type]
        missing={name: reason for name, (value, reason) in values.items() if value is None},
    )


def kernel_clock_synced() -> bool | None:
    """Asks the kernel whether its clock is synchronised, by adjtimex(2) without changing it."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        # All modes zero: read only.
        state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (ImportError, OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def _frequencies(system: SystemTree) -> dict[str, Frequency] | None:
    found = {}
    for path in system.names("/sys/devices/system/cpu/cpufreq", "policy*"):
        found[path.rpartition("/")[2]] = Frequency(
            governor=system.text(f"{path}/scaling_governor") or None,
            current_khz=system.number(f"{path}/scaling_cur_freq"),
            min_khz=system.number(f"{path}/scaling_min_freq"),
            max_khz=system.number(f"{path}/scaling_max_freq"),
        )
    # A GPU's clock, and on some boards the memory's; devfreq counts in Hz.
    for path in system.names("/sys/class/devfreq", "*"):
        found[f"devfreq {path.rpartition('/')[2][:60]}"] = Frequency(
            governor=system.text(f"{path}/governor") or None,
            current_khz=_khz(system.number(f"{path}/cur_freq")),
            min_khz=_khz(system.number(f"{path}/min_freq")),
            max_khz=_khz(system.number(f"{path}/max_freq")),
        )
    return found or None


def _khz(hertz: int | None) -> int | None:
    return None if hertz is None else hertz // 1000


def _temperatures(system: SystemTree) -> dict[str, int] | None:
    found = {}
    for path in system.names("/sys/class/thermal", "thermal_zone*"):
        temperature = system.number(f"{path}/temp")
        if temperature is not None:
            kind = system.text(f"{path}/type") or "unknown"
            found[f"{path.rpartition('/')[2]}:{kind[:60]}"] = temperature
    return found or None


def _first_number(system: SystemTree, path: str) -> float | None:
    text = system.text(path)
    try:
        return None if not text else float(text.split()[0])
    except ValueError:
        return None
