from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.statistics import (
    LogHistogram,
    binomial_cdf,
    drift,
    early_stopping_estimate,
    is_under_bound,
    minimum_count,
    nearest_rank,
)


def test_nearest_rank_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 values"):
        nearest_rank([], 0.5)


@pytest.mark.parametrize("percentile", [0, -0.1, 1.01])
def test_a_percentile_out_of_range_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        nearest_rank([1, 2, 3], percentile)


@pytest.mark.parametrize(
    ("percentile", "expected"), [(0.05, 15), (0.3, 20), (0.4, 20), (0.5, 35), (1.0, 50)]
)
def test_nearest_rank_gives_the_textbook_values(percentile: float, expected: int) -> None:
    assert nearest_rank([15, 20, 35, 40, 50], percentile) == expected


def test_nearest_rank_does_not_trip_over_binary_fractions() -> None:
    # 0.07 * 100 is 7.000000000000001 in floating point; the 7th value is right.
    assert nearest_rank(list(range(1, 101)), 0.07) == 7


# The totals computed from LoadGen's formula in the benchmark protocol's notes; 662 is
# mlperf.conf's own minimum for MultiStream.
@pytest.mark.parametrize(
    ("percentile", "totals"),
    [
        (0.9, (64, 81, 127, 197)),
        (0.95, (130, 165, 259, 398)),
        (0.97, (219, 277, 433, 667)),
        (0.99, (662, 838, 1307, 2010)),
        (0.999, (6636, 8403, 13105, 20140)),
    ],
)
def test_minimum_counts_are_those_of_loadgen(
    percentile: float, totals: tuple[int, int, int, int]
) -> None:
    assert tuple(minimum_count(percentile, t) for t in (1, 2, 5, 10)) == totals


@pytest.mark.parametrize(
    ("successes", "trials", "p"), [(0, 1, 0.5), (1, 64, 0.1), (3, 10, 0.7), (9, 10, 0.01)]
)
def test_the_binomial_distribution_agrees_with_its_sum(
    successes: int, trials: int, p: float
) -> None:
    expected = sum(
        math.comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(successes + 1)
    )
    assert binomial_cdf(successes, trials, p) == pytest.approx(expected, abs=1e-9)


def test_more_successes_than_trials_are_certain() -> None:
    assert binomial_cdf(5, 5, 0.3) == 1.0


def test_one_query_below_the_minimum_gives_no_estimate() -> None:
    estimate = early_stopping_estimate(list(range(63)), 0.9)
    assert (estimate.estimate, estimate.over_latency) == (None, 0)


def test_at_the_minimum_the_largest_latency_is_the_estimate() -> None:
    estimate = early_stopping_estimate(list(range(64)), 0.9)
    assert (estimate.estimate, estimate.over_latency) == (63, 1)


def test_with_more_queries_all_but_one_of_those_that_may_be_above_are_left_out() -> None:
    # 197 queries allow t = 10, so the 9 highest go.
    estimate = early_stopping_estimate(list(range(197)), 0.9)
    assert (estimate.estimate, estimate.over_latency) == (187, 10)


def test_an_estimate_is_seldom_below_the_true_percentile() -> None:
    generator = random.Random(7)
    below = 0
    for _ in range(400):
        ordered = sorted(generator.randrange(1_000_000) for _ in range(500))
        estimate = early_stopping_estimate(ordered, 0.9).estimate
        assert estimate is not None
        below += estimate < 900_000
    # 1 % is promised; 400 tries of a fair 1 % give more than 14 once in ten thousand.
    assert below <= 14


@pytest.mark.parametrize(
    ("over_latency", "queries", "expected"),
    [
        (0, 0, False),
        (0, 458, False),
        (0, 459, True),
        (1, 661, False),
        (1, 662, True),
        (5, 1306, False),
        (5, 1307, True),
        (662, 662, False),
    ],
)
def test_a_bound_is_held_when_so_few_over_it_cannot_be_chance(
    over_latency: int, queries: int, expected: bool
) -> None:
    assert is_under_bound(over_latency, queries, 0.99) is expected


def test_a_run_that_slows_down_drifts_upwards() -> None:
    assert drift([100] * 50 + [150] * 50) == pytest.approx(0.5)


def test_a_run_too_short_for_blocks_tells_no_drift() -> None:
    assert drift([100] * 99) is None


def test_no_drift_is_told_from_a_median_of_zero() -> None:
    assert drift([0] * 100) is None


@given(st.integers(min_value=0, max_value=2**62))
def test_every_value_lies_in_its_bucket_and_buckets_are_narrow(value: int) -> None:
    bucket = LogHistogram.bucket_of(value)
    low, high = LogHistogram.lowest_of(bucket), LogHistogram.lowest_of(bucket + 1)
    assert low <= value < high
    assert high - low <= max(1, low / 16)


@given(st.lists(st.integers(min_value=0, max_value=10**12)), st.lists(st.integers(0, 10**12)))
def test_histograms_of_two_boxes_add_up(one: list[int], other: list[int]) -> None:
    both, first, second = LogHistogram(), LogHistogram(), LogHistogram()
    both.add_all(one + other)
    first.add_all(one)
    second.add_all(other)
    assert first.merge(second).buckets() == both.buckets()
    assert LogHistogram.from_buckets(both.buckets()).buckets() == both.buckets()
