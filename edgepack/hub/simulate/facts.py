"""What a box says of itself in a report: what it is, and the state it is in before and after.

It is not aware of latencies. Used by `reports`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final

from edgepack.formats.device import (
    DeviceFacts,
    Environment,
    Frequency,
    GpuCard,
    GpuFacts,
    GpuState,
    Throttle,
)
from edgepack.hub.simulate.boxes import Moment, Trouble, Weather
from edgepack.hub.simulate.classes import BoxClass, Card

_DRIVER: Final = "550.54.15"
_CUDA: Final = "12.4"
_UNDER_VOLTAGE_NOW: Final = 0x00001
#: Throttled now and since boot. Source: the Raspberry Pi documentation of `get_throttled`.
_PI_THROTTLED: Final = 0x40004
_PI_SINCE_BOOT: Final = 0x40000
#: A seventh of the boxes have throttled at some time since they were switched on.
_ONCE_THROTTLED: Final = 7
_LEAST_THROTTLE: Final = 0.06
_CARD_THROTTLES_MC: Final = 33_000
_CARD_CHANCE: Final = 0.5
#: What a runner calls a rise and a drift. Source: docs/benchmarking.md.
_TEMPERATURE_RISE_MC: Final = 10_000
_FREQUENCY_DRIFT: Final = 0.05


def weather_of(moment: Moment, chance: random.Random) -> Weather:
    """Works out how warm a benchmark makes the chip, and what that does to its clock."""
    kind = moment.box.kind
    before = moment.room_mc + moment.box.enclosure_mc + kind.idle_mc
    before += int(chance.gauss(0, 900))
    wanted = before + int(kind.rise_mc * chance.uniform(0.75, 1.2))
    over = max(wanted - kind.limit_mc, 0)
    # Half a per cent of the speed for each tenth of a degree above the limit.
    ramp = min(_LEAST_THROTTLE + over / 20_000, 0.8) if over and not kind.emulated else 0.0
    hot_room = moment.room_mc + moment.box.enclosure_mc > _CARD_THROTTLES_MC
    uses_card = kind.card is not None and moment.box.trouble is not Trouble.FALLBACK
    card = uses_card and hot_room and chance.random() < _CARD_CHANCE
    return Weather(before, min(wanted, kind.limit_mc + 2_000), bool(ramp), ramp, card)


def device_facts(moment: Moment) -> DeviceFacts:
    """Says what the box is."""
    kind = moment.box.kind
    kernel = kind.kernels[moment.kernel]
    gpu = None if kind.card is None else _cards(kind.card, moment.box.text)
    known = {
        "kernel": moment.box.text or kernel,
        "os_release": kind.os_release,
        "libc": kind.libc,
        "arch": kind.arch,
        "python": kind.python,
        "board": moment.box.text or kind.board,
        "cpu_model": moment.box.text or kind.cpu_model,
        "cpu_implementer": kind.cpu_implementer,
        "cpu_part": kind.cpu_part,
        "cpu_flags": kind.cpu_flags or None,
        "cores_online": kind.cores,
        "cores_allowed": kind.cores,
        "memory_total": kind.memory_bytes - kind.memory_bytes // 41,
        "container": None,
        "virtualised": None,
        "gpu": gpu,
    }
    why = {
        "container": "no sign of one",
        "virtualised": "no sign of a hypervisor",
        "gpu": "the runtime uses no GPU",
    }
    silent = "the CPU is emulated" if kind.emulated else "the system does not tell"
    signs = ("EDGEPACK_EMULATED is set",) if kind.emulated else ()
    return DeviceFacts(
        emulated=kind.emulated, emulation_signs=signs, **_with_reasons(known, why, silent)
    )


def environments(
    moment: Moment, weather: Weather, chance: random.Random
) -> tuple[Environment, Environment]:
    """Says what state the box is in before and after."""
    kind = moment.box.kind
    busy = moment.box.trouble is Trouble.BUSY
    load = chance.uniform(0.7, 1.4) * kind.cores if busy else chance.uniform(0.02, 0.2)
    uptime_s = round(chance.uniform(3_000, 4_000_000), 2)
    throttles = _throttles(moment, weather, chance)
    shared: dict[str, Any] = {
        "swap_total": 0 if kind.emulated else 100 * 2**20,
        "swap_used": 0,
        "cgroup_cpu_max": None,
        "cgroup_memory_max": None,
        "cgroup_throttled": None,
        "clock_synced": moment.box.trouble is not Trouble.WRONG_CLOCK,
        "power_mode": None,
    }
    free = int(kind.memory_bytes * chance.uniform(0.45, 0.75))
    found = []
    for after in (False, True):
        known = {
            **shared,
            "frequency": _frequencies(moment, weather if after else None),
            "temperature_mc": _temperatures(kind, weather.after_mc if after else weather.before_mc),
            "throttle": throttles[after],
            "load_1m": round(load + (0.6 if after else 0.0), 2),
            "memory_available": free - (60_000_000 if after else 0),
            "uptime_s": uptime_s + (14.2 if after else 0.0),
            "gpu": _card_states(moment, weather, chance, after=after),
        }
        why = {"gpu": "the runtime uses no GPU", "power_mode": "this board has none"}
        silent = "nothing of the kind under /sys"
        found.append(Environment(**_with_reasons(known, why, silent)))
    return found[0], found[1]


def trust_reasons(before: Environment, after: Environment) -> set[str]:
    """Says what the states before and after take from the trust, in a runner's words."""
    reasons = set()
    if before.frequency is None or after.frequency is None:
        reasons.add("governor_unknown")
    for name, state in (before.frequency or {}).items():
        later = (after.frequency or {})[name]
        if state.governor != "performance":
            reasons.add("governor_not_performance")
        if abs((later.current_khz or 1) / (state.current_khz or 1) - 1) > _FREQUENCY_DRIFT:
            reasons.add("freq_drift_gt_5pct")
    if before.temperature_mc is None or after.temperature_mc is None:
        reasons.add("temperature_unknown")
    for zone, first in (before.temperature_mc or {}).items():
        if (after.temperature_mc or {})[zone] - first > _TEMPERATURE_RISE_MC:
            reasons.add("temp_rise_gt_10C")
    for each in after.gpu or ():
        if "hw_thermal_slowdown" in (each.throttle_reasons or ()):
            reasons.add("gpu_throttled")
    return reasons | _throttle_reasons(before.throttle or (), after.throttle or ())


