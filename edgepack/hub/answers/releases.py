"""Before and after a release, on the same boxes.

Each box is compared with itself, in one context at a time, so that neither the mix of boxes nor
how they were measured can pass for a change. It is not aware of the store. Used by
`edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgepack.hub.answers.rows import ContextRow, ReleaseRow
from edgepack.hub.answers.table import Table
from edgepack.hub.answers.trust import Standing


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
        context: On what and how.
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


@dataclass(frozen=True, slots=True)
class ReleasesAnswer:
    """All releases, the newest first; `devices` of each is on how many boxes it is now."""

    releases: tuple[ReleaseRow, ...]
    table: Table


@dataclass(frozen=True, slots=True)
class ReleaseAnswer:
    """One release against another on the same boxes.

    Attributes:
        release: After.
        before: Before; None where no earlier release of the same model and target shares a box.
        choices: Earlier releases that it may be compared with, the newest first.
        changes: Trusted ones, regressions first.
        doubtful: The same of runs that are not trusted (emulated ones left out).
        boxes_after: Boxes with a run of the release.
        boxes_both: Of these, boxes that also have one from before in the same context.
        summary: The answer in a sentence.
        table: `changes` as a table.
        doubtful_table: `doubtful` as a table.
    """

    release: ReleaseRow
    before: ReleaseRow | None
    choices: tuple[ReleaseRow, ...]
    changes: tuple[Change, ...]
    doubtful: tuple[Change, ...]
    boxes_after: int
    boxes_both: int
    summary: str
    table: Table
    doubtful_table: Table
