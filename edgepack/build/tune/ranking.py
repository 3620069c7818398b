"""Ranks one machine's cells and chooses: the smallest of those that are as fast as the fastest.

Latencies are compared within a round, where both were measured under the same conditions, and
never between machines. It decides from values alone. Used by `tuning`.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgepack.build.artifacts import Quality
from edgepack.build.tune.cells import Cell, TunePlan
from edgepack.formats.statistics import (
    early_stopping_estimate,
    median_interval,
    minimum_count,
    nearest_rank,
)
from edgepack.formats.tuning import Block, Machine, TunedCell, TunedMachine

#: Nobody notices a twentieth; the same as a box takes when it chooses by itself.
MARGIN: Final = 0.05
_NS_PER_US: Final = 1000


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A cell with its rounds' medians."""

    cell: TunedCell
    medians: Mapping[int, int]


def rank_machine(
    machine: Machine,
    cells: Sequence[Cell],
    blocks: Mapping[Cell, Mapping[int, Block]],
    problems: Mapping[Cell, str],
    plan: TunePlan,
    margin: float = MARGIN,
) -> TunedMachine:
    """Ranks what was measured on one machine.

    Args:
        machine: Which.
        cells: What was to be measured.
        blocks: What came back, by cell and round, all of this machine.
        problems: What crashed, by cell.
        plan: How long each was to be measured.
        margin: What counts as equally fast.

    Returns:
        The ranking. Chosen is, of the cells that cannot be told from the fastest at 99 %
        confidence or are within the margin of it, the one with the smallest file and runtime
        together; of equally small ones the one with the simplest options, then the fastest.
    """
    found = [_summarise(each, blocks.get(each, {}), problems.get(each), plan) for each in cells]
    sound = [each for each in found if each.cell.problem is None]
    out = sorted((each.cell for each in found if each.cell.problem), key=lambda each: each.label)
    reservations = _reservations(blocks)
    if not sound:
        reason = f"none of {len(cells)} could be measured"
        return TunedMachine(machine, tuple(out), None, reason, reservations)
    fastest = min(sound, key=lambda each: (each.cell.p50_ns or 0, each.cell.label))
    compared = [_compare(each, fastest, margin) for each in sound]
    compared.sort(key=lambda each: (each.p50_ns or 0, each.label))
    ranked = tuple(
        replace(each, on_front=not any(_dominates(other, each) for other in compared))
        for each in compared
    )
    as_fast = [each for each in ranked if each.as_fast]
    chosen = min(as_fast, key=_preference)
    reason = _reason(chosen, ranked, margin, len(out))
    return TunedMachine(machine, (*ranked, *out), ranked.index(chosen), reason, reservations)


def quality_of(quality: Quality | None) -> float | None:
    """Returns the one number of a variant's quality that is shown and plotted."""
    if quality is None:
        return None
    if quality.overlap is not None:
        return quality.overlap
    if quality.argmax_same is not None:
        return quality.argmax_same
    return None if quality.range_err is None else max(0.0, 1 - quality.range_err)


def quality_name(qualities: Sequence[Quality | None]) -> str:
    """Says what `quality_of` returns for a model."""
    known = [each for each in qualities if each is not None]
    if not known or known[0].overlap is not None:
        return "overlap@10 with fp32"
    if known[0].argmax_same is not None:
        return "same class as fp32"
    return "1 - largest error as a share of the range"


def _summarise(
    cell: Cell, blocks: Mapping[int, Block], problem: str | None, plan: TunePlan
) -> _Ranked:
    row = cell.row
    base = TunedCell(
        runtime=row.runtime,
        runtime_version=row.runtime_version,
        variant=row.variant.spec.name,
        options=cell.options,
        sha256=row.variant.sha256,
        size_bytes=row.variant.size_bytes,
        bundle_bytes=row.site_bytes + row.variant.size_bytes,
        quality=quality_of(row.quality),
    )
    told = [each.problem for _, each in sorted(blocks.items()) if each.problem]
    if told or problem is not None or not blocks:
        why = next(iter(told), problem) or "not measured"
        return _Ranked(replace(base, problem=why), {})
    values = sorted(value for each in blocks.values() for value in each.values_ns)
    medians = {number: each.p50_ns for number, each in blocks.items()}
    queries = sum(each.queries for each in blocks.values())
    duration_ns = sum(each.duration_ns for each in blocks.values())
    return _Ranked(
        replace(
            base,
            rounds=len(blocks),
            queries=queries,
            p50_ns=round(statistics.median(medians.values())),
            p90_ns=nearest_rank(values, 0.9),
            p99_ns=nearest_rank(values, 0.99) if len(values) >= minimum_count(0.99) else None,
            p90_early_ns=early_stopping_estimate(values, 0.9).estimate,
            valid=len(blocks) >= plan.rounds
            and queries >= minimum_count(0.9)
            and duration_ns >= plan.min_duration_ns,
        ),
        medians,
    )


