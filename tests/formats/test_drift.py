from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.drift import MIN_DRIFT_COUNT, jensen_shannon_distance

_BINS = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 10_000), min_size=n, max_size=n).filter(any),
        st.lists(st.integers(0, 10_000), min_size=n, max_size=n).filter(any),
    )
)


def test_the_same_distribution_has_no_distance() -> None:
    assert jensen_shannon_distance([1, 2, 3], [10, 20, 30]) == pytest.approx(0, abs=1e-7)


def test_distributions_with_no_bin_in_common_are_one_apart() -> None:
    assert jensen_shannon_distance([5, 0], [0, 5]) == 1.0


def test_a_known_distance() -> None:
    # By hand: P = (1, 0), Q = (1/2, 1/2), M = (3/4, 1/4).
    divergence = (math.log2(4 / 3) + (math.log2(2 / 3) + math.log2(2)) / 2) / 2
    assert jensen_shannon_distance([1, 0], [1, 1]) == pytest.approx(math.sqrt(divergence))


@given(pair=_BINS)
def test_it_is_a_symmetric_distance_from_zero_to_one(pair: tuple[list[int], list[int]]) -> None:
    one, other = pair
    found = jensen_shannon_distance(one, other)
    assert 0 <= found <= 1
    assert found == pytest.approx(jensen_shannon_distance(other, one), abs=1e-7)
    assert jensen_shannon_distance(one, one) == pytest.approx(0, abs=1e-7)


@given(pair=_BINS, third=st.lists(st.integers(1, 10_000), min_size=12, max_size=12))
def test_no_way_round_is_shorter(pair: tuple[list[int], list[int]], third: list[int]) -> None:
    one, other = pair
    middle = third[: len(one)]
    detour = jensen_shannon_distance(one, middle) + jensen_shannon_distance(middle, other)
    assert jensen_shannon_distance(one, other) <= detour + 1e-7


@pytest.mark.parametrize(("counts", "expected"), [([1], [1, 2]), ([0], [1]), ([1], [0]), ([], [])])
def test_bins_that_do_not_fit_have_no_distance(counts: list[int], expected: list[int]) -> None:
    with pytest.raises(ValueError, match="no distance"):
        jensen_shannon_distance(counts, expected)


def test_chance_alone_stays_small_at_the_least_count() -> None:
    bins = 12
    noise = math.sqrt((bins - 1) / (8 * MIN_DRIFT_COUNT * math.log(2)))
    assert noise < 0.05
