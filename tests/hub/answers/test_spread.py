"""What may be said of a figure from n boxes, and what may not."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.statistics import interval_rank, median_interval
from edgepack.hub.answers.spread import Spread, bins_of, minimum_boxes, spread_of

BOXES = st.lists(st.integers(0, 10**12), min_size=1, max_size=60)


def test_without_boxes_nothing_is_said() -> None:
    spread = spread_of([])
    assert spread == Spread(0)
    assert spread.missing.startswith("0 boxes: too few for p10, p25, median")


def test_one_box_has_a_lowest_and_a_highest_and_no_percentile() -> None:
    spread = spread_of([5])
    assert (spread.minimum, spread.maximum, spread.median) == (5, 5, None)
    assert spread.missing.startswith("1 box: too few for")


def test_eleven_boxes_by_hand() -> None:
    spread = spread_of([11, 1, 10, 2, 9, 3, 8, 4, 7, 5, 6])
    # Nearest rank: ceil(0.1 * 11) = 2, ceil(0.25 * 11) = 3, 6, ceil(0.75 * 11) = 9, 10.
    assert (spread.p10, spread.p25, spread.median, spread.p75, spread.p90) == (2, 3, 6, 9, 10)
    # 2 * P(at most 0 of 11) = 2 / 2048 <= 0.01 and 2 * P(at most 1) = 24 / 2048 > 0.01.
    assert (spread.low, spread.high) == (1, 11)
    assert spread.missing == ""


@pytest.mark.parametrize(
    ("percentile", "boxes"), [(0.5, 3), (0.25, 5), (0.75, 5), (0.1, 11), (0.9, 11)]
)
def test_a_percentile_needs_boxes_on_both_sides_of_it(percentile: float, boxes: int) -> None:
    assert minimum_boxes(percentile) == boxes


@pytest.mark.parametrize("boxes", range(200))
def test_the_interval_is_as_narrow_as_99_percent_allow(boxes: int) -> None:
    rank = interval_rank(boxes)

    def error(k: int) -> float:
        return float(Fraction(2 * sum(comb(boxes, i) for i in range(k)), 2**boxes))

    if rank is None:
        assert boxes < 8
        assert boxes == 0 or error(1) > 0.01
    else:
        assert error(rank) <= 0.01
        assert rank + 1 > boxes / 2 or error(rank + 1) > 0.01


def test_the_interval_of_a_large_fleet_is_found() -> None:
    # Normal approximation: n/2 - 2.576 * sqrt(n)/2 = 4871; the rank is within a few of it.
    assert interval_rank(10_000) == pytest.approx(4871, abs=3)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = random.Random(5)
    # Skewed on purpose: the interval must not care. The true median of 2**gauss is 1.
    held = 0
    for _ in range(2000):
        values = sorted(2 ** rng.gauss(0, 2) for _ in range(25))
        interval = median_interval(values)
        assert interval is not None
        held += interval[0] <= 1 <= interval[1]
    # 99 % or a little more; 1980 expected, standard deviation below 5.
    assert held >= 1960


@given(BOXES)
def test_percentiles_are_boxes_and_in_order(values: list[int]) -> None:
    spread = spread_of(values)
    known = [
        each
        for each in (
            spread.minimum, spread.p10, spread.p25, spread.median, spread.p75, spread.p90,
            spread.maximum,
        )
        if each is not None
    ]  # fmt: skip
    assert known == sorted(known)
    assert set(known) <= set(values)
    if spread.low is not None and spread.high is not None and spread.median is not None:
        assert spread.low <= spread.median <= spread.high


@given(BOXES, st.randoms())
def test_the_order_of_the_boxes_does_not_matter(values: list[int], rng: random.Random) -> None:
    shuffled = list(values)
    rng.shuffle(shuffled)
    assert spread_of(shuffled) == spread_of(values)


@given(BOXES)
def test_every_box_is_in_exactly_one_bin(values: list[int]) -> None:
    bins = bins_of(values)
    assert sum(each.boxes for each in bins) == len(values)
    for each in bins:
        assert each.boxes == sum(each.low <= value < each.high for value in values)
    for one, other in combinations(bins, 2):
        assert one.high <= other.low or other.high <= one.low