def _compare(each: _Ranked, fastest: _Ranked, margin: float) -> TunedCell:
    """Says how much longer a cell takes than the fastest, round by round."""
    rounds = sorted(each.medians.keys() & fastest.medians.keys())
    ratios = sorted(each.medians[i] / max(fastest.medians[i], 1) for i in rounds)
    if not ratios:
        # Never in the same round: nothing is known of the two under the same conditions.
        return replace(each.cell, as_fast=False)
    relative = statistics.median(ratios)
    interval = median_interval(ratios)
    low, high = (None, None) if interval is None else interval
    tied = low is not None and low <= 1
    return replace(
        each.cell,
        relative=relative,
        low=low,
        high=high,
        as_fast=tied or relative <= 1 + margin,
    )


def _dominates(other: TunedCell, each: TunedCell) -> bool:
    """Whether another is as good in everything and better in something."""
    theirs, own = _costs(other), _costs(each)
    return theirs != own and all(a <= b for a, b in zip(theirs, own, strict=True))


def _costs(cell: TunedCell) -> tuple[float, float, float, float]:
    quality = 0.0 if cell.quality is None else cell.quality
    return float(cell.p50_ns or 0), float(cell.p90_ns or 0), float(cell.bundle_bytes), -quality


def _preference(cell: TunedCell) -> tuple[object, ...]:
    return cell.bundle_bytes, cell.options.complexity, cell.p50_ns or 0, cell.label


def _reservations(blocks: Mapping[Cell, Mapping[int, Block]]) -> tuple[str, ...]:
    """Returns what was said against at least a quarter of the blocks."""
    every = [each for found in blocks.values() for each in found.values() if each.problem is None]
    counted = Counter(reason for each in every for reason in each.reasons)
    return tuple(sorted(reason for reason, count in counted.items() if count * 4 >= len(every)))


def _reason(chosen: TunedCell, ranked: Sequence[TunedCell], margin: float, out: int) -> str:
    left = f"; {out} of {out + len(ranked)} are out" if out else ""
    if len(ranked) == 1:
        return f"the only one that passed the gate and could be measured{left}"
    fastest = ranked[0]
    others = [each for each in ranked if each.as_fast and each is not chosen]
    if not others:
        second = ranked[1]
        by = "" if second.relative is None else f", {second.relative:.2f} times as long"
        return (
            f"the fastest of {len(ranked)} that passed the gate: {_us(chosen.p50_ns)}; next is "
            f"{second.label} with {_us(second.p50_ns)}{by}{left}"
        )
    smaller = [each for each in others if each.bundle_bytes > chosen.bundle_bytes]
    rule = "the smallest" if smaller else "the simplest"
    told = f"{_us(chosen.p50_ns)}"
    if chosen is not fastest:
        told += f"; {fastest.label} takes {_us(fastest.p50_ns)}"
        if chosen.relative is not None:
            told += f", {_distance(chosen, margin)}"
    return (
        f"{rule} of {len(others) + 1} as fast as the fastest, of {len(ranked)} that passed the "
        f"gate: {told}{left}"
    )


def _distance(chosen: TunedCell, margin: float) -> str:
    if chosen.low is not None and chosen.low <= 1:
        return "which cannot be told apart at 99 %"
    return f"within the margin of {100 * margin:g} %"


def _us(duration_ns: int | None) -> str:
    return "-" if duration_ns is None else f"{duration_ns / _NS_PER_US:,.1f} µs"
