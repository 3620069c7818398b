"""Ranks the variants on one kind of box, and says why each has its place.

A place needs reports that count from enough boxes for the median's interval. It is not aware of
the store, nor of other kinds of boxes. Used by the choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgepack.formats.evidence import Candidate, KindOfBox, Limits, Status
from edgepack.formats.statistics import interval_rank
from edgepack.hub.answers.columns import (
    MISSING,
    TRUSTS,
    StandingColumns,
    Whole,
    newest_by_group,
    numbers_of,
)
from edgepack.hub.answers.quality import score_field, score_of
from edgepack.hub.answers.rows import ContextRow, SetupRow
from edgepack.hub.answers.spread import Spread, spread_of
from edgepack.hub.answers.table import format_ns, format_size
from edgepack.hub.answers.trust import Standing
from edgepack.hub.answers.words import boxes as boxes_words

#: The fewest boxes whose median has an interval: 8.
ENOUGH_BOXES: Final = next(n for n in range(1, 100) if interval_rank(n) is not None)
_ORDER: Final = list(Status)


@dataclass(frozen=True, slots=True, order=True)
class VariantKey:
    """What is ranked: a variant on a runtime, whatever its options and release."""

    runtime: str
    variant: str


def rank_kind(
    context: ContextRow,
    columns: StandingColumns,
    setups: Mapping[int, SetupRow],
    limits: Limits,
) -> KindOfBox:
    """Ranks every variant of some setups on one kind of box.

    Args:
        context: The context of that kind of box.
        columns: The newest runs in it; those of other setups are left out.
        setups: The setups of the target's releases of the model, by row id.
        limits: What a variant must keep.

    Returns:
        The ranking.
    """
    setups = _without_fallbacks(columns, setups)
    of_key: dict[VariantKey, list[SetupRow]] = {}
    for each in setups.values():
        of_key.setdefault(VariantKey(each.runtime, each.variant), []).append(each)
    keys = sorted(of_key)
    places = {each.id: number for number, key in enumerate(keys) for each in of_key[key]}
    place = numbers_of(columns.setup_id, places)
    group = np.where(place < 0, -1, columns.trust * len(keys) + place)
    runs, groups = newest_by_group(columns, group)
    score = score_field(each.quality for each in setups.values())
    candidates = []
    for number, key in enumerate(keys):
        by_trust = {
            trust: runs.taken(groups == i * len(keys) + number) for i, trust in enumerate(TRUSTS)
        }
        candidates.append(_candidate(key, of_key[key], by_trust, score, limits))
    trusted = np.unique(runs.device_id[runs.trust == TRUSTS.index(Standing.TRUSTED)])
    placed = _placed(candidates)
    reason, settled = _verdict(placed)
    return KindOfBox(
        box=context.box,
        box_key=context.box_key,
        context=context.digest,
        boxes=len(trusted),
        candidates=tuple(placed),
        settled=settled,
        reason=reason,
    )


def is_tied(candidate: Candidate, first: Candidate) -> bool:
    """Says whether a ranked candidate cannot be told apart from the first: intervals overlap."""
    return (
        candidate.status is Status.RANKED
        and candidate.p50_low_ns is not None
        and first.p50_high_ns is not None
        and candidate.p50_low_ns <= first.p50_high_ns
    )


def is_open(candidate: Candidate) -> bool:
    """Says whether more reports could give it a place."""
    return candidate.status in (Status.TOO_FEW_BOXES, Status.NO_TRUSTED_REPORTS)


def name_of(candidate: Candidate) -> str:
    """Returns a candidate in words: `tflite-fp16 on litert`."""
    return f"{candidate.variant} on {candidate.runtime}"


def _without_fallbacks(
    columns: StandingColumns, setups: Mapping[int, SetupRow]
) -> Mapping[int, SetupRow]:
    """Leaves out setups where another part of the box computed than for most boxes."""
    providers: dict[VariantKey, Counter[str]] = {}
    for each in setups.values():
        providers.setdefault(VariantKey(each.runtime, each.variant), Counter())[each.provider] += 0
    trusted = columns.setup_id[columns.trust == TRUSTS.index(Standing.TRUSTED)]
    ids, counts = np.unique(trusted, return_counts=True)
    for setup_id, count in zip(ids.tolist(), counts.tolist(), strict=True):
        setup = setups.get(setup_id)
        if setup is not None:
            providers[VariantKey(setup.runtime, setup.variant)][setup.provider] += count
    usual = {key: max(sorted(found), key=found.__getitem__) for key, found in providers.items()}
    return {
        key: each
        for key, each in setups.items()
        if each.provider == usual[VariantKey(each.runtime, each.variant)]
    }


def _candidate(
    key: VariantKey,
    setups: Sequence[SetupRow],
    by_trust: Mapping[Standing, StandingColumns],
    score: str | None,
    limits: Limits,
) -> Candidate:
    newest = max(setups, key=lambda each: (each.release.first_seen_ms, each.id))
    trusted = by_trust[Standing.TRUSTED]
    p50, p99 = _spread(trusted.p50_ns), _spread(trusted.p99_ns)
    enough = p50.boxes >= ENOUGH_BOXES
    candidate = Candidate(
        runtime=key.runtime,
        variant=key.variant,
        runtime_version=newest.runtime_version,
        size_bytes=newest.size_bytes,
        quality=score_of(newest.quality, score),
        boxes=p50.boxes,
        doubtful_boxes=len(by_trust[Standing.DOUBTFUL]),
        emulated_boxes=len(by_trust[Standing.EMULATED]),
        p50_ns=p50.median if enough else None,
        p50_low_ns=p50.low,
        p50_high_ns=p50.high,
        p99_ns=_kept_by_most(p99),
        status=Status.RANKED,
        place=None,
        reason="",
    )
    status, reason = _status(candidate, limits)
    return replace(candidate, status=status, reason=reason)


def _spread(values: Whole) -> Spread:
    # Of the bins, which a chart draws, nothing is told here.
    return spread_of(np.sort(values[values != MISSING]).tolist(), bins=False)


def _kept_by_most(p99: Spread) -> int | None:
    """Returns the p99 that nine boxes in ten keep; below eleven boxes, that of all of them."""
    if p99.boxes < ENOUGH_BOXES:
        return None
    return p99.maximum if p99.p90 is None else p99.p90


def _status(candidate: Candidate, limits: Limits) -> tuple[Status, str]:
    """Judges a candidate by itself; the reason of a ranked one is written later."""
    if missed := _misses_without_running(candidate, limits):
        return Status.OVER_LIMIT, missed
    if candidate.boxes == 0:
        return Status.NO_TRUSTED_REPORTS, _why_none(candidate)
    if candidate.p50_low_ns is None:
        return Status.TOO_FEW_BOXES, (
            f"reports that count from {boxes_words(candidate.boxes)}; "
            f"from {ENOUGH_BOXES} on the median can be told"
        )
    return _by_tail(candidate.p99_ns, limits.max_p99_ns)


def _by_tail(p99_ns: int | None, max_p99_ns: int | None) -> tuple[Status, str]:
    if max_p99_ns is not None and p99_ns is None:
        return Status.TOO_FEW_BOXES, (
            "too few boxes with a p99, which a quick benchmark has too few queries for"
        )
    if max_p99_ns is not None and p99_ns is not None and p99_ns > max_p99_ns:
        return Status.OVER_LIMIT, (
            f"p99 {format_ns(p99_ns)} is what nine boxes in ten keep, "
            f"at most {format_ns(max_p99_ns)} is allowed"
        )
    return Status.RANKED, ""


def _misses_without_running(candidate: Candidate, limits: Limits) -> str:
    if limits.max_size_bytes is not None and candidate.size_bytes > limits.max_size_bytes:
        return (
            f"the model file has {format_size(candidate.size_bytes)}, "
            f"at most {format_size(limits.max_size_bytes)} is allowed"
        )
    if limits.min_quality is None:
        return ""
    if candidate.quality is None:
        return f"no report says its quality, at least {limits.min_quality:g} is needed"
    if candidate.quality < limits.min_quality:
        return f"quality {candidate.quality:.3f}, at least {limits.min_quality:g} is needed"
    return ""


def _why_none(candidate: Candidate) -> str:
    others = []
    if candidate.doubtful_boxes:
        others.append(f"{boxes_words(candidate.doubtful_boxes)} with doubtful ones")
    if candidate.emulated_boxes:
        others.append(f"{candidate.emulated_boxes} emulated")
    return "no report that counts" + (f"; {', '.join(others)}" if others else "")


def _placed(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Gives the places, the reasons of the ranked, and the order of the table."""
    ranked = sorted(
        (each for each in candidates if each.status is Status.RANKED),
        key=lambda each: (each.p50_ns or 0, each.size_bytes, each.runtime, each.variant),
    )
    others = sorted(
        (each for each in candidates if each.status is not Status.RANKED),
        key=lambda each: (_ORDER.index(each.status), -each.boxes, each.runtime, each.variant),
    )
    first = ranked[0] if ranked else None
    placed = [
        replace(each, place=i + 1, reason=_why_this_place(each, first))
        for i, each in enumerate(ranked)
    ]
    return [*placed, *others]


