"""What is computed on columns is what one would compute row by row, to the last digit."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack.formats.evidence import Limits
from edgepack.hub.answers.changes import Measure, change_of
from edgepack.hub.answers.columns import (
    MISSING,
    TRUSTS,
    StandingColumns,
    newest_by_group,
    numbers_of,
)
from edgepack.hub.answers.grouping import newest_by_box
from edgepack.hub.answers.ranking import rank_kind
from edgepack.hub.answers.releases import ReleaseRows, release_answer
from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.answers.trust import Standing
from tests.hub.answers.plain import change_by_hand, changes_by_hand, figures_by_hand
from tests.hub.answers.rows import CONTEXT, release, setup

BEFORE, AFTER = release(1), release(2)
SETUPS = {
    1: setup(1, release=BEFORE),
    2: setup(2, release=AFTER),
    3: setup(3, "tflite-fp16", release=BEFORE),
    4: setup(4, "tflite-fp16", release=AFTER, provider="gpu"),
    5: setup(5, "onnx-fp32", release=AFTER),
}
CONTEXTS = {
    1: CONTEXT,
    2: replace(CONTEXT, id=2, digest="2" * 64, scenario="offline"),
    3: replace(CONTEXT, id=3, digest="3" * 64, facts={**CONTEXT.facts, "catalogue_size": 9}),
    4: replace(CONTEXT, id=4, digest="4" * 64, box_key="pi5", facts={"box": "Pi 5"}),
}
#: Few values, so that moments, ratios and places are often the same.
_DURATION = st.none() | st.integers(0, 6) | st.integers(1, 10**12)
_ROWS = st.lists(
    st.builds(
        StandingRow,
        device_id=st.integers(1, 15),
        setup_id=st.sampled_from(sorted(SETUPS)),
        context_id=st.sampled_from(sorted(CONTEXTS)),
        trust=st.sampled_from([str(each) for each in Standing]),
        created_ms=st.integers(0, 3),
        p50_ns=_DURATION,
        p99_ns=_DURATION,
        ready_ns=_DURATION,
        rss_peak_bytes=st.none(),
    ),
    max_size=160,
)


def _many(seed: int, count: int = 3000) -> list[StandingRow]:
    rng = random.Random(seed)

    def duration() -> int | None:
        return None if rng.random() < 0.02 else int(rng.lognormvariate(14, 0.5))

    return [
        StandingRow(
            rng.randrange(1, 400),
            rng.choice(list(SETUPS)),
            rng.choice(list(CONTEXTS)),
            rng.choice(["trusted"] * 8 + ["doubtful", "emulated"]),
            rng.randrange(1000),
            *(duration(), duration(), duration(), None),
        )
        for _ in range(count)
    ]


def _same_changes(rows: list[StandingRow]) -> None:
    columns = StandingColumns.of(rows)
    answer = release_answer(ReleaseRows(AFTER, BEFORE, [], SETUPS, columns, CONTEXTS))
    sides = {key: int(each.release.id == AFTER.id) for key, each in SETUPS.items()}
    changes, after, both = changes_by_hand(rows, sides, CONTEXTS)
    assert (answer.boxes_after, answer.boxes_both) == (after, both)
    for trust, found in (
        (Standing.TRUSTED, answer.changes),
        (Standing.DOUBTFUL, answer.doubtful),
    ):
        expected = [each for each in changes if each.trust is trust]
        assert all(each in expected for each in found)
        others = [each for each in expected if each.measure is not Measure.COLD_START]
        assert [each for each in others if each not in found] == []
        colds = {e.context.box_key for e in expected if e.measure is Measure.COLD_START}
        assert sum(each.measure is Measure.COLD_START for each in found) == len(colds)


def _same_figures(rows: list[StandingRow]) -> None:
    kind = rank_kind(CONTEXT, StandingColumns.of(rows), SETUPS, Limits())
    assert {
        (each.runtime, each.variant): (
            *(each.boxes, each.doubtful_boxes, each.emulated_boxes),
            *(each.p50_ns, each.p50_low_ns, each.p50_high_ns, each.p99_ns),
        )
        for each in kind.candidates
    } == figures_by_hand(rows, SETUPS)


@given(_ROWS)
def test_a_release_is_compared_as_by_hand(rows: list[StandingRow]) -> None:
    _same_changes(rows)


@given(_ROWS)
def test_a_kind_of_box_is_ranked_as_by_hand(rows: list[StandingRow]) -> None:
    _same_figures(rows)


@pytest.mark.parametrize("seed", range(3))
def test_many_boxes_are_compared_and_ranked_as_by_hand(seed: int) -> None:
    rows = _many(seed)
    _same_changes(rows)
    _same_figures(rows)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)), max_size=30))
def test_a_change_is_the_same_to_the_last_digit_however_large_its_values(
    pairs: list[tuple[int, int]],
) -> None:
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    found = change_of(CONTEXT, Standing.TRUSTED, Measure.P50, columns[:, 0], columns[:, 1])
    assert found == change_by_hand(CONTEXT, Standing.TRUSTED, Measure.P50, pairs)


@given(_ROWS, st.dictionaries(st.sampled_from([*SETUPS, 99]), st.integers(0, 3)))
def test_the_newest_run_of_a_box_is_kept_as_by_hand(
    rows: list[StandingRow], places: dict[int, int]
) -> None:
    columns = StandingColumns.of(rows)
    place = numbers_of(columns.setup_id, places)
    runs, groups = newest_by_group(
        columns, np.where(place < 0, -1, place * len(TRUSTS) + columns.trust)
    )
    expected = newest_by_box(rows, places)
    assert sorted(groups.tolist()) == groups.tolist()
    assert len(runs) == sum(map(len, expected.values()))
    for i, group in enumerate(groups.tolist()):
        kept = expected[TRUSTS[group % len(TRUSTS)], group // len(TRUSTS)]
        one = StandingColumns.of([kept[int(runs.device_id[i])]])
        assert [int(getattr(runs, name)[i]) for name in StandingColumns.__dataclass_fields__] == [
            int(getattr(one, name)[0]) for name in StandingColumns.__dataclass_fields__
        ]


def test_nothing_makes_columns_of_nothing() -> None:
    columns = StandingColumns.of([])
    assert len(columns) == 0
    runs, groups = newest_by_group(columns, columns.trust)
    assert (len(runs), len(groups)) == (0, 0)
    assert numbers_of(columns.setup_id, {}).tolist() == []
    assert numbers_of(np.array([5, 1]), {1: 7}).tolist() == [-1, 7]


def test_what_was_not_measured_is_not_zero() -> None:
    row = StandingRow(1, 1, 1, "emulated", 5, 0, None, None, None)
    columns = StandingColumns.of([row])
    assert (columns.p50_ns[0], columns.p99_ns[0], columns.ready_ns[0]) == (0, MISSING, MISSING)
    assert TRUSTS[int(columns.trust[0])] is Standing.EMULATED
