"""The computations on columns once more, row by row as one would write them down."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from edgepack.formats.statistics import median_interval, nearest_rank
from edgepack.hub.answers.changes import Change, Measure, Verdict
from edgepack.hub.answers.grouping import newest_by_box
from edgepack.hub.answers.rows import ContextRow, SetupRow, StandingRow
from edgepack.hub.answers.spread import spread_of
from edgepack.hub.answers.trust import Standing

_OF_THE_RELEASE = ("kind", "sequence_length", "catalogue_size", "top_k")
_FIELDS = {Measure.P50: "p50_ns", Measure.P99: "p99_ns", Measure.COLD_START: "ready_ns"}


def change_by_hand(
    context: ContextRow,
    trust: Standing,
    measure: Measure,
    pairs: Iterable[tuple[int | None, int | None]],
) -> Change:
    """Judges one measure by every pair's logarithm."""
    sound = [(b, a) for b, a in pairs if b is not None and a is not None and b > 0 and a > 0]
    logs = sorted(math.log(a / b) for b, a in sound)
    interval = median_interval(logs)
    low, high = interval or (None, None)
    middle = (logs[(len(logs) - 1) // 2] + logs[len(logs) // 2]) / 2 if interval else None
    verdict = Verdict.TOO_FEW
    if low is not None and high is not None:
        verdict = Verdict.NOT_SHOWN
        if low > 0:
            verdict = Verdict.SLOWER
        elif high < 0:
            verdict = Verdict.FASTER
    return Change(
        context=context,
        trust=trust,
        measure=measure,
        boxes=len(sound),
        before_ns=nearest_rank(sorted(b for b, _ in sound), 0.5) if interval else None,
        after_ns=nearest_rank(sorted(a for _, a in sound), 0.5) if interval else None,
        ratio=None if middle is None else math.exp(middle),
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(high),
        slower=sum(a > b for b, a in sound),
        faster=sum(a < b for b, a in sound),
        worst=math.exp(logs[-1]) if logs else None,
        verdict=verdict,
    )


def changes_by_hand(
    rows: Sequence[StandingRow],
    sides: Mapping[int, int],
    contexts: Mapping[int, ContextRow],
) -> tuple[list[Change], int, int]:
    """Compares each box with itself; `sides` says of each setup 0 for before and 1 for after.

    Returns:
        The changes, the boxes with a run after and those with both.
    """
    alike: dict[object, list[StandingRow]] = {}
    for row in rows:
        context = contexts[row.context_id]
        facts = [each for each in sorted(context.facts.items()) if each[0] not in _OF_THE_RELEASE]
        alike.setdefault((context.scenario, context.box_key, str(facts)), []).append(row)
    changes: list[Change] = []
    after_boxes: set[int] = set()
    both: set[int] = set()
    for part in alike.values():
        groups = newest_by_box(part, sides)
        for trust in Standing:
            before, after = groups.get((trust, 0), {}), groups.get((trust, 1), {})
            after_boxes |= after.keys()
            boxes = before.keys() & after.keys()
            both |= boxes
            if not boxes:
                continue
            newest = max(after.values(), key=lambda row: (row.created_ms, row.context_id))
            for measure, name in _FIELDS.items():
                pairs = [(getattr(before[b], name), getattr(after[b], name)) for b in boxes]
                change = change_by_hand(contexts[newest.context_id], trust, measure, pairs)
                changes += [change] if change.boxes else []
    return changes, len(after_boxes), len(both)


def figures_by_hand(
    rows: Sequence[StandingRow], setups: Mapping[int, SetupRow]
) -> dict[tuple[str, str], tuple[int | None, ...]]:
    """Finds a candidate's figures by runtime and variant.

    Returns:
        Boxes, doubtful boxes, emulated boxes, p50, its interval's ends, p99.
    """
    found: dict[tuple[str, str], tuple[int | None, ...]] = {}
    for key in sorted({(each.runtime, each.variant) for each in setups.values()}):
        own = [each for each in setups.values() if (each.runtime, each.variant) == key]
        providers = Counter({each.provider: 0 for each in own})
        for row in rows:
            if row.trust == Standing.TRUSTED and row.setup_id in {each.id for each in own}:
                providers[setups[row.setup_id].provider] += 1
        usual = max(sorted(providers), key=providers.__getitem__)
        groups = newest_by_box(rows, {each.id: 0 for each in own if each.provider == usual})
        boxes = {trust: list(groups.get((trust, 0), {}).values()) for trust in Standing}
        trusted = boxes[Standing.TRUSTED]
        p50 = spread_of([each.p50_ns for each in trusted if each.p50_ns is not None])
        p99 = spread_of([each.p99_ns for each in trusted if each.p99_ns is not None])
        tail = p99.maximum if p99.p90 is None else p99.p90
        found[key] = (
            p50.boxes,
            len(boxes[Standing.DOUBTFUL]),
            len(boxes[Standing.EMULATED]),
            p50.median if p50.boxes >= 8 else None,
            p50.low,
            p50.high,
            tail if p99.boxes >= 8 else None,
        )
    return found
