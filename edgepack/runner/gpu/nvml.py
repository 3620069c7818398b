"""Asks NVIDIA's management library (NVML) about the cards; the only file that imports `pynvml`.

Serial numbers and UUIDs are never asked for. What a card or a driver does not tell is None with
the reason. It is not aware of what the answers mean. Used by `looking`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgepack.formats.device import GpuCard, GpuState
from edgepack.runner.gpu.own import OwnProcess, read_own_process

#: What NVML says when it cannot be used at all.
Trouble = Literal[
    "no_package", "no_library", "not_loaded", "no_permission", "mismatch", "lost", "other"
]
#: Source: nvml.h, `nvmlReturn_t`.
_TROUBLES: Final[dict[int, Trouble]] = {
    4: "no_permission",
    9: "not_loaded",
    12: "no_library",
    15: "lost",
    16: "lost",
    18: "mismatch",
}
#: Source: nvml.h, `nvmlComputeMode_t`; the second was taken out long ago.
_COMPUTE_MODES: Final = {
    0: "default",
    1: "exclusive_thread",
    2: "prohibited",
    3: "exclusive_process",
}
#: Source: nvml.h, `nvmlClocksEventReason*`, before that `nvmlClocksThrottleReason*`.
REASONS: Final = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
_SM_CLOCK, _MEMORY_CLOCK = 1, 2
_GPU_TEMPERATURE = 0
_POWER_POLICY, _THERMAL_POLICY = 0, 1
#: sizeof(nvmlMemory_v2_t) with its version number in the upper bytes.
_MEMORY_V2 = 0x02000028
_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the cards.

    Attributes:
        trouble: Why nothing could be asked; None when all is well.
        words: NVML's own words for it.
        driver_version: Such as `550.54.15`.
        cuda_version: The newest CUDA this driver runs, such as `12.4`.
        cards: What the cards are, in NVML's order.
        states: The state each is in.
        visible: The cards CUDA shows to this process, by their place above.
    """

    trouble: Trouble | None = None
    words: str = ""
    driver_version: str | None = None
    cuda_version: str | None = None
    cards: tuple[GpuCard, ...] = ()
    states: tuple[GpuState, ...] = ()
    visible: tuple[int, ...] = ()


def look_at_cards(
    visible: str | None = None, nvml: Any = None, own: OwnProcess | None = None
) -> Look:
    """Asks NVML once.

    Args:
        visible: CUDA_VISIBLE_DEVICES; None where it is not set.
        nvml: What has pynvml's functions; the package itself by default.
        own: What this process knows of itself; None: it is read.

    Returns:
        What it says; nothing is raised for what a box may have.
    """
    if nvml is None:
        try:
            import pynvml
        except ImportError as error:
            return Look("no_package", f"the package nvidia-ml-py is not there: {error}")
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _in_trouble(error)
    try:
        return _look(nvml, visible, own or read_own_process())
    except nvml.NVMLError as error:
        return _in_trouble(error)
    finally:
        _ask(nvml, "nvmlShutdown")


def _in_trouble(error: Any) -> Look:
    number = int(getattr(error, "value", 0))
    return Look(_TROUBLES.get(number, "other"), str(error))


def _look(nvml: Any, visible: str | None, own: OwnProcess) -> Look:
    handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(int(nvml.nvmlDeviceGetCount()))]
    driver, _ = _ask(nvml, "nvmlSystemGetDriverVersion")
    cuda, _ = _ask(nvml, "nvmlSystemGetCudaDriverVersion")
    return Look(
        driver_version=None if driver is None else _text(driver),
        # 12040 is 12.4. Source: nvml.h, NVML_CUDA_DRIVER_VERSION_MAJOR.
        cuda_version=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        cards=tuple(_read_card(nvml, each) for each in handles),
        states=tuple(_read_state(nvml, each, own) for each in handles),
        visible=_visible_cards(nvml, visible, len(handles)),
    )


def _ask(nvml: Any, question: str, *about: Any) -> tuple[Any, str]:
    """Returns an answer to a function of NVML, or None and why there is none."""
    ask = getattr(nvml, question, None)
    if ask is None:
        # The package of a box may be older than what is asked.
        return None, f"this nvidia-ml-py has no {question}"
    try:
        return ask(*about), ""
    except nvml.NVMLError as error:
        return None, str(error)[:200] or "NVML does not tell"


def _read_card(nvml: Any, handle: Any) -> GpuCard:
    name, capability = "nvmlDeviceGetName", "nvmlDeviceGetCudaComputeCapability"
    answers: dict[str, tuple[Any, str]] = {
        "name": _then(_text, _ask(nvml, name, handle)),
        "compute_capability": _then(_dotted, _ask(nvml, capability, handle)),
        "memory_total": _then(lambda each: int(each.total), _memory(nvml, handle)),
        "sm_clock_max_mhz": _ask(nvml, "nvmlDeviceGetMaxClockInfo", handle, _SM_CLOCK),
        "memory_clock_max_mhz": _ask(nvml, "nvmlDeviceGetMaxClockInfo", handle, _MEMORY_CLOCK),
        "power_limit_mw": _ask(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle),
        "persistence_mode": _then(bool, _ask(nvml, "nvmlDeviceGetPersistenceMode", handle)),
        "compute_mode": _then(
            lambda mode: _COMPUTE_MODES.get(int(mode), f"mode {mode}"),
            _ask(nvml, "nvmlDeviceGetComputeMode", handle),
        ),
        "mig_mode": _then(
            lambda modes: "on" if modes[0] else "off",
            _ask(nvml, "nvmlDeviceGetMigMode", handle),
        ),
    }
    return GpuCard(**_values(answers), missing=_missing(answers))


