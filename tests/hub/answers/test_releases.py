"""Before and after on the same boxes, with an interval that assumes nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.hub.answers.changes import Change, Measure, Verdict, change_of
from edgepack.hub.answers.columns import MISSING, StandingColumns
from edgepack.hub.answers.releases import (
    ReleaseAnswer,
    ReleaseRows,
    release_answer,
    releases_answer,
)
from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.answers.trust import Standing
from tests.hub.answers.rows import CONTEXT, many, release, setup, standing

BEFORE, AFTER = release(1), release(2)
SETUPS = {1: setup(1, release=BEFORE), 2: setup(2, release=AFTER)}


def _change(pairs: list[tuple[int | None, int | None]]) -> Change:
    before, after = (
        np.array([MISSING if each is None else each for each in side], dtype=np.int64)
        for side in (zip(*pairs, strict=True) if pairs else ((), ()))
    )
    return change_of(CONTEXT, Standing.TRUSTED, Measure.P50, before, after)


def _answer(rows: list[StandingRow]) -> ReleaseAnswer:
    return release_answer(
        ReleaseRows(AFTER, BEFORE, [BEFORE], SETUPS, StandingColumns.of(rows), {1: CONTEXT})
    )


def test_equal_changes_stand_in_one_order_however_the_store_gives_the_rows() -> None:
    contexts = {number: replace(CONTEXT, id=number, box_key=f"k{number}") for number in (1, 2, 3)}
    rows = [
        standing(box, number, 1000, context_id=context)
        for context in contexts
        for box in range(3)
        for number in SETUPS
    ]
    answers = [
        release_answer(
            ReleaseRows(AFTER, BEFORE, [BEFORE], SETUPS, StandingColumns.of(each), contexts)
        )
        for each in (rows, rows[::-1])
    ]
    assert len(answers[0].changes) > len(contexts)
    assert answers[0].changes == answers[1].changes


def test_nine_boxes_by_hand() -> None:
    # Ratios 1.1 to 1.9; with nine, 2 * (1/512) = 0.0039 <= 0.01, and 2 * (10/512) is too much:
    # the interval is from the lowest to the highest.
    change = _change([(1000, 1000 + 100 * i) for i in range(1, 10)])
    assert change.verdict is Verdict.SLOWER
    assert change.ratio == pytest.approx(1.5)
    assert change.low == pytest.approx(1.1)
    assert change.high == pytest.approx(1.9)
    assert (change.before_ns, change.after_ns) == (1000, 1500)
    assert (change.boxes, change.slower, change.faster) == (9, 9, 0)
    assert change.worst == pytest.approx(1.9)
    assert change.words == "slower: +50.0 % (+10.0 % to +90.0 %), on 9 boxes"


def test_seven_boxes_are_too_few_however_clear_they_look() -> None:
    change = _change([(1000, 2000)] * 7)
    assert change.verdict is Verdict.TOO_FEW
    assert (change.ratio, change.low, change.before_ns) == (None, None, None)
    assert change.slower == 7
    assert change.words == "too few boxes: 7 boxes with both"


def test_a_box_without_one_of_the_two_does_not_count() -> None:
    change = _change([(None, 5), (5, None), (0, 5), (5, 0), (5, 6)])
    assert change.boxes == 1


def test_equal_times_show_no_difference() -> None:
    change = _change([(1000, 1000)] * 20)
    assert (change.verdict, change.ratio) == (Verdict.NOT_SHOWN, 1.0)


def test_boxes_that_differ_by_ten_do_not_hide_a_change_of_five_percent() -> None:
    rng = random.Random(3)
    pairs: list[tuple[int | None, int | None]] = []
    for _ in range(60):
        before = 10 ** rng.uniform(6, 7)
        pairs.append((int(before), int(before * 1.05 * 2 ** rng.gauss(0, 0.05))))
    change = _change(pairs)
    assert change.verdict is Verdict.SLOWER
    assert change.low is not None
    assert change.high is not None
    assert change.low < 1.05 < change.high


def test_a_change_that_is_none_is_called_one_at_most_once_in_a_hundred() -> None:
    rng = random.Random(11)
    called = 0
    for _ in range(1000):
        pairs: list[tuple[int | None, int | None]] = [
            (1_000_000, int(1_000_000 * 2 ** rng.gauss(0, 0.1))) for _ in range(30)
        ]
        called += _change(pairs).verdict is not Verdict.NOT_SHOWN
    # 10 expected at most, standard deviation 3.2.
    assert called <= 20


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)), max_size=40))
def test_looking_back_turns_slower_into_faster(pairs: list[tuple[int, int]]) -> None:
    there, back = _change(list(pairs)), _change([(a, b) for b, a in pairs])
    opposite = {Verdict.SLOWER: Verdict.FASTER, Verdict.FASTER: Verdict.SLOWER}
    assert back.verdict is opposite.get(there.verdict, there.verdict)
    assert (there.slower, there.faster) == (back.faster, back.slower)
    if there.ratio is not None and back.ratio is not None:
        assert there.ratio * back.ratio == pytest.approx(1)
        assert there.low is not None
        assert back.high is not None
        assert there.low * back.high == pytest.approx(1)


def test_each_box_is_compared_with_itself_in_the_same_context_and_trust() -> None:
    rows = [
        *many(1, [100] * 9),
        *many(2, [150] * 9),
        # A box that has only one of the two, and one whose runs differ in trust.
        standing(50, 2, 1),
        standing(51, 1, 1),
        standing(51, 2, 900, trust=Standing.DOUBTFUL),
    ]
    answer = _answer(rows)
    by_measure = {each.measure: each for each in answer.changes}
    assert by_measure[Measure.P50].boxes == 9
    assert by_measure[Measure.P50].ratio == pytest.approx(1.5)
    assert by_measure[Measure.COLD_START].verdict is Verdict.NOT_SHOWN
    assert answer.doubtful == ()
    assert (answer.boxes_both, answer.boxes_after) == (9, 11)
    assert answer.summary.startswith("p50 of single_stream on Raspberry Pi 4 is slower: +50.0 %")
    assert answer.summary.endswith("1 more got slower")


def test_a_larger_catalogue_is_the_releases_doing_and_another_box_is_not() -> None:
    larger = replace(CONTEXT, id=2, digest="2" * 64, facts={**CONTEXT.facts, "catalogue_size": 9})
    elsewhere = replace(CONTEXT, id=3, digest="3" * 64, facts={**CONTEXT.facts, "power_mode": "x"})
    rows = [
        *many(1, [100] * 9),
        *many(2, [150] * 9, context_id=2),
        *many(1, [100] * 9, first_device=20),
        *many(2, [900] * 9, first_device=20, context_id=3),
    ]
    contexts = {1: CONTEXT, 2: larger, 3: elsewhere}
    answer = release_answer(
        ReleaseRows(AFTER, BEFORE, [BEFORE], SETUPS, StandingColumns.of(rows), contexts)
    )
    assert answer.boxes_both == 9
    assert {each.context.digest for each in answer.changes} == {larger.digest}
    assert answer.changes[0].ratio == pytest.approx(1.5)


def test_a_cold_start_is_told_once_for_a_kind_of_box() -> None:
    offline = replace(CONTEXT, id=2, digest="2" * 64, scenario="offline")
    rows = []
    for context_id in (1, 2):
        rows += many(1, [100] * 9, context_id=context_id)
        rows += many(2, [100] * 9, context_id=context_id)
    contexts = {1: CONTEXT, 2: offline}
    answer = release_answer(
        ReleaseRows(AFTER, BEFORE, [BEFORE], SETUPS, StandingColumns.of(rows), contexts)
    )
    cold = [each for each in answer.changes if each.measure is Measure.COLD_START]
    assert [each.context.scenario for each in cold] == ["single_stream"]
    assert len(answer.changes) == 5
    assert [r["scenario"] for r in answer.table.records() if r["measure"] == "cold start"] == [None]


def test_doubtful_pairs_are_judged_apart() -> None:
    rows = [
        *many(1, [100] * 9, trust=Standing.DOUBTFUL),
        *many(2, [300] * 9, trust=Standing.DOUBTFUL),
    ]
    answer = _answer(rows)
    assert answer.changes == ()
    assert {each.verdict for each in answer.doubtful} == {Verdict.SLOWER, Verdict.NOT_SHOWN}
    assert "too few alike" in answer.summary


def test_regressions_come_first_and_the_largest_on_top() -> None:
    rows = [
        *many(1, [100] * 9, ready_ns=100),
        *[each._replace(p99_ns=2000, ready_ns=50) for each in many(2, [110] * 9)],
    ]
    answer = _answer(rows)
    assert [(each.measure, each.verdict) for each in answer.changes] == [
        (Measure.P99, Verdict.SLOWER),
        (Measure.P50, Verdict.SLOWER),
        (Measure.COLD_START, Verdict.FASTER),
    ]
    assert [record["verdict"] for record in answer.table.records()] == [
        "slower",
        "slower",
        "faster",
    ]


def test_a_release_that_made_nothing_slower_says_what_it_made_faster() -> None:
    rows = [*many(1, [100] * 9), *many(2, [50] * 9)]
    assert "nothing got slower; p50 of single_stream" in _answer(rows).summary
    assert (
        "no difference shown in 3 comparisons on 9 boxes"
        in _answer([*many(1, [100] * 9), *many(2, [100] * 9)]).summary
    )


def test_a_release_without_a_box_that_had_another_says_so() -> None:
    columns = StandingColumns.of(many(2, [1]))
    alone = release_answer(ReleaseRows(AFTER, None, [], {2: SETUPS[2]}, columns, {1: CONTEXT}))
    assert "no earlier release" in alone.summary
    assert "no box has a run of 1.1.0" in _answer([standing(1, 1, 5), standing(2, 2, 5)]).summary


def test_releases_are_listed_with_their_boxes() -> None:
    answer = releases_answer([release(2, devices=7)])
    assert answer.table.records()[0]["devices"] == 7