def _throttle_reasons(before: tuple[Throttle, ...], after: tuple[Throttle, ...]) -> set[str]:
    reasons = set()
    for first, last in zip(before, after, strict=True):
        if last.source.startswith("raspberrypi"):
            now = (first.value | last.value) & 0xF
            fresh = last.value & 0xF0000 & ~first.value
            if now or fresh:
                reasons.add("throttled")
            if now & _UNDER_VOLTAGE_NOW:
                reasons.add("under_voltage")
            if (first.value | last.value) & 0xF0000:
                reasons.add("throttled_since_boot")
        elif last.source.endswith("_throttle_count"):
            reasons |= {"throttled"} if last.value > first.value else set()
        elif first.value or last.value:
            reasons.add("throttled")
    return reasons


def _throttles(
    moment: Moment, weather: Weather, chance: random.Random
) -> tuple[tuple[Throttle, ...] | None, tuple[Throttle, ...] | None]:
    source = moment.box.kind.throttle_source
    if source is None:
        return None, None
    first = last = 0
    if source.startswith("raspberrypi"):
        if moment.box.number % _ONCE_THROTTLED == 0:
            first = last = _PI_SINCE_BOOT
        if moment.box.trouble is Trouble.UNDER_VOLTAGE:
            first = last = first | 0x50005
        last |= _PI_THROTTLED if weather.throttled else 0
    elif source.endswith("_throttle_count"):
        first = chance.randrange(40)
        last = first + (chance.randrange(1, 30) if weather.throttled else 0)
    elif weather.throttled:
        last = chance.randrange(1, 5)
    return (Throttle(source, first),), (Throttle(source, last),)


def _frequencies(moment: Moment, weather: Weather | None) -> dict[str, Frequency] | None:
    kind = moment.box.kind
    if not moment.box.governor:
        return None
    low, high = kind.khz
    slowed = high if weather is None else int(high / (1 + weather.ramp))
    return {"policy0": Frequency(moment.box.governor, slowed, low, high)}


def _temperatures(kind: BoxClass, temperature_mc: int) -> dict[str, int] | None:
    return {kind.zone: temperature_mc} if kind.zone else None


def _cards(card: Card, text: str | None) -> GpuFacts:
    facts = GpuCard(
        name=text or card.name,
        compute_capability=card.capability,
        memory_total=card.memory_bytes,
        sm_clock_max_mhz=card.sm_clock_max_mhz,
        memory_clock_max_mhz=card.memory_clock_max_mhz,
        power_limit_mw=card.power_limit_mw,
        persistence_mode=True,
        compute_mode="default",
        mig_mode="off",
    )
    return GpuFacts(_DRIVER, _CUDA, (facts,))


def _card_states(
    moment: Moment, weather: Weather, chance: random.Random, *, after: bool
) -> tuple[GpuState, ...] | None:
    card = moment.box.kind.card
    if card is None:
        return None
    hot = after and weather.card_throttled
    state = GpuState(
        memory_used=chance.randrange(300, 700) * 2**20,
        memory_free=card.memory_bytes - 700 * 2**20,
        sm_clock_mhz=card.sm_clock_max_mhz // (2 if hot else 1),
        memory_clock_mhz=card.memory_clock_max_mhz,
        temperature_mc=(89_000 if hot else 41_000 + chance.randrange(9_000)),
        power_mw=card.power_limit_mw * (9 if after else 3) // 10,
        utilisation=0.31 if after else 0.0,
        throttle_reasons=("hw_slowdown", "hw_thermal_slowdown") if hot else (),
        throttled_thermal_ns=1_800_000_000 if hot else 0,
        throttled_power_ns=0,
        other_processes=0,
    )
    return (state,)


def _with_reasons(known: Mapping[str, Any], why: Mapping[str, str], silent: str) -> dict[str, Any]:
    """Adds `missing`: a reason for each value that is not known."""
    missing = {name: why.get(name, silent) for name, value in known.items() if value is None}
    return {**known, "missing": missing}
