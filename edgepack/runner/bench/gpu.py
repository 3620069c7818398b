"""What a report says of the graphics cards, and how far that spoils its times.

It is not aware of how cards are asked. Used by `benchmark` and `trust`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from edgepack.formats.device import GpuFacts, GpuState
from edgepack.runner.bench.device import NO_GPU_USED

if TYPE_CHECKING:
    from edgepack.runner.gpu.nvml import Look

#: Clocks held down because the card is too hot or its power supply too weak. `hw_slowdown` is
#: either of the two. Source: nvml.h, nvmlClocksEventReasons.
_SLOWDOWNS: Final = frozenset(
    ("hw_slowdown", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
)
#: The card's own limit of power: many cards live there whenever they work hard.
_POWER_CAP: Final = "sw_power_cap"
#: A tenth of a second in all; one moment at the edge says nothing.
_THROTTLED_NS: Final = 100_000_000
#: More than a driver keeps for itself: somebody has a program on the card. A display takes some.
_OTHERS_BYTES: Final = 1024 * 2**20


def gpu_facts(look: Look | None) -> tuple[GpuFacts | None, str]:
    """Returns what a look at the cards says for a report, or None and why there is nothing."""
    if look is None:
        return None, NO_GPU_USED
    if look.trouble is not None:
        return None, f"the cards cannot be asked: {look.words}"[:1000]
    versions = {"driver_version": look.driver_version, "cuda_version": look.cuda_version}
    missing = {
        name: "the driver does not tell" for name, value in versions.items() if value is None
    }
    return GpuFacts(look.driver_version, look.cuda_version, look.cards, missing), ""


def gpu_reservations(
    before: Sequence[GpuState] | None, after: Sequence[GpuState] | None
) -> Iterable[str]:
    """Yields what spoils a report's times; a card that idles before and after spoils nothing.

    Args:
        before: The cards' state before the model was loaded; None where no card was asked.
        after: Their state when the last run had ended.
    """
    for state in (*(before or ()), *(after or ())):
        reasons = state.throttle_reasons or ()
        if _SLOWDOWNS.intersection(reasons):
            yield "gpu_throttled"
        if _POWER_CAP in reasons:
            yield "gpu_power_capped"
        if state.other_processes:
            yield "gpu_shared"
    for state in before or ():
        if (state.memory_used or 0) > _OTHERS_BYTES:
            yield "gpu_shared"
    for first, last in zip(before or (), after or (), strict=False):
        if _grew(first.throttled_thermal_ns, last.throttled_thermal_ns):
            yield "gpu_throttled"
        if _grew(first.throttled_power_ns, last.throttled_power_ns):
            yield "gpu_power_capped"


def _grew(first: int | None, last: int | None) -> bool:
    return first is not None and last is not None and last - first > _THROTTLED_NS
