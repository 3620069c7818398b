"""Comparing within one context: each box once, kinds of trust apart, the front."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgepack.hub.answers.compare import CompareAnswer, CompareQuery, Group, Per, compare
from edgepack.hub.answers.rows import SetupRow, StandingRow
from edgepack.hub.answers.trust import Standing
from tests.hub.answers.rows import CONTEXT, many, release, setup, standing


def _compare(
    rows: list[StandingRow], *setups: SetupRow, query: CompareQuery | None = None
) -> CompareAnswer:
    return compare(query or CompareQuery(), CONTEXT, rows, {each.id: each for each in setups})


def _trusted(answer: CompareAnswer) -> tuple[Group, ...]:
    assert answer.groups is not None
    return answer.groups[Standing.TRUSTED]


def test_each_box_counts_once_with_its_newest_run_of_a_variant() -> None:
    old, new = setup(1, release=release(1)), setup(2, release=release(2))
    rows = [standing(1, 1, 100, created_ms=1), standing(1, 2, 300, created_ms=2)]
    answer = _compare([*rows, *many(1, [400, 500], first_device=2)], old, new)
    (group,) = _trusted(answer)
    assert group.boxes == 3
    assert (group.p50.minimum, group.p50.median, group.p50.maximum) == (300, 400, 500)
    assert group.versions == ("1.2.0", "1.1.0")


def test_each_release_is_a_row_of_its_own_where_that_is_asked_for() -> None:
    old, new = setup(1, release=release(1)), setup(2, release=release(2))
    rows = [standing(1, 1, 100, created_ms=1), standing(1, 2, 300, created_ms=2)]
    answer = _compare(rows, old, new, query=CompareQuery(per=Per.RELEASE))
    assert [(each.key.version, each.boxes) for each in _trusted(answer)] == [
        ("1.1.0", 1),
        ("1.2.0", 1),
    ]


def test_trusted_doubtful_and_emulated_runs_are_never_mixed() -> None:
    rows = [
        standing(1, 1, 100),
        standing(1, 1, 900, trust=Standing.DOUBTFUL),
        standing(2, 1, 9000, trust=Standing.EMULATED),
    ]
    answer = _compare(rows, setup(1))
    assert answer.groups is not None
    assert answer.tables is not None
    assert list(answer.groups) == [Standing.TRUSTED, Standing.DOUBTFUL, Standing.EMULATED]
    for trust, expected in zip(answer.groups, (100, 900, 9000), strict=True):
        (group,) = answer.groups[trust]
        assert (group.boxes, group.p50.minimum, group.p50.maximum) == (1, expected, expected)
        assert len(answer.tables[trust]) == 1


def test_without_trusted_runs_a_sentence_and_an_empty_table_say_so() -> None:
    answer = _compare([standing(1, 1, 100, trust=Standing.DOUBTFUL)], setup(1))
    assert answer.notes[0] == "There is no run here that can be trusted."
    assert answer.tables is not None
    assert list(answer.tables) == [Standing.TRUSTED, Standing.DOUBTFUL]
    assert len(answer.tables[Standing.TRUSTED]) == 0


def test_runs_of_setups_that_were_not_asked_for_are_left_out() -> None:
    answer = _compare([standing(1, 1, 100), standing(2, 2, 200)], setup(1))
    assert [each.boxes for each in _trusted(answer)] == [1]


def test_a_row_with_too_few_boxes_has_no_percentile_and_comes_last_with_a_note() -> None:
    fast, slow = setup(1, "tflite-fp32"), setup(2, "tflite-fp16")
    answer = _compare([*many(1, [10, 20]), *many(2, [500] * 11)], fast, slow)
    first, last = _trusted(answer)
    assert first.key.variant == "tflite-fp16"
    assert last.p50.median is None
    assert not last.on_front
    assert any("2 boxes: too few for" in note and "tflite-fp32" in note for note in answer.notes)


def test_boxes_without_a_p99_are_told_and_do_not_count_for_it() -> None:
    rows = [*many(1, [10, 20, 30]), standing(9, 1, 40, p99_ns=None)]
    answer = _compare(rows, setup(1))
    (group,) = _trusted(answer)
    assert (group.p50.boxes, group.p99.boxes) == (4, 3)
    assert any("no p99 from 1 box" in note for note in answer.notes)


def test_the_front_by_hand() -> None:
    fp32 = setup(1, "tflite-fp32", size_bytes=400, quality={"ndcg_ratio": 1.0})
    int8 = setup(2, "tflite-dynamic-int8", size_bytes=100, quality={"ndcg_ratio": 0.99})
    fp16 = setup(3, "tflite-fp16", size_bytes=200, quality={"ndcg_ratio": 1.0})
    # As slow as fp32 and larger than fp16: beaten by fp16 in all three.
    onnx = setup(4, "onnx-fp32", size_bytes=401, quality={"ndcg_ratio": 0.99})
    rows = [
        *many(1, [10] * 3),
        *many(2, [20] * 3),
        *many(3, [30] * 3),
        *many(4, [30] * 3),
    ]
    answer = _compare(rows, fp32, int8, fp16, onnx)
    front = {each.key.variant for each in _trusted(answer) if each.on_front}
    assert front == {"tflite-fp32", "tflite-dynamic-int8", "tflite-fp16"}
    assert answer.score_name == "NDCG@10 as a share of fp32's"


def test_what_has_no_quality_is_not_placed_beside_what_has() -> None:
    known = setup(1, "tflite-fp32", quality={"ndcg_ratio": 0.9})
    unknown = setup(2, "tflite-fp16", quality={})
    answer = _compare([*many(1, [50] * 3), *many(2, [1] * 3)], known, unknown)
    assert {each.key.variant: each.on_front for each in _trusted(answer)} == {
        "tflite-fp32": True,
        "tflite-fp16": False,
    }


def test_without_any_quality_latency_and_size_make_the_front() -> None:
    one, other = setup(1, quality={}), setup(2, "tflite-fp16", size_bytes=5, quality={})
    answer = _compare([*many(1, [10] * 3), *many(2, [20] * 3)], one, other)
    assert all(each.on_front for each in _trusted(answer))
    assert answer.score_name == ""


def test_doubtful_rows_are_not_on_a_front() -> None:
    answer = _compare(many(1, [10] * 3, trust=Standing.DOUBTFUL), setup(1))
    assert answer.groups is not None
    assert not answer.groups[Standing.DOUBTFUL][0].on_front


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=9
    )
)
def test_a_row_is_on_the_front_exactly_when_none_beats_it(
    costs: list[tuple[int, int, int]],
) -> None:
    setups, rows = [], []
    for i, (latency, size, lost) in enumerate(costs, start=1):
        quality = {"ndcg_ratio": 1 - lost / 10}
        each = setup(i, size_bytes=size, quality=quality)
        setups.append(replace(each, variant=f"variant-{i}"))
        rows += many(i, [latency] * 3)
    groups = _trusted(_compare(rows, *setups))
    on_front = {int(each.key.variant.rpartition("-")[2]) for each in groups if each.on_front}
    expected = {
        i
        for i, one in enumerate(costs, start=1)
        if not any(
            other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in costs
        )
    }
    assert on_front == expected
    assert on_front


def test_the_table_says_what_the_groups_say() -> None:
    answer = _compare(many(1, list(range(100, 120))), setup(1))
    assert answer.tables is not None
    (record,) = answer.tables[Standing.TRUSTED].records()
    (group,) = _trusted(answer)
    assert record["p50_median_ns"] == group.p50.median == 109
    assert record["boxes"] == 20
    assert record["p99_p90_ns"] == group.p99.p90 == 2 * 117
    assert record["options"] == "1 thread"
    assert record["quality"] == 0.999
