"""Which variant for a target, and how sure that is.

Each kind of box that the target has in the field is ranked by itself; over all of them a variant
counts by how many times the fastest's latency it has on each. It is not aware of the store. Used
by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from edgepack.formats.evidence import (
    Candidate,
    Evidence,
    KindOfBox,
    Limits,
    NeededRun,
    Pick,
    Status,
)
from edgepack.formats.report import Scenario
from edgepack.hub.answers.columns import StandingColumns
from edgepack.hub.answers.ranking import VariantKey, name_of, rank_kind
from edgepack.hub.answers.rows import ContextRow, SetupRow
from edgepack.hub.answers.settling import needed_runs, needed_words
from edgepack.hub.answers.table import Cell, Column, Table, Unit, make_table
from edgepack.hub.answers.trust import Standing
from edgepack.hub.answers.words import boxes as boxes_words


@dataclass(frozen=True, slots=True)
class SelectQuery:
    """What to choose for.

    Attributes:
        target: A target's name.
        model: A model's name; None: the only one the target has reports of.
        box: The `box_key` of a kind of box or a part of its words; None: every kind the target
            has.
        scenario: Whose latency counts.
        limits: What a variant must keep.
    """

    target: str
    model: str | None = None
    box: str | None = None
    scenario: str = Scenario.SINGLE_STREAM
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class SelectAnswer:
    """The answer as a value and as tables.

    Attributes:
        query: What was asked.
        evidence: The answer; `edgepack build` takes it.
        picks: `evidence.picks` as a table.
        kinds: The candidates of each kind of box, one table a kind, in the order of
            `evidence.kinds`.
        needed: `evidence.needed` as a table.
    """

    query: SelectQuery
    evidence: Evidence
    picks: Table
    kinds: tuple[Table, ...]
    needed: Table


#: A `Sentence` of `formats.typed`.
_SENTENCE: Final = 1000
_CANDIDATE_COLUMNS: Final = (
    Column("place", "Place", Unit.COUNT),
    Column("runtime", "Runtime"),
    Column("variant", "Variant"),
    Column("boxes", "Boxes", Unit.COUNT, "Boxes with reports that count"),
    Column("p50_ns", "p50", Unit.NS, "The median box"),
    Column("p50_low_ns", "from", Unit.NS, "The interval that holds the median at 99 %"),
    Column("p50_high_ns", "to", Unit.NS),
    Column("p99_ns", "p99", Unit.NS, "What nine boxes in ten keep"),
    Column("size_bytes", "Model file", Unit.BYTES),
    Column("quality", "Quality", Unit.SHARE),
    Column("status", "Status", detail=True),
    Column("reason", "Why"),
)
_PICK_COLUMNS: Final = (
    Column("runtime", "Runtime"),
    Column("variant", "Variant"),
    Column("relative", "Over the fastest", Unit.RATIO, "Averaged over the boxes"),
    Column("low", "from", Unit.RATIO),
    Column("high", "to", Unit.RATIO),
    Column("p50_ns", "p50", Unit.NS, "On the kind of box that most are"),
    Column("boxes", "Boxes", Unit.COUNT),
    Column("kinds", "Kinds of boxes", Unit.COUNT),
)
_NEEDED_COLUMNS: Final = (
    Column("boxes", "More boxes", Unit.COUNT),
    Column("box", "Box"),
    Column("runtime", "Runtime"),
    Column("variant", "Variant"),
    Column("reason", "Why"),
    Column("commands", "Commands"),
)


@dataclass(frozen=True, slots=True)
class SelectRows:
    """What the store has for a choice.

    Attributes:
        model: The model; None where the target has none or several and none was named.
        models: Models with releases for the target.
        setups: The setups of the target's releases of the model, by row id.
        contexts: One context a kind of box, as `main_contexts` picks them.
        standing: The newest runs in each of these, by the context's row id.
        left_out: How many contexts of the same kinds of boxes were not looked at.
    """

    model: str | None
    models: Sequence[str]
    setups: Mapping[int, SetupRow]
    contexts: Sequence[ContextRow]
    standing: Mapping[int, StandingColumns]
    left_out: int = 0


def main_contexts(
    contexts: Sequence[ContextRow], counts: Mapping[tuple[int, Standing], int]
) -> list[ContextRow]:
    """Picks the context of each kind of box that most is known in.

    Args:
        contexts: Of one model and scenario.
        counts: Newest runs by the context's row id and trust.

    Returns:
        One context a kind of box, the one with most trusted runs first. What was only emulated
        is no kind of box, unless there is nothing else.
    """

    def weight(each: ContextRow) -> tuple[int, int, str]:
        trusted = counts.get((each.id, Standing.TRUSTED), 0)
        return -trusted, -sum(counts.get((each.id, trust), 0) for trust in Standing), each.digest

    real = [
        each
        for each in contexts
        if any(counts.get((each.id, trust)) for trust in (Standing.TRUSTED, Standing.DOUBTFUL))
    ]
    best: dict[str, ContextRow] = {}
    for each in sorted(real or contexts, key=weight):
        best.setdefault(each.box_key, each)
    return list(best.values())


def select_answer(
    query: SelectQuery, rows: SelectRows, *, now_ms: int, source: str
) -> SelectAnswer:
    """Ranks the variants for a target.

    Args:
        query: What was asked.
        rows: What the store has.
        now_ms: When it was read.
        source: The hub's address or the file.

    Returns:
        The answer; where little is known it says so and what would settle it.
    """
    ranked = [
        rank_kind(each, rows.standing[each.id], rows.setups, query.limits) for each in rows.contexts
    ]
    kinds = tuple(sorted(ranked, key=lambda each: (-each.boxes, each.box)))
    picks = _picks(kinds)
    needed: list[NeededRun] = []
    for kind in kinds:
        needed += needed_runs(kind, target=query.target, model=rows.model or "MODEL")
    reason, settled = _verdict(query, rows, kinds, picks)
    words = "; ".join(each for each in (reason, "" if settled else needed_words(needed)) if each)
    evidence = Evidence(
        created=_rfc3339(now_ms),
        source=source[:_SENTENCE],
        target=query.target,
        model=rows.model or query.model or "-",
        scenario=query.scenario,
        limits=query.limits,
        picks=picks,
        settled=settled,
        reason=words[:_SENTENCE],
        kinds=kinds,
        needed=tuple(needed),
    )
    return tables_of(query, evidence)


def tables_of(query: SelectQuery, evidence: Evidence) -> SelectAnswer:
    """Adds the tables to an answer, which may also have come from a hub."""
    return SelectAnswer(
        query=query,
        evidence=evidence,
        picks=_table("picks", "Over all kinds of boxes", _PICK_COLUMNS, evidence.picks),
        kinds=tuple(
            _table(
                each.box_key,
                f"{each.box} [{each.box_key}]: {each.reason}",
                _CANDIDATE_COLUMNS,
                each.candidates,
            )
            for each in evidence.kinds
        ),
        needed=make_table(
            "needed",
            "What would settle it",
            _NEEDED_COLUMNS,
            [_needed_record(each) for each in evidence.needed],
        ),
    )


def _picks(kinds: Sequence[KindOfBox]) -> tuple[Pick, ...]:
    """Puts the kinds of boxes together; what misses a limit on one of them is out."""
    out = {
        VariantKey(each.runtime, each.variant)
        for kind in kinds
        for each in kind.candidates
        if each.status is Status.OVER_LIMIT
    }
    places: dict[VariantKey, list[_Place]] = {}
    for kind in kinds:
        ranked = [each for each in kind.candidates if each.status is Status.RANKED]
        for each in ranked:
            key = VariantKey(each.runtime, each.variant)
            if key not in out:
                place = _Place(each, ranked[0].p50_ns or 1, kind.boxes)
                places.setdefault(key, []).append(place)
    picks = [_pick(key, found) for key, found in places.items()]
    # What is known on more kinds of boxes comes first: the rest is a guess for these.
    return tuple(
        sorted(picks, key=lambda each: (-each.kinds, each.relative, each.runtime, each.variant))
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A ranked variant on one kind of box, the fastest's latency there, and the boxes it has."""

    candidate: Candidate
    fastest_ns: int
    boxes: int