def _read_state(nvml: Any, handle: Any, own: OwnProcess) -> GpuState:
    memory = _memory(nvml, handle)
    violation = "nvmlDeviceGetViolationStatus"
    answers: dict[str, tuple[Any, str]] = {
        "memory_used": _then(lambda each: int(each.used), memory),
        "memory_free": _then(lambda each: int(each.free), memory),
        "sm_clock_mhz": _ask(nvml, "nvmlDeviceGetClockInfo", handle, _SM_CLOCK),
        "memory_clock_mhz": _ask(nvml, "nvmlDeviceGetClockInfo", handle, _MEMORY_CLOCK),
        "temperature_mc": _then(
            lambda celsius: int(celsius) * 1000,
            _ask(nvml, "nvmlDeviceGetTemperature", handle, _GPU_TEMPERATURE),
        ),
        "power_mw": _ask(nvml, "nvmlDeviceGetPowerUsage", handle),
        "utilisation": _then(
            lambda rates: rates.gpu / _PERCENT,
            _ask(nvml, "nvmlDeviceGetUtilizationRates", handle),
        ),
        "throttle_reasons": _then(decode_reasons, _reasons(nvml, handle)),
        "throttled_thermal_ns": _then(
            lambda each: int(each.violationTime), _ask(nvml, violation, handle, _THERMAL_POLICY)
        ),
        "throttled_power_ns": _then(
            lambda each: int(each.violationTime), _ask(nvml, violation, handle, _POWER_POLICY)
        ),
        "other_processes": _then(
            lambda running: own.others([int(each.pid) for each in running]),
            _ask(nvml, "nvmlDeviceGetComputeRunningProcesses", handle),
        ),
    }
    return GpuState(**_values(answers), missing=_missing(answers))


def _memory(nvml: Any, handle: Any) -> tuple[Any, str]:
    # The first version counts what the driver keeps to itself as used.
    try:
        answer = _ask(nvml, "nvmlDeviceGetMemoryInfo", handle, _MEMORY_V2)
    except TypeError:
        # A package before 11.510 knows the first version alone.
        answer = None, ""
    return answer if answer[0] is not None else _ask(nvml, "nvmlDeviceGetMemoryInfo", handle)


def _reasons(nvml: Any, handle: Any) -> tuple[Any, str]:
    # Drivers before 535 and packages before 12.535 know only the old name.
    answer = _ask(nvml, "nvmlDeviceGetCurrentClocksEventReasons", handle)
    if answer[0] is not None:
        return answer
    return _ask(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", handle)


def decode_reasons(bits: int) -> tuple[str, ...]:
    """Returns the words of NVML's bits for why a card's clocks are not higher."""
    known = tuple(word for bit, word in REASONS.items() if bits & bit)
    rest = bits & ~sum(REASONS)
    return (*known, f"unknown {rest:#x}") if rest else known


def _then(turn: Callable[[Any], Any], answer: tuple[Any, str]) -> tuple[Any, str]:
    value, reason = answer
    return (None, reason) if value is None else (turn(value), reason)


def _text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value))[:200]


def _dotted(pair: Any) -> str:
    return ".".join(str(int(each)) for each in pair)


def _values(answers: dict[str, tuple[Any, str]]) -> dict[str, Any]:
    return {name: value for name, (value, _) in answers.items()}


def _missing(answers: dict[str, tuple[Any, str]]) -> dict[str, str]:
    return {name: reason for name, (value, reason) in answers.items() if value is None}


def _visible_cards(nvml: Any, visible: str | None, count: int) -> tuple[int, ...]:
    """Reads CUDA_VISIBLE_DEVICES as CUDA does: up to the first entry that names no card.

    Source: CUDA C++ Programming Guide, "CUDA Environment Variables".
    """
    if visible is None:
        return tuple(range(count))
    found: list[int] = []
    for entry in (each.strip() for each in visible.split(",")):
        if entry.isdigit() and int(entry) < count:
            number = int(entry)
        elif entry.startswith("GPU-"):
            handle, _ = _ask(nvml, "nvmlDeviceGetHandleByUUID", entry)
            index, _ = (None, "") if handle is None else _ask(nvml, "nvmlDeviceGetIndex", handle)
            if index is None:
                break
            number = int(index)
        elif entry.startswith("MIG-") and count:
            # A slice of a card; which card it is of makes no difference to what is asked here.
            number = 0
        else:
            break
        if number in found:
            break
        found.append(number)
    return tuple(found)
