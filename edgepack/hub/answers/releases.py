"""Before and after a release, on the same boxes.

Each box is compared with itself, measured the same way, so that neither the mix of boxes nor how
they were measured can pass for a change. What the model takes and gives may differ, for that is
what a release brings: a larger catalogue that makes it slower is a regression. It is not aware of
the store. Used by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edgepack.formats.report import Scenario
from edgepack.formats.statistics import median_interval, nearest_rank
from edgepack.hub.answers.grouping import newest_by_box
from edgepack.hub.answers.rows import ContextRow, ReleaseRow, SetupRow, StandingRow
from edgepack.hub.answers.table import Cell, Column, Table, Unit, make_table
from edgepack.hub.answers.trust import Standing
from edgepack.hub.answers.words import boxes as boxes_words
from edgepack.hub.answers.words import flat_facts


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


_CHANGE_COLUMNS: Final = (
    Column("verdict", "Verdict"),
    Column("measure", "Measure"),
    Column("scenario", "Scenario"),
    Column("box", "Box"),
    Column("boxes", "Boxes", Unit.COUNT, "Boxes with both; each is compared with itself"),
    Column("before_ns", "Before", Unit.NS, "The middle box"),
    Column("after_ns", "After", Unit.NS, "The middle box"),
    Column("ratio", "Change", Unit.RATIO, "The middle box's change"),
    Column("low", "from", Unit.RATIO, "The interval that holds the median change at 99 %"),
    Column("high", "to", Unit.RATIO),
    Column("slower", "Slower boxes", Unit.COUNT, detail=True),
    Column("faster", "Faster boxes", Unit.COUNT, detail=True),
    Column("worst", "Worst box", Unit.RATIO),
    Column("context", "Context", detail=True),
)
_RELEASE_COLUMNS: Final = (
    Column("first_seen_ms", "First report", Unit.MOMENT_MS),
    Column("model", "Model"),
    Column("version", "Version"),
    Column("target", "Target"),
    Column("architecture", "Architecture", detail=True),
    Column("devices", "Boxes now", Unit.COUNT, "Boxes whose last report is of it"),
    Column("release", "Release id"),
)
_WORST_FIRST: Final = list(Verdict)
#: Facts of a context that the release itself brings.
_OF_THE_RELEASE: Final = frozenset({"kind", "sequence_length", "catalogue_size", "top_k"})


def releases_answer(releases: Sequence[ReleaseRow]) -> ReleasesAnswer:
    """Lists releases.

    Args:
        releases: The newest first, with `devices` counted.

    Returns:
        The answer.
    """
    records: list[dict[str, Cell]] = [
        {
            "first_seen_ms": each.first_seen_ms,
            "model": each.model,
            "version": each.version,
            "target": each.target,
            "architecture": each.architecture,
            "devices": each.devices,
            "release": each.bundle_id,
        }
        for each in releases
    ]
    table = make_table("releases", "Releases", _RELEASE_COLUMNS, records)
    return ReleasesAnswer(tuple(releases), table)


@dataclass(frozen=True, slots=True)
class ReleaseRows:
    """What the store has of two releases.

    Attributes:
        after: The release.
        before: The one it is held against; None: there is none.
        choices: Earlier releases that may be taken, the newest first.
        setups: The setups of both, by row id.
        standing: Their newest runs.
        contexts: Those that the runs name, by row id.
    """

    after: ReleaseRow
    before: ReleaseRow | None
    choices: Sequence[ReleaseRow]
    setups: Mapping[int, SetupRow]
    standing: Sequence[StandingRow]
    contexts: Mapping[int, ContextRow]


def release_answer(rows: ReleaseRows) -> ReleaseAnswer:
    """Compares a release with an earlier one, each box with itself.

    Args:
        rows: What the store has of both.

    Returns:
        The answer.
    """
    changes: dict[Standing, list[Change]] = {each: [] for each in Standing}
    both: set[int] = set()
    after_boxes: set[int] = set()
    places = {each.id: int(each.release.id == rows.after.id) for each in rows.setups.values()}
    for alike in _measured_alike(rows):
        groups = newest_by_box(alike, places)
        for trust in Standing:
            before, after = groups.get((trust, 0), {}), groups.get((trust, 1), {})
            after_boxes |= after.keys()
            if before and after:
                both |= after.keys() & before.keys()
                newest = max(after.values(), key=lambda row: (row.created_ms, row.context_id))
                context = rows.contexts[newest.context_id]
                changes[trust] += _changes(context, trust, before, after)
    trusted = _ordered(_cold_start_once(changes[Standing.TRUSTED]))
    doubtful = _ordered(_cold_start_once(changes[Standing.DOUBTFUL]))
    return ReleaseAnswer(
        release=rows.after,
        before=rows.before,
        choices=tuple(rows.choices),
        changes=trusted,
        doubtful=doubtful,
        boxes_after=len(after_boxes),
        boxes_both=len(both),
        summary=_summary(rows.before, trusted, len(both)),
        table=_table("changes", "Before and after, on the same boxes", trusted),
        doubtful_table=_table("doubtful", "The same of runs that are not trusted", doubtful),
    )


def change_of(
    context: ContextRow,
    trust: Standing,
    measure: Measure,
    pairs: Iterable[tuple[int | None, int | None]],
) -> Change:
    """Judges one measure before and after.

    Args:
        context: On what and how both were measured.
        trust: Whose runs.
        measure: What it is.
        pairs: (before, after) of each box, ns; a pair with a missing or zero value is left out.

    Returns:
        The change. Its interval is that of the median of log(after / before).

    Source: the sign test's interval of a median (`statistics.median_interval`); log ratios, so that
    twice as slow and twice as fast weigh the same.
    """
    sound = [(b, a) for b, a in pairs if b is not None and a is not None and b > 0 and a > 0]
    logs = sorted(math.log(a / b) for b, a in sound)
    counts = {
        "boxes": len(sound),
        "slower": sum(a > b for b, a in sound),
        "faster": sum(a < b for b, a in sound),
    }
    worst = math.exp(logs[-1]) if logs else None
    interval = median_interval(logs)
    if interval is None:
        return Change(
            context, trust, measure, before_ns=None, after_ns=None, ratio=None, low=None,
            high=None, worst=worst, verdict=Verdict.TOO_FEW, **counts,
        )  # fmt: skip
    low, high = interval
    return Change(
        context,
        trust,
        measure,
        before_ns=nearest_rank(sorted(b for b, _ in sound), 0.5),
        after_ns=nearest_rank(sorted(a for _, a in sound), 0.5),
        ratio=math.exp(_median(logs)),
        low=math.exp(low),
        high=math.exp(high),
        worst=worst,
        verdict=_verdict(low, high),
        **counts,
    )


def _measured_alike(rows: ReleaseRows) -> list[list[StandingRow]]:
    """Puts runs together whose contexts differ in nothing but what the release brings."""
    names = {
        key: (
            context.scenario,
            context.box_key,
            tuple(
                each
                for each in sorted(flat_facts(context.facts).items())
                if each[0] not in _OF_THE_RELEASE
            ),
        )
        for key, context in rows.contexts.items()
    }
    alike: dict[object, list[StandingRow]] = {}
    for row in rows.standing:
        alike.setdefault(names[row.context_id], []).append(row)
    return list(alike.values())


def _changes(
    context: ContextRow,
    trust: Standing,
    before: Mapping[int, StandingRow],
    after: Mapping[int, StandingRow],
) -> list[Change]:
    pairs = [(before[box], after[box]) for box in before.keys() & after.keys()]
    measures = {
        Measure.P50: [(b.p50_ns, a.p50_ns) for b, a in pairs],
        Measure.P99: [(b.p99_ns, a.p99_ns) for b, a in pairs],
        Measure.COLD_START: [(b.ready_ns, a.ready_ns) for b, a in pairs],
    }
    changes = [change_of(context, trust, each, values) for each, values in measures.items()]
    return [each for each in changes if each.boxes]


def _verdict(low: float, high: float) -> Verdict:
    if low > 0:
        return Verdict.SLOWER
    return Verdict.FASTER if high < 0 else Verdict.NOT_SHOWN


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _cold_start_once(changes: Sequence[Change]) -> list[Change]:
    """Keeps one cold start a kind of box: it is a report's, and comes with each scenario."""

    def weight(change: Change) -> tuple[int, bool]:
        return change.boxes, change.context.scenario == Scenario.SINGLE_STREAM

    kept: dict[str, Change] = {}
    for each in changes:
        if each.measure is Measure.COLD_START:
            key = each.context.box_key
            if key not in kept or weight(each) > weight(kept[key]):
                kept[key] = each
    others = [each for each in changes if each.measure is not Measure.COLD_START]
    return [*others, *kept.values()]


