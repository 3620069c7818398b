"""Before and after a release, on the same boxes.

Each box is compared with itself, measured the same way, so that neither the mix of boxes nor how
they were measured can pass for a change. What the model takes and gives may differ, for that is
what a release brings: a larger catalogue that makes it slower is a regression. It is not aware of
the store. Used by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepack.formats.report import Scenario
from edgepack.hub.answers.changes import Change, Measure, Verdict, change_of
from edgepack.hub.answers.columns import (
    TRUSTS,
    StandingColumns,
    Whole,
    newest_by_group,
    numbers_of,
)
from edgepack.hub.answers.rows import ContextRow, ReleaseRow, SetupRow
from edgepack.hub.answers.table import Cell, Column, Table, Unit, make_table
from edgepack.hub.answers.trust import Standing
from edgepack.hub.answers.words import boxes as boxes_words
from edgepack.hub.answers.words import flat_facts


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
    standing: StandingColumns
    contexts: Mapping[int, ContextRow]


def release_answer(rows: ReleaseRows) -> ReleaseAnswer:
    """Compares a release with an earlier one, each box with itself.

    Args:
        rows: What the store has of both.

    Returns:
        The answer.
    """
    columns = rows.standing
    sides = {each.id: int(each.release.id == rows.after.id) for each in rows.setups.values()}
    alike, side = _measured_alike(rows), numbers_of(columns.setup_id, sides)
    group = (alike * len(TRUSTS) + columns.trust) * 2 + side
    runs, groups = newest_by_group(columns, np.where((alike < 0) | (side < 0), -1, group))
    is_after = groups % 2 == 1
    changes: dict[Standing, list[Change]] = {each: [] for each in Standing}
    both: list[Whole] = []
    for number in np.unique(groups[is_after]).tolist():
        # The groups lie one behind the other, each in the order of its boxes.
        start, middle, end = np.searchsorted(groups, [number - 1, number, number + 1])
        before, after = runs.taken(slice(start, middle)), runs.taken(slice(middle, end))
        shared, at_before, at_after = np.intersect1d(
            before.device_id, after.device_id, assume_unique=True, return_indices=True
        )
        both.append(shared)
        if len(before):
            newest = np.lexsort((after.context_id, after.created_ms))[-1]
            context = rows.contexts[int(after.context_id[newest])]
            trust = TRUSTS[number // 2 % len(TRUSTS)]
            changes[trust] += _changes(
                context, trust, before.taken(at_before), after.taken(at_after)
            )
    boxes_both = len(np.unique(np.concatenate(both))) if both else 0
    trusted = _ordered(_cold_start_once(changes[Standing.TRUSTED]))
    doubtful = _ordered(_cold_start_once(changes[Standing.DOUBTFUL]))
    return ReleaseAnswer(
        release=rows.after,
        before=rows.before,
        choices=tuple(rows.choices),
        changes=trusted,
        doubtful=doubtful,
        boxes_after=len(np.unique(runs.device_id[is_after])),
        boxes_both=boxes_both,
        summary=_summary(rows.before, trusted, boxes_both),
        table=_table("changes", "Before and after, on the same boxes", trusted),
        doubtful_table=_table("doubtful", "The same of runs that are not trusted", doubtful),
    )


def _measured_alike(rows: ReleaseRows) -> Whole:
    """Numbers runs so that those are alike whose contexts differ in what a release brings alone.

    Returns:
        `int64[rows]`, counted by their contexts' keys: the store gives rows in no order, and
        equal changes are to stand in one.
    """
    numbers: dict[object, int] = {}
    of_context: dict[int, int] = {}
    for context_id in np.unique(rows.standing.context_id).tolist():
        context = rows.contexts[context_id]
        facts = sorted(flat_facts(context.facts).items())
        name = (
            context.scenario,
            context.box_key,
            tuple(each for each in facts if each[0] not in _OF_THE_RELEASE),
        )
        of_context[context_id] = numbers.setdefault(name, len(numbers))
    return numbers_of(rows.standing.context_id, of_context)


def _changes(
    context: ContextRow, trust: Standing, before: StandingColumns, after: StandingColumns
) -> list[Change]:
    """Judges each measure; both sides are of the same boxes, in the same order."""
    changes = [
        change_of(context, trust, Measure.P50, before.p50_ns, after.p50_ns),
        change_of(context, trust, Measure.P99, before.p99_ns, after.p99_ns),
        change_of(context, trust, Measure.COLD_START, before.ready_ns, after.ready_ns),
    ]
    return [each for each in changes if each.boxes]


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
