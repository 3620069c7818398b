"""What may be said of a figure before and after, when each box is compared with itself.

It is not aware of releases and of the store. Used by the release's answer, its chart and tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepack.formats.statistics import interval_rank, nearest_rank
from edgepack.hub.answers.columns import Whole
from edgepack.hub.answers.rows import ContextRow
from edgepack.hub.answers.trust import Standing

#: Up to here a float holds every whole number.
_EXACT: Final = 2**53


class Measure(StrEnum):
    """What is compared."""

    P50 = "p50"
    P99 = "p99"
    COLD_START = "cold_start"


class Verdict(StrEnum):
    """What may be said of a change, at 99 % confidence; the worst first."""

    SLOWER = "slower"
    NOT_SHOWN = "no difference shown"
    FASTER = "faster"
    TOO_FEW = "too few boxes"


@dataclass(frozen=True, slots=True)
class Change:
    """One measure before and after, over boxes that have both.

    Attributes:
        context: On what and how, after.
        trust: Whose runs; both of a pair have the same.
        measure: What is compared.
        boxes: Pairs.
        before_ns: The middle box before; None with too few boxes.
        after_ns: The middle box after.
        ratio: Median over boxes of after / before; None with too few boxes.
        low: Lower end of the interval that holds the median ratio at 99 % confidence.
        high: Its upper end.
        slower: Boxes that got slower.
        faster: Boxes that got faster.
        worst: The largest ratio of a box; None without boxes.
        verdict: What may be said.
    """

    context: ContextRow
    trust: Standing
    measure: Measure
    boxes: int
    before_ns: int | None
    after_ns: int | None
    ratio: float | None
    low: float | None
    high: float | None
    slower: int
    faster: int
    worst: float | None
    verdict: Verdict

    @property
    def words(self) -> str:
        """The verdict in words, such as `slower: +5.1 % (+3.0 % to +7.2 %), on 812 boxes`."""
        boxes = "1 box" if self.boxes == 1 else f"{self.boxes} boxes"
        if self.ratio is None or self.low is None or self.high is None:
            return f"{self.verdict}: {boxes} with both"
        low, ratio, high = ((x - 1) * 100 for x in (self.low, self.ratio, self.high))
        return f"{self.verdict}: {ratio:+.1f} % ({low:+.1f} % to {high:+.1f} %), on {boxes}"


def change_of(
    context: ContextRow, trust: Standing, measure: Measure, before: Whole, after: Whole
) -> Change:
    """Judges one measure before and after.

    Args:
        context: On what and how both were measured.
        trust: Whose runs.
        measure: What it is.
        before: `int64[boxes]`, ns.
        after: The same of the same boxes; a box with a missing or zero value on either side is
            left out.

    Returns:
        The change. Its interval is that of the median of log(after / before).

    Source: the sign test's interval of a median (`statistics.median_interval`); log ratios, so that
    twice as slow and twice as fast weigh the same.
    """
    sound = (before > 0) & (after > 0)
    before, after = before[sound], after[sound]
    ratios = np.sort(_ratios(before, after))
    boxes = len(ratios)
    counts = {
        "boxes": boxes,
        "slower": int(np.count_nonzero(after > before)),
        "faster": int(np.count_nonzero(after < before)),
    }
    worst = math.exp(math.log(ratios[-1])) if boxes else None
    rank = interval_rank(boxes)
    if rank is None:
        return Change(
            context, trust, measure, before_ns=None, after_ns=None, ratio=None, low=None,
            high=None, worst=worst, verdict=Verdict.TOO_FEW, **counts,
        )  # fmt: skip
    # The logarithm keeps the order, so that only those that count are taken.
    low, high = math.log(ratios[rank - 1]), math.log(ratios[-rank])
    return Change(
        context,
        trust,
        measure,
        before_ns=nearest_rank(np.sort(before).tolist(), 0.5),
        after_ns=nearest_rank(np.sort(after).tolist(), 0.5),
        ratio=math.exp(_median_log(ratios)),
        low=math.exp(low),
        high=math.exp(high),
        worst=worst,
        verdict=_verdict(low, high),
        **counts,
    )


def _ratios(before: Whole, after: Whole) -> NDArray[np.float64]:
    """Returns after / before, each rounded once."""
    if max(before.max(initial=0), after.max(initial=0)) <= _EXACT:
        return np.divide(after, before)
    pairs = zip(before.tolist(), after.tolist(), strict=True)
    return np.array([a / b for b, a in pairs], dtype=np.float64)


def _median_log(ordered: NDArray[np.float64]) -> float:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return math.log(ordered[middle])
    return (math.log(ordered[middle - 1]) + math.log(ordered[middle])) / 2


def _verdict(low: float, high: float) -> Verdict:
    if low > 0:
        return Verdict.SLOWER
    return Verdict.FASTER if high < 0 else Verdict.NOT_SHOWN