def _ordered(changes: Sequence[Change]) -> tuple[Change, ...]:
    """Regressions first, the largest of each kind on top."""

    def order(change: Change) -> tuple[int, float, int]:
        return _WORST_FIRST.index(change.verdict), -(change.ratio or 0.0), -change.boxes

    return tuple(sorted(changes, key=order))


def _summary(before: ReleaseRow | None, changes: Sequence[Change], both: int) -> str:
    if before is None:
        return "there is no earlier release of this model and target on any of its boxes"
    if not both:
        return f"no box has a run of {before.version} that was measured the same way"
    judged = [each for each in changes if each.verdict is not Verdict.TOO_FEW]
    if not judged:
        return f"{boxes_words(both)} with both releases, too few alike for a verdict"
    worst = judged[0]
    if worst.verdict is Verdict.SLOWER:
        more = sum(each.verdict is Verdict.SLOWER for each in judged) - 1
        others = f"; {more} more got slower" if more else ""
        return f"{_place(worst)} is {worst.words}{others}"
    faster = [each for each in judged if each.verdict is Verdict.FASTER]
    if not faster:
        return f"no difference shown in {len(judged)} comparisons on {boxes_words(both)}"
    best = min(faster, key=lambda each: each.ratio or 1.0)
    return f"nothing got slower; {_place(best)} is {best.words}"


def _place(change: Change) -> str:
    if change.measure is Measure.COLD_START:
        return f"cold start on {change.context.box}"
    return f"{change.measure} of {change.context.scenario} on {change.context.box}"


def _table(key: str, title: str, changes: Sequence[Change]) -> Table:
    records: list[dict[str, Cell]] = [
        {
            "verdict": str(each.verdict),
            "measure": each.measure.replace("_", " "),
            "scenario": None if each.measure is Measure.COLD_START else each.context.scenario,
            "box": each.context.box,
            "boxes": each.boxes,
            "before_ns": each.before_ns,
            "after_ns": each.after_ns,
            "ratio": each.ratio,
            "low": each.low,
            "high": each.high,
            "slower": each.slower,
            "faster": each.faster,
            "worst": each.worst,
            "context": each.context.digest,
        }
        for each in changes
    ]
    return make_table(key, title, _CHANGE_COLUMNS, records)
