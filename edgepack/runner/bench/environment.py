"""The state this box is in right now: frequencies, temperatures, throttling, load, memory.

Read before and after a benchmark. What cannot be read is None with its reason, never 0: virtual
machines and containers have none of these files. It is not aware of what it means for trust.
Used by `bench`.
"""

from __future__ import annotations

from collections.abc import Callable

from edgepack.formats.device import Environment, Frequency, Throttle
from edgepack.runner.bench.device import read_meminfo
from edgepack.runner.bench.system import SystemTree

#: Returns whether the kernel's clock is synchronised, or None when that cannot be asked.
ClockSynced = Callable[[], bool | None]

_CGROUP = "/sys/fs/cgroup"
#: Beyond this a limit is "no limit": cgroup v1 writes the largest page-aligned 64-bit number.
_NO_LIMIT = 2**60
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
    no_memory = "/proc/meminfo is absent"
    values = {
        "frequency": (_frequencies(system), "no /sys/devices/system/cpu/cpufreq/policy*"),
        "temperature_mc": (_temperatures(system), "no /sys/class/thermal/thermal_zone*"),
        "throttle": (_throttles(system), "no throttle counter or flag in /sys"),
        "load_1m": (_first_number(system, "/proc/loadavg"), "/proc/loadavg is absent"),
        "memory_available": (memory.get("MemAvailable"), no_memory),
        "swap_total": (swap_total, no_memory),
        "swap_used": (swap_used, no_memory),
        "cgroup_cpu_max": (_cgroup_cpu(system), "no CPU limit in the cgroup"),
        "cgroup_memory_max": (_cgroup_memory(system), "no memory limit in the cgroup"),
        "cgroup_throttled": (_cgroup_throttled(system), "no CPU limit in the cgroup"),
        "uptime_s": (_first_number(system, "/proc/uptime"), "/proc/uptime is absent"),
        "clock_synced": (clock_synced(), "adjtimex cannot be called"),
        "power_mode": (_power_mode(system), "the board names no power mode"),
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
    return found or None


def _temperatures(system: SystemTree) -> dict[str, int] | None:
    found = {}
    for path in system.names("/sys/class/thermal", "thermal_zone*"):
        temperature = system.number(f"{path}/temp")
        if temperature is not None:
            kind = system.text(f"{path}/type") or "unknown"
            found[f"{path.rpartition('/')[2]}:{kind[:60]}"] = temperature
    return found or None


def _throttles(system: SystemTree) -> tuple[Throttle, ...] | None:
    found = []
    # Raspberry Pi firmware: bits for under-voltage, capped and throttled, now and since boot.
    # Source: linux, drivers/hwmon and soc/bcm2835 `get_throttled`; hexadecimal.
    flags = system.text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if flags:
        found += _throttle("raspberrypi get_throttled", flags, 16)
    for path in system.names("/sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle"):
        for name in ("core_throttle_count", "package_throttle_count"):
            text = system.text(f"{path}/{name}")
            if text:
                found += _throttle(f"{path.split('/')[-2]} {name}", text, 10)
    for path in system.names("/sys/class/thermal", "cooling_device*"):
        kind = system.text(f"{path}/type") or "unknown"
        # An idle fan or a backlight cools nothing that slows the CPU.
        if "cpu" in kind.lower() or "processor" in kind.lower():
            text = system.text(f"{path}/cur_state")
            if text:
                found += _throttle(f"{path.rpartition('/')[2]} {kind[:60]}", text, 10)
    return tuple(found) or None


def _throttle(source: str, text: str, base: int) -> list[Throttle]:
    try:
        value = int(text, base)
    except ValueError:
        return []
    return [Throttle(source, value)] if value >= 0 else []


def _first_number(system: SystemTree, path: str) -> float | None:
    text = system.text(path)
    try:
        return None if not text else float(text.split()[0])
    except ValueError:
        return None


def _cgroup_cpu(system: SystemTree) -> str | None:
    text = system.text(f"{_CGROUP}/cpu.max")
    if text:
        return None if text.startswith("max") else text[:200]
    quota = system.number(f"{_CGROUP}/cpu/cpu.cfs_quota_us")
    period = system.number(f"{_CGROUP}/cpu/cpu.cfs_period_us")
    return f"{quota} {period}" if quota is not None and quota > 0 and period else None


def _cgroup_memory(system: SystemTree) -> int | None:
    for path in ("memory.max", "memory/memory.limit_in_bytes"):
        limit = system.number(f"{_CGROUP}/{path}")
        if limit is not None and limit < _NO_LIMIT:
            return limit
    return None


def _cgroup_throttled(system: SystemTree) -> int | None:
    for path in ("cpu.stat", "cpu/cpu.stat"):
        for line in (system.text(f"{_CGROUP}/{path}") or "").splitlines():
            name, _, value = line.partition(" ")
            if name == "nr_throttled" and value.isdigit():
                return int(value)
    return None


def _power_mode(system: SystemTree) -> str | None:
    # Jetson: nvpmodel keeps its present mode's number here.
    jetson = system.text("/var/lib/nvpmodel/status")
    if jetson:
        return jetson[:200]
    profile = system.text("/sys/firmware/acpi/platform_profile")
    return profile[:200] if profile else None
