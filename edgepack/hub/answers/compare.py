"""Target against target, runtime against runtime, precision against precision.

Only runs of one context are compared: the same model, scenario and kind of box, measured the same
way. A selection of several is refused, with what differs. Trusted, doubtful and emulated runs are
never mixed, and each box counts once. It is not aware of the store. Used by
`edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from edgepack.formats.report import Scenario
from edgepack.hub.answers.grouping import known, newest_by_box
from edgepack.hub.answers.quality import score_field, score_of, score_words
from edgepack.hub.answers.refusing import Refusal
from edgepack.hub.answers.rows import ContextRow, SetupRow, StandingRow
from edgepack.hub.answers.spread import Spread, minimum_boxes, spread_of
from edgepack.hub.answers.table import Cell, Column, Table, Unit, make_table
from edgepack.hub.answers.trust import Standing
from edgepack.hub.answers.words import boxes as boxes_words
from edgepack.hub.answers.words import options_words


class Per(StrEnum):
    """What one row of a comparison is.

    VARIANT: releases of a variant together, each box with its newest run. RELEASE: each release
    by itself.
    """

    VARIANT = "variant"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class CompareQuery:
    """What to compare; None or empty: anything.

    The fields up to `facts` narrow the context, those after it the rows.

    Attributes:
        model: A model's name.
        scenario: `single_stream`, `offline` or `server`.
        box: The `box_key` of a kind of box, or a part of its words.
        context: A context's digest.
        facts: Facts of the context with the text of their value, as a `Refusal` names them.
        target: A target's name.
        runtime: A runtime's name.
        precision: A precision.
        release: A bundle's id.
        per: What one row is.
    """

    model: str | None = None
    scenario: str | None = None
    box: str | None = None
    context: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    target: str | None = None
    runtime: str | None = None
    precision: str | None = None
    release: str | None = None
    per: Per = Per.VARIANT


@dataclass(frozen=True, slots=True)
class SetupKey:
    """What makes one row. `release` and `version` are empty where releases are together."""

    target: str
    runtime: str
    runtime_version: str
    provider: str
    variant: str
    format: str
    precision: str
    threads: int
    options: str
    version: str = ""
    release: str = ""

    @property
    def label(self) -> str:
        """The row in a few words, for a chart: runtime, variant, options, version."""
        words = [self.target, f"{self.runtime} {self.runtime_version}", self.variant, self.options]
        return ", ".join(word for word in (*words, self.version) if word)


@dataclass(frozen=True, slots=True)
class Group:
    """One row: a setup over the boxes that ran it.

    Attributes:
        key: What it is.
        boxes: Boxes with a run.
        versions: The releases' versions in it, the newest first.
        p50: The boxes' median latencies, ns.
        p99: The boxes' p99, ns.
        ready: From process start to verified answers, ns.
        rss_peak: Memory, bytes.
        samples_per_second: The middle box's throughput; None where it was not measured.
        size_bytes: The model file of the newest release.
        quality: What the newest release says of its quality (`QualityFacts`).
        score: The quality in one number, 0 to 1, by `score_name`; None where there is none.
        on_front: Whether no other row is at least as good in latency, size and quality and better
            in one. Only trusted rows with a median are placed.
    """

    key: SetupKey
    boxes: int
    versions: tuple[str, ...]
    p50: Spread
    p99: Spread
    ready: Spread
    rss_peak: Spread
    samples_per_second: float | None
    size_bytes: int
    quality: Mapping[str, Any]
    score: float | None
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class CompareAnswer:
    """A comparison, or why there is none.

    Attributes:
        query: What was asked.
        refusal: Why nothing is compared; None where something is.
        context: On what and how everything below was measured; None with a refusal.
        groups: The rows by trust, the lowest median first; a trust without rows is not in it,
            except for trusted ones.
        score_name: What `Group.score` is, in words; empty where no row has one.
        tables: The rows as tables, by trust.
        notes: Sentences on what could not be said, such as too few boxes.
    """

    query: CompareQuery
    refusal: Refusal | None
    context: ContextRow | None = None
    groups: Mapping[Standing, tuple[Group, ...]] | None = None
    score_name: str = ""
    tables: Mapping[Standing, Table] | None = None
    notes: tuple[str, ...] = ()


_SETUP_COLUMNS: Final = (
    Column("target", "Target"),
    Column("runtime", "Runtime"),
    Column("runtime_version", "Version", detail=True),
    Column("provider", "Computed by", detail=True),
    Column("variant", "Variant"),
    Column("precision", "Precision", detail=True),
    Column("options", "Options"),
    Column(
        "versions", "Releases", help="The newest and the oldest, where there are many", detail=True
    ),
    Column("boxes", "Boxes", Unit.COUNT, "Each box counts once, with its newest run"),
)
_P50_COLUMNS: Final = (
    Column("p50_min_ns", "Lowest p50", Unit.NS, detail=True),
    Column(
        "p50_p10_ns", "p50 at 10 %", Unit.NS, "Nine boxes in ten are at or above it", detail=True
    ),
    Column("p50_p25_ns", "p50 at 25 %", Unit.NS, detail=True),
    Column("p50_median_ns", "p50", Unit.NS, "The median box"),
    Column(
        "p50_low_ns", "from", Unit.NS, "The interval that holds the median at 99 %", detail=True
    ),
    Column("p50_high_ns", "to", Unit.NS, detail=True),
    Column("p50_p75_ns", "p50 at 75 %", Unit.NS, detail=True),
    Column(
        "p50_p90_ns", "p50 at 90 %", Unit.NS, "Nine boxes in ten are at or below it", detail=True
    ),
    Column("p50_max_ns", "Highest p50", Unit.NS, detail=True),
    Column("p99_boxes", "Boxes with p99", Unit.COUNT, detail=True),
    Column("p99_median_ns", "p99", Unit.NS, detail=True),
    Column("p99_p90_ns", "p99 at 90 %", Unit.NS, "Nine boxes in ten keep it"),
    Column("p99_max_ns", "Highest p99", Unit.NS, detail=True),
    Column("ready_median_ns", "Ready", Unit.NS, "From process start to verified answers"),
    Column("samples_per_second", "Samples", Unit.PER_SECOND, "The median box", detail=True),
    Column("rss_peak_median_bytes", "Memory", Unit.BYTES, detail=True),
    Column("size_bytes", "Size", Unit.BYTES, "The model file"),
    Column("quality", "Quality", Unit.SHARE),
    Column("on_front", "Front", Unit.FLAG, "No other is better in one and as good in all"),
    Column("release", "Release id", help="Empty where releases are together", detail=True),
)
_SHOWN_VERSIONS: Final = 3
_TITLES: Final = {
    Standing.TRUSTED: "Trusted runs",
    Standing.DOUBTFUL: "Doubtful runs",
    Standing.EMULATED: "Emulated runs: no times of a box",
}


def refused(query: CompareQuery, refusal: Refusal) -> CompareAnswer:
    """Returns the answer to a selection that is not compared."""
    return CompareAnswer(query, refusal)


def compare(
    query: CompareQuery,
    context: ContextRow,
    rows: Sequence[StandingRow],
    setups: Mapping[int, SetupRow],
) -> CompareAnswer:
    """Compares the setups of one context.

    Args:
        query: What was asked.
        context: On what and how all rows were measured.
        rows: The newest runs in it.
        setups: Those that may be in the answer, by row id; rows of others are left out.

    Returns:
        The answer.
    """
    keys = list(dict.fromkeys(_key(each, query.per) for each in setups.values()))
    numbers = {key: i for i, key in enumerate(keys)}
    places = {each.id: numbers[_key(each, query.per)] for each in setups.values()}
    found = newest_by_box(rows, places)
    score = score_field(each.quality for each in setups.values())
    groups: dict[Standing, list[Group]] = {}
    for (trust, number), by_box in found.items():
        group = _group(keys[number], list(by_box.values()), setups, score)
        groups.setdefault(trust, []).append(group)
    groups.setdefault(Standing.TRUSTED, [])
    placed = {
        trust: _ordered(_with_front(groups[trust]) if trust is Standing.TRUSTED else groups[trust])
        for trust in Standing
        if trust in groups
    }
    return CompareAnswer(
        query=query,
        refusal=None,
        context=context,
        groups=placed,
        score_name=score_words(score),
        tables={trust: _table(trust, each, context.scenario) for trust, each in placed.items()},
        notes=_notes(placed),
    )


def _key(setup: SetupRow, per: Per) -> SetupKey:
    alone = per is Per.RELEASE
    return SetupKey(
        target=setup.release.target,
        runtime=setup.runtime,
        runtime_version=setup.runtime_version,
        provider=setup.provider,
        variant=setup.variant,
        format=setup.format,
        precision=setup.precision,
        threads=setup.threads,
        options=options_words(setup),
        version=setup.release.version if alone else "",
        release=setup.release.bundle_id if alone else "",
    )


def _group(
    key: SetupKey, rows: Sequence[StandingRow], setups: Mapping[int, SetupRow], score: str | None
) -> Group:
    used = [setups[each] for each in {row.setup_id for row in rows}]
    used.sort(key=lambda each: (each.release.first_seen_ms, each.id), reverse=True)
    newest = used[0]
    return Group(
        key=key,
        boxes=len(rows),
        versions=tuple(dict.fromkeys(each.release.version for each in used)),
        p50=spread_of(known(row.p50_ns for row in rows)),
        p99=spread_of(known(row.p99_ns for row in rows)),
        ready=spread_of(known(row.ready_ns for row in rows)),
        rss_peak=spread_of(known(row.rss_peak_bytes for row in rows)),
        samples_per_second=_middle(row.samples_per_second for row in rows),
        size_bytes=newest.size_bytes,
        quality=newest.quality,
        score=score_of(newest.quality, score),
    )


def _middle(values: Iterable[float | None]) -> float | None:
    """Returns the median box's value; None with too few boxes for one."""
    ordered = sorted(each for each in values if each is not None)
    enough = len(ordered) >= minimum_boxes(0.5)
    return ordered[(len(ordered) - 1) // 2] if enough else None


def _with_front(groups: Sequence[Group]) -> list[Group]:
    """Marks what no other row beats; a row without a median or a needed score is not placed."""
    needs_score = any(each.score is not None for each in groups)
    able = [
        each
        for each in groups
        if each.p50.median is not None and (each.score is not None or not needs_score)
    ]
    front = {
        each.key for each in able if not any(_beats(_costs(other), _costs(each)) for other in able)
    }
    return [replace(each, on_front=each.key in front) for each in groups]


def _costs(group: Group) -> tuple[float, ...]:
    """What a row costs: latency, size, and the quality that is lost; less is better."""
    return float(group.p50.median or 0), float(group.size_bytes), -(group.score or 0.0)


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _ordered(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The lowest median first; what has none comes last, the most boxes first."""

    def order(group: Group) -> tuple[bool, int, int, str]:
        median = group.p50.median
        return median is None, median or 0, -group.boxes, group.key.label

    return tuple(sorted(groups, key=order))


def _notes(groups: Mapping[Standing, Sequence[Group]]) -> tuple[str, ...]:
    notes = []
    if not groups.get(Standing.TRUSTED):
        notes.append("There is no run here that can be trusted.")
    for group in groups.get(Standing.TRUSTED, ()):
        if group.p50.missing:
            notes.append(f"{group.key.label}: {group.p50.missing}.")
        if group.p99.boxes < group.boxes:
            without = boxes_words(group.boxes - group.p99.boxes)
            notes.append(f"{group.key.label}: no p99 from {without}, which made too few queries.")
    return tuple(notes)


def _table(trust: Standing, groups: Sequence[Group], scenario: str) -> Table:
    """Makes the table; what Offline is about is its throughput."""
    offline = scenario == Scenario.OFFLINE
    columns = [
        replace(each, detail=not offline) if each.key == "samples_per_second" else each
        for each in (*_SETUP_COLUMNS, *_P50_COLUMNS)
    ]
    return make_table(str(trust), _TITLES[trust], columns, [_record(each) for each in groups])


def _versions(versions: Sequence[str]) -> str:
    if len(versions) <= _SHOWN_VERSIONS:
        return ", ".join(versions)
    return f"{versions[0]} … {versions[-1]} ({len(versions)})"


def _record(group: Group) -> dict[str, Cell]:
    key = group.key
    p50, p99 = group.p50, group.p99
    return {
        "target": key.target,
        "runtime": key.runtime,
        "runtime_version": key.runtime_version,
        "provider": key.provider,
        "variant": key.variant,
        "precision": key.precision,
        "options": key.options,
        "versions": _versions(group.versions),
        "boxes": group.boxes,
        "p50_min_ns": p50.minimum,
        "p50_p10_ns": p50.p10,
        "p50_p25_ns": p50.p25,
        "p50_median_ns": p50.median,
        "p50_low_ns": p50.low,
        "p50_high_ns": p50.high,
        "p50_p75_ns": p50.p75,
        "p50_p90_ns": p50.p90,
        "p50_max_ns": p50.maximum,
        "p99_boxes": p99.boxes,
        "p99_median_ns": p99.median,
        "p99_p90_ns": p99.p90,
        "p99_max_ns": p99.maximum,
        "ready_median_ns": group.ready.median,
        "samples_per_second": group.samples_per_second,
        "rss_peak_median_bytes": group.rss_peak.median,
        "size_bytes": group.size_bytes,
        "quality": group.score,
        "on_front": group.on_front,
        "release": key.release,
    }
