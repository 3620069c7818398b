"""What a box is and the state it is in, as a report tells it.

A value that could not be had is null and its reason stands in `missing`; it is never 0. It is
not aware of how anything was read. Part of `edgepack.formats.report`; anyone may import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgepack.formats.typed import Count, Missing, Name, Ratio, Sentence


@dataclass(frozen=True, slots=True)
class GpuCard:
    """What a graphics card is; nothing that tells one card of a kind from another.

    `compute_mode` is `default`, `exclusive_process` or `prohibited`; `mig_mode` is `on` or `off`.
    Source of the fields: NVIDIA Management Library (NVML).
    """

    name: Name | None
    compute_capability: Name | None
    memory_total: Count | None
    sm_clock_max_mhz: Count | None
    memory_clock_max_mhz: Count | None
    power_limit_mw: Count | None
    persistence_mode: bool | None
    compute_mode: Name | None
    mig_mode: Name | None
    missing: Missing = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """The driver, the newest CUDA it can run, and the cards in the driver's order."""

    driver_version: Name | None
    cuda_version: Name | None
    cards: tuple[GpuCard, ...]
    missing: Missing = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuState:
    """The state a card is in at one moment.

    `throttle_reasons` are why its clocks are not higher right now, in NVML's words; the two
    `throttled_*_ns` count up for as long as the driver runs. `other_processes` compute on the
    card beside this one.
    """

    memory_used: Count | None
    memory_free: Count | None
    sm_clock_mhz: Count | None
    memory_clock_mhz: Count | None
    temperature_mc: int | None
    power_mw: Count | None
    utilisation: Ratio | None
    throttle_reasons: tuple[Name, ...] | None
    throttled_thermal_ns: Count | None
    throttled_power_ns: Count | None
    other_processes: Count | None
    missing: Missing = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a box is; it does not change while a benchmark runs."""

    kernel: Name | None
    os_release: Name | None
    libc: Name | None
    arch: Name | None
    python: Name | None
    board: Name | None
    cpu_model: Name | None
    cpu_implementer: Name | None
    cpu_part: Name | None
    cpu_flags: tuple[Name, ...] | None
    cores_online: Count | None
    cores_allowed: Count | None
    memory_total: Count | None
    container: Name | None
    virtualised: Name | None
    emulated: bool | None
    emulation_signs: tuple[Sentence, ...] = ()
    missing: Missing = field(default_factory=dict)
    gpu: GpuFacts | None = None


@dataclass(frozen=True, slots=True)
class Frequency:
    """One frequency policy: its governor and its limits and present frequency in kHz."""

    governor: Name | None
    current_khz: Count | None
    min_khz: Count | None
    max_khz: Count | None


@dataclass(frozen=True, slots=True)
class Throttle:
    """A throttle counter or flag and where it was read."""

    source: Name
    value: Count


@dataclass(frozen=True, slots=True)
class Environment:
    """The state a box is in at one moment."""

    frequency: Mapping[str, Frequency] | None
    temperature_mc: Mapping[str, int] | None
    throttle: tuple[Throttle, ...] | None
    load_1m: Ratio | None
    memory_available: Count | None
    swap_total: Count | None
    swap_used: Count | None
    cgroup_cpu_max: Name | None
    cgroup_memory_max: Count | None
    cgroup_throttled: Count | None
    uptime_s: Ratio | None
    clock_synced: bool | None
    power_mode: Name | None
    missing: Missing = field(default_factory=dict)
    gpu: tuple[GpuState, ...] | None = None