def _why_this_place(candidate: Candidate, first: Candidate | None) -> str:
    measured = measured_words(candidate)
    if first is None or candidate is first or not first.p50_ns or candidate.p50_ns is None:
        return f"the lowest median latency: {measured}"
    times = f"{candidate.p50_ns / first.p50_ns:.2f} times the first's latency"
    if is_tied(candidate, first):
        return f"cannot be told apart from the first: {measured}, {times}"
    return f"{times}: {measured}"


def measured_words(candidate: Candidate) -> str:
    """Returns a ranked candidate's latency in words, with its interval and boxes."""
    median, low, high = (
        format_ns(each or 0)
        for each in (candidate.p50_ns, candidate.p50_low_ns, candidate.p50_high_ns)
    )
    return f"{median} ({low} to {high}) on {boxes_words(candidate.boxes)}"


def _verdict(placed: Sequence[Candidate]) -> tuple[str, bool]:
    """Says what is certain on this kind of box, and whether the first place is."""
    ranked = [each for each in placed if each.status is Status.RANKED]
    unknown = [name_of(each) for each in placed if is_open(each)]
    open_words = f"; not known: {_listed(unknown)}" if unknown else ""
    if not ranked:
        return (
            f"no variant has reports that count from {ENOUGH_BOXES} boxes and keeps the limits"
            f"{open_words}",
            False,
        )
    first = ranked[0]
    tied = [name_of(each) for each in ranked[1:] if is_tied(each, first)]
    if tied:
        words = f"{name_of(first)} is first but cannot be told apart from {_listed(tied)}"
    elif len(ranked) == 1:
        words = f"{name_of(first)} is the only one with reports that count from enough boxes"
        if not unknown:
            words = f"{name_of(first)} is the only one that is left"
    else:
        words = f"{name_of(first)} is the fastest"
    return f"{words}: {measured_words(first)}{open_words}", not tied and not unknown


def _listed(names: Sequence[str]) -> str:
    shown = 4  # a sentence, not a table
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
