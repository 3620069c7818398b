"""Finds the card a benchmark runs on and how fast its memory could be read at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Memory of both kinds met on cards, GDDR and HBM, moves data at both edges of its clock.
_EDGES = 2


@dataclass(frozen=True, slots=True)
class Card:
    """An NVIDIA card.

    Attributes:
        name: Such as `NVIDIA H100 80GB HBM3`.
        driver: The driver's version.
        bandwidth_bytes_per_s: What its memory could move at most: clock, edges and bus width.
    """

    name: str
    driver: str
    bandwidth_bytes_per_s: float


def find_card() -> tuple[Card | None, str]:
    """Returns the first card, or None and why there is none."""
    try:
        import pynvml
    except ImportError:
        return None, "the Python package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"no NVIDIA driver answers on this machine ({error})"
    try:
        if pynvml.nvmlDeviceGetCount() == 0:
            return None, "the NVIDIA driver sees no card"
        return _read(pynvml), ""
    except pynvml.NVMLError as error:
        return None, f"the card cannot be read ({error})"
    finally:
        pynvml.nvmlShutdown()


def describe_card(card: Card) -> str:
    """Returns a card in words."""
    return (
        f"{card.name}, driver {card.driver}, at most {card.bandwidth_bytes_per_s / 1e9:,.0f} GB/s"
    )


def _read(pynvml: Any) -> Card:
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    clock_hz = pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM) * 1_000_000
    width_bytes = pynvml.nvmlDeviceGetMemoryBusWidth(handle) / 8
    return Card(
        name=pynvml.nvmlDeviceGetName(handle),
        driver=pynvml.nvmlSystemGetDriverVersion(),
        bandwidth_bytes_per_s=clock_hz * _EDGES * width_bytes,
    )
