"""The graphics cards, read when Prometheus asks.

Scrapes are written beside the event loop, so a slow card does not hold up serving; one that does
not answer at all holds up one scrape, and the next ones are written without it. Cards are numbered
as the driver numbers them; nothing tells one of a kind from another. Used by `exposition`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgepack.formats.device import GpuCard, GpuState
from edgepack.runner.gpu.nvml import REASONS, Look, look_at_cards

_LABELS = ("card",)

#: Name, what it says, and where it comes from. Base units, as everywhere in `/metrics`.
_FIGURES: tuple[tuple[str, str, Callable[[GpuCard, GpuState], float | None]], ...] = (
    (
        "edgepack_gpu_utilization_ratio",
        "Share of time in which the card computed, 0 to 1",
        lambda _, state: state.utilisation,
    ),
    (
        "edgepack_gpu_memory_used_bytes",
        "Memory of the card in use, by whomever",
        lambda _, state: state.memory_used,
    ),
    (
        "edgepack_gpu_memory_total_bytes",
        "Memory of the card",
        lambda card, _: card.memory_total,
    ),
    (
        "edgepack_gpu_temperature_celsius",
        "Temperature of the card",
        lambda _, state: _times(state.temperature_mc, 1e-3),
    ),
    (
        "edgepack_gpu_power_watts",
        "Power the card draws",
        lambda _, state: _times(state.power_mw, 1e-3),
    ),
    (
        "edgepack_gpu_clock_hertz",
        "Clock of the card's multiprocessors",
        lambda _, state: _times(state.sm_clock_mhz, 1e6),
    ),
)


class GpuCollector(Collector):
    """What the cards are doing."""

    def __init__(self, look: Callable[[], Look] | None = None) -> None:
        """Prepares to ask.

        Args:
            look: Asks NVML; by default for the cards this process sees.
        """
        self._look = look or (lambda: look_at_cards(os.environ.get("CUDA_VISIBLE_DEVICES")))
        self._asking = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads; what a card does not tell is left out."""
        if not self._asking.acquire(blocking=False):
            return
        try:
            look = self._look()
        finally:
            self._asking.release()
        cards = list(enumerate(zip(look.cards, look.states, strict=True)))
        for name, about, read in _FIGURES:
            family = GaugeMetricFamily(name, about, labels=_LABELS)
            for number, (card, state) in cards:
                value = read(card, state)
                if value is not None:
                    family.add_metric((str(number),), value)
            yield family
        throttled = GaugeMetricFamily(
            "edgepack_gpu_throttled",
            "1 when the card's clocks are held down for a reason",
            labels=("card", "reason"),
        )
        for number, (_, state) in cards:
            for reason in REASONS.values() if state.throttle_reasons is not None else ():
                is_so = reason in (state.throttle_reasons or ())
                throttled.add_metric((str(number), reason), int(is_so))
        yield throttled


def _times(value: int | None, factor: float) -> float | None:
    return None if value is None else value * factor