def _pick(key: VariantKey, places: Sequence[_Place]) -> Pick:
    # A kind weighs the same for every variant, however many of its boxes have it already.
    weight = sum(each.boxes for each in places)

    def average(name: str) -> float:
        total = sum(
            each.boxes * math.log(max(getattr(each.candidate, name) or 1, 1) / each.fastest_ns)
            for each in places
        )
        return math.exp(total / weight)

    return Pick(
        runtime=key.runtime,
        variant=key.variant,
        relative=average("p50_ns"),
        low=average("p50_low_ns"),
        high=average("p50_high_ns"),
        p50_ns=places[0].candidate.p50_ns or 0,
        boxes=sum(each.candidate.boxes for each in places),
        kinds=len(places),
    )


def _verdict(
    query: SelectQuery, rows: SelectRows, kinds: Sequence[KindOfBox], picks: Sequence[Pick]
) -> tuple[str, bool]:
    if rows.model is None:
        return _no_model(query, rows.models), False
    if not kinds:
        where = f" on {query.box}" if query.box else ""
        return f"no {query.scenario} run of {rows.model} for {query.target}{where}", False
    left_out = f"; {rows.left_out} contexts with fewer runs left out" if rows.left_out else ""
    if len(kinds) == 1:
        return f"{kinds[0].reason}{left_out}", kinds[0].settled
    if not picks:
        return f"nothing can be said on any of {len(kinds)} kinds of boxes{left_out}", False
    firsts = Counter(
        name_of(kind.candidates[0])
        for kind in kinds
        if kind.candidates and kind.candidates[0].status is Status.RANKED
    )
    best = picks[0]
    words = (
        f"{best.variant} on {best.runtime} is the best over {_of(best.kinds, len(kinds))}: "
        f"{best.relative:.2f} times the fastest's latency on {boxes_words(best.boxes)}"
    )
    same = len(firsts) == 1 and best.kinds == len(kinds)
    if len(firsts) > 1:
        parts = ", ".join(f"{name} on {n}" for name, n in firsts.most_common(4))
        words += f"; the kinds differ in what is first ({parts}): ask for one with --box"
    return f"{words}{left_out}", same and all(each.settled for each in kinds)


def _of(some: int, kinds: int) -> str:
    return f"{kinds} kinds of boxes" if some == kinds else f"{some} of {kinds} kinds of boxes"


def _no_model(query: SelectQuery, models: Sequence[str]) -> str:
    if not models:
        return f"there are no reports for the target {query.target}"
    known = ", ".join(models)
    if query.model is not None:
        return f"there are no reports of {query.model} for {query.target}, but of {known}"
    return f"the target has reports of {known}; name one with --model"


def _table(
    key: str, title: str, columns: Sequence[Column], rows: Sequence[Candidate | Pick]
) -> Table:
    records: list[dict[str, Cell]] = [
        {column.key: getattr(each, column.key) for column in columns} for each in rows
    ]
    return make_table(key, title, columns, records)


def _needed_record(needed: NeededRun) -> dict[str, Cell]:
    return {
        "boxes": needed.boxes,
        "box": needed.box,
        "runtime": needed.runtime,
        "variant": needed.variant,
        "reason": needed.reason,
        "commands": "; ".join(needed.commands),
    }


def _rfc3339(moment_ms: int) -> str:
    moment = datetime.fromtimestamp(moment_ms / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
