"""How a figure is spread over boxes, and how far the boxes let one say so.

The values are one a box. A percentile is a box that exists (nearest rank), and is left out where
it would be the lowest or highest box under another name. Nothing is assumed of how the values
are distributed. It is not aware of what is measured. Anyone in the hub may import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final

from edgepack.formats.statistics import LogHistogram, median_interval, nearest_rank

_PERCENTILES: Final = {"p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9}


@dataclass(frozen=True, slots=True)
class Bin:
    """Boxes with a value from `low` up to, without, `high`; the bins are the same for all."""

    low: int
    high: int
    boxes: int


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over boxes; None where the boxes are too few to say.

    Attributes:
        boxes: How many have the figure.
        minimum: The lowest; None without boxes.
        p10: Nine boxes in ten are at or above it.
        p25: The lower quartile.
        median: The middle box.
        p75: The upper quartile.
        p90: Nine boxes in ten are at or below it.
        maximum: The highest.
        low: Lower end of the interval that holds the median at 99 % confidence.
        high: Its upper end.
        bins: Counts by size, 16 bins to a doubling; empty ones are left out.
    """

    boxes: int
    minimum: int | None = None
    p10: int | None = None
    p25: int | None = None
    median: int | None = None
    p75: int | None = None
    p90: int | None = None
    maximum: int | None = None
    low: int | None = None
    high: int | None = None
    bins: tuple[Bin, ...] = ()

    @property
    def missing(self) -> str:
        """What the boxes are too few for, in words; empty where nothing is left out."""
        left_out = [name for name in _PERCENTILES if getattr(self, name) is None]
        if self.low is None:
            left_out.append("the median's interval")
        if not left_out:
            return ""
        boxes = "1 box" if self.boxes == 1 else f"{self.boxes} boxes"
        return f"{boxes}: too few for {', '.join(left_out)}"


def spread_of(values: Sequence[int], *, bins: bool = True) -> Spread:
    """Describes how a figure is spread.

    Args:
        values: One a box, in any order.
        bins: Whether the boxes are counted by size too, which takes longer than all else.

    Returns:
        The spread.
    """
    ordered = sorted(values)
    boxes = len(ordered)
    if not ordered:
        return Spread(0)
    known = {
        name: nearest_rank(ordered, percentile)
        for name, percentile in _PERCENTILES.items()
        if boxes >= minimum_boxes(percentile)
    }
    interval = median_interval(ordered)
    low, high = interval or (None, None)
    return Spread(
        boxes=boxes,
        minimum=ordered[0],
        maximum=ordered[-1],
        low=low,
        high=high,
        bins=bins_of(ordered) if bins else (),
        **known,
    )


@cache
def minimum_boxes(percentile: float) -> int:
    """Returns the fewest boxes whose percentile is neither the lowest nor the highest box.

    Args:
        percentile: Between 0 and 1.

    Returns:
        3 for the median, 5 for the quartiles, 11 for the 10th and 90th; the same on both sides.
    """
    share = Fraction(str(percentile))
    far = max(share, 1 - share)
    boxes = 1
    while math.ceil((1 - far) * boxes) <= 1 or math.ceil(far * boxes) >= boxes:
        boxes += 1
    return boxes


def bins_of(values: Sequence[int]) -> tuple[Bin, ...]:
    """Counts values of at least 0 by size, in the bins of the reports' own histograms."""
    histogram = LogHistogram()
    histogram.add_all(values)
    return tuple(
        Bin(low, LogHistogram.lowest_of(LogHistogram.bucket_of(low) + 1), count)
        for low, count in histogram.buckets()
    )
