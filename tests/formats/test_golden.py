"""Golden answers: order may differ only between scores closer than the tolerance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.errors import BundleError
from edgepack.formats.golden import (
    GoldenSequence,
    GoldenSet,
    GoldenTensors,
    TensorValue,
    check_ranking,
    check_tensor,
)

EXPECTED = GoldenSequence(("x",), ("a", "b", "c"), (3.0, 2.0, 1.0))


def test_the_same_answer_passes() -> None:
    assert check_ranking(EXPECTED, ["a", "b", "c"], [3.0, 2.0, 1.0], 0.0) == []


def test_more_items_than_expected_are_allowed() -> None:
    assert check_ranking(EXPECTED, ["a", "b", "c", "d"], [3.0, 2.0, 1.0, 0.5], 0.0) == []


def test_swapped_items_with_distant_scores_are_wrong() -> None:
    problems = check_ranking(EXPECTED, ["b", "a", "c"], [3.0, 2.0, 1.0], 0.01)
    assert problems == ["rank 1: item 'b', expected 'a'", "rank 2: item 'a', expected 'b'"]


def test_swapped_items_with_tied_scores_are_right() -> None:
    tied = GoldenSequence((), ("a", "b"), (2.0, 1.9999))
    assert check_ranking(tied, ["b", "a"], [2.0, 1.9999], 0.001) == []


def test_a_new_item_may_only_tie_with_the_end() -> None:
    tied = GoldenSequence((), ("a", "b"), (2.0, 1.0))
    assert check_ranking(tied, ["a", "new"], [2.0, 1.0], 0.001) == []
    assert check_ranking(tied, ["new", "b"], [2.0, 1.0], 0.001) == [
        "rank 1: item 'new', expected 'a'"
    ]


def test_a_wrong_score_is_named_with_its_limit() -> None:
    problems = check_ranking(EXPECTED, ["a", "b", "c"], [3.0, 2.5, 1.0], 0.1)
    assert problems == ["rank 2: score 2.5, expected 2 ± 0.1"]


def test_nan_scores_are_wrong() -> None:
    assert check_ranking(EXPECTED, ["a", "b", "c"], [float("nan")] * 3, 1.0)


def test_a_short_answer_and_a_doubled_item_are_wrong() -> None:
    assert check_ranking(EXPECTED, ["a"], [3.0], 0.1) == ["1 items came back, 3 expected"]
    tied = GoldenSequence((), ("a", "b"), (1.0, 1.0))
    assert "an item came back twice" in check_ranking(tied, ["a", "a"], [1.0, 1.0], 0.1)


def test_tensors_are_compared_element_by_element() -> None:
    value = TensorValue("y", "float32", (1, 2), (1.0, -4.0))
    assert check_tensor(value, [1.05, -4.1], 0.11) == []
    assert "output y[1]" in check_tensor(value, [1.0, -5.0], 0.1)[0]
    assert "3 elements, expected 2" in check_tensor(value, [1.0, 2.0, 3.0], 0.1)[0]


_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
_floats = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    st.lists(st.tuples(_names, _floats), max_size=5),
    st.lists(_names, max_size=4),
    st.lists(_floats, min_size=2, max_size=2),
)
def test_a_golden_file_is_read_back_the_same(
    ranked: list[tuple[str, float]], history: list[str], data: list[float]
) -> None:
    sequence = GoldenSequence(
        tuple(history), tuple(name for name, _ in ranked), tuple(score for _, score in ranked)
    )
    tensor = TensorValue("t", "float32", (1, 2), tuple(data))
    golden = GoldenSet(0.001, (sequence,), (GoldenTensors((tensor,), (tensor,)),))
    assert GoldenSet.from_bytes(golden.to_bytes()) == golden


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"format":9}', "reads up to 1"),
        (
            b'{"format":1,"tolerance":0.1,"tensors":[],"sequences":'
            b'[{"history":[],"items":["a"],"scores":[]}]}',
            "1 items but 0 scores",
        ),
        (
            b'{"format":1,"tolerance":0.1,"sequences":[],"tensors":[{"inputs":'
            b'[{"name":"a","dtype":"int32","shape":[3],"data":[1]}],"outputs":[]}]}',
            "1 elements",
        ),
    ],
)
def test_a_damaged_golden_file_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        GoldenSet.from_bytes(data)
