"""The statistics of a benchmark: what may be said from n measurements, and what may not.

Integers in, integers out, standard library only. It is not aware of what was measured, nor of
clocks. Anyone may import it: the runner computes with it and the hub checks with it.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TypeVar

_T = TypeVar("_T", int, float)

#: LoadGen's confidence that an early-stopping estimate is not below the true percentile.
#: Source: MLPerf Inference rules, "Early Stopping", c = 0.99.
CONFIDENCE = Fraction(99, 100)
#: A drift is told from at least this many blocks of this many queries.
DRIFT_BLOCKS = 10
_MIN_BLOCK = 10
#: The continued fraction of the beta function converges in O(sqrt(max(a, b))) steps.
_MAX_STEPS = 100_000
_TINY = 1e-300


def nearest_rank(ordered: Sequence[int], percentile: float) -> int:
    """Returns a percentile by the nearest-rank method: always a value that was measured.

    Args:
        ordered: At least one measurement, ascending.
        percentile: Above 0, up to 1, such as 0.99.

    Returns:
        The smallest value with at least that share of all values at or below it.

    Raises:
        ValueError: Nothing was measured, or the percentile is out of range.
    """
    if not ordered or not 0 < percentile <= 1:
        raise ValueError(f"no percentile {percentile} of {len(ordered)} values")
    # As a fraction: 0.07 * 100 is 7.000000000000001 in binary floating point.
    return ordered[math.ceil(Fraction(str(percentile)) * len(ordered)) - 1]


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """Returns the chance of at most that many successes.

    Args:
        successes: 0 or more.
        trials: 0 or more.
        probability: Of one success, between 0 and 1, both excluded.

    Returns:
        F(successes; trials, probability), to about 1e-9 absolute.

    Source: F(k; n, p) = I_{1-p}(n - k, k + 1), the regularised incomplete beta function
    (Abramowitz and Stegun 26.5.24).
    """
    if successes >= trials:
        return 1.0
    return _incomplete_beta(trials - successes, successes + 1, 1 - probability)


def minimum_count(percentile: float, over_latency: int = 1) -> int:
    """Returns the fewest queries from which a percentile can be told at 99 % confidence.

    Args:
        percentile: Between 0 and 1, such as 0.99.
        over_latency: Queries that may lie above it; 1 is the weakest statement there is.

    Returns:
        The smallest n with F(over_latency; n, 1 - percentile) <= 0.01; 662 for the 99th.

    Source: the early-stopping condition of the MLPerf Inference rules, tolerance d = 0.
    """
    low, high = over_latency, over_latency + 1
    while not _is_enough(over_latency, high, percentile):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if _is_enough(over_latency, middle, percentile):
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """LoadGen's estimate of a percentile from an unfinished run.

    Attributes:
        percentile: Such as 0.9.
        estimate: A value the true percentile lies below with 99 % confidence; None when there
            are too few queries to tell.
        queries: How many there were.
        over_latency: t, the queries that may lie above the percentile; the t - 1 highest are
            left out. 0 when there are too few queries.
    """

    percentile: float
    estimate: int | None
    queries: int
    over_latency: int


def early_stopping_estimate(ordered: Sequence[int], percentile: float) -> EarlyStopping:
    """Estimates a percentile as MLPerf's LoadGen does.

    Args:
        ordered: Latencies, ascending.
        percentile: Between 0 and 1, such as 0.9.

    Returns:
        The estimate, or one without a value when there are too few queries.

    Source: MLPerf Inference rules, "Early Stopping": the largest t with
    F(t; n, 1 - percentile) <= 0.01; discard the t - 1 highest, report the highest left.
    """
    queries = len(ordered)
    if not _is_enough(1, queries, percentile):
        return EarlyStopping(percentile, None, queries, 0)
    low, high = 1, queries
    while high - low > 1:
        middle = (low + high) // 2
        if _is_enough(middle, queries, percentile):
            low = middle
        else:
            high = middle
    return EarlyStopping(percentile, ordered[queries - low], queries, low)


def is_under_bound(over_latency: int, queries: int, percentile: float) -> bool:
    """Says whether so few queries over a bound prove a percentile under it, as LoadGen does.

    Args:
        over_latency: t, the queries over the latency bound.
        queries: All queries.
        percentile: Between 0 and 1, such as 0.99.

    Returns:
        Whether F(t; queries, 1 - percentile) <= 0.01.

    Source: MLPerf Inference rules, "Early Stopping", Server scenario.
    """
    return queries > 0 and _is_enough(over_latency, queries, percentile)


def median_interval(ordered: Sequence[_T]) -> tuple[_T, _T] | None:
    """Returns the interval that holds the true median at 99 % confidence.

    Args:
        ordered: Independent values, such as one a box, ascending.

    Returns:
        Two of the values, or None with fewer than eight.

    Source: the sign test turned round: the k-th lowest and k-th highest of n hold the median with
    probability 1 - 2 F(k - 1; n, 1/2), whatever the distribution (David and Nagaraja, Order
    Statistics, 3rd edition, 7.1).
    """
    rank = interval_rank(len(ordered))
    return None if rank is None else (ordered[rank - 1], ordered[-rank])


@cache
def interval_rank(count: int) -> int | None:
    """Returns the largest k for which the k-th lowest and highest of n hold the median.

    Args:
        count: n, 0 or more.

    Returns:
        k, from 1; None where even the lowest and highest do not hold it at 99 %.
    """
    error = float(1 - CONFIDENCE)
    return (
        bisect.bisect_right(
            range(1, count // 2 + 1), error, key=lambda k: 2 * binomial_cdf(k - 1, count, 0.5)
        )
        or None
    )


def drift(values: Sequence[int], blocks: int = DRIFT_BLOCKS) -> float | None:
    """Says whether a run got slower or faster while it went on.

    Args:
        values: Latencies in the order they were measured.
        blocks: Into how many equal parts the run is cut.

    Returns:
        Median of the last block / median of the first block - 1, or None when a block would
        have fewer than 10 values or the first median is 0.
    """
    size = len(values) // blocks
    if size < _MIN_BLOCK:
        return None
    first = statistics.median(values[:size])
    last = statistics.median(values[-size:])
    return None if first == 0 else last / first - 1


class LogHistogram:
    """Counts in buckets whose width grows with the value: 16 to an octave, 6.25 % wide.

    Two histograms of two boxes can be added, so a fleet's distribution needs no raw values.
    """

    _BITS = 4

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts: dict[int, int] = dict(counts or {})

    def add(self, value: int) -> None:
        """Counts one value of at least 0."""
        index = self.bucket_of(value)
        self._counts[index] = self._counts.get(index, 0) + 1

    def add_all(self, values: Iterable[int]) -> None:
        """Counts several values."""
        for value in values:
            self.add(value)

    def merge(self, other: LogHistogram) -> LogHistogram:
        """Returns the sum of two histograms."""
        merged = dict(self._counts)
        for index, count in other._counts.items():
            merged[index] = merged.get(index, 0) + count
        return LogHistogram(merged)

    def buckets(self) -> list[tuple[int, int]]:
        """Returns (lowest value, count) of every bucket that is not empty, ascending."""
        return [(self.lowest_of(index), self._counts[index]) for index in sorted(self._counts)]

    @classmethod
    def from_buckets(cls, buckets: Iterable[tuple[int, int]]) -> LogHistogram:
        """Reads what `buckets` returned."""
        return cls({cls.bucket_of(lowest): count for lowest, count in buckets})

    @classmethod
    def bucket_of(cls, value: int) -> int:
        """Returns the number of the bucket a value falls into."""
        octave = max(value.bit_length() - 1 - cls._BITS, 0)
        return (octave << cls._BITS) + (value >> octave)

    @classmethod
    def lowest_of(cls, index: int) -> int:
        """Returns the lowest value of a bucket; the inverse of `bucket_of`."""
        octave = max((index >> cls._BITS) - 1, 0)
        return (index - (octave << cls._BITS)) << octave


def _is_enough(over_latency: int, queries: int, percentile: float) -> bool:
    # F is 1 for t >= n, so too few queries are never enough.
    return binomial_cdf(over_latency, queries, 1 - percentile) <= float(1 - CONFIDENCE)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) by Lentz's continued fraction (Numerical Recipes, 3rd edition, 6.4)."""
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # The fraction converges fast on this side of the mean; the other is its complement.
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _beta_fraction(a, b, x) / a
    return 1 - math.exp(log_front) * _beta_fraction(b, a, 1 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    c = 1.0
    d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, _MAX_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        delta = 1.0
        for numerator in (even, odd):
            d = 1 / _away_from_zero(1 + numerator * d)
            c = _away_from_zero(1 + numerator / c)
            delta = c * d
            result *= delta
        if abs(delta - 1) < 1e-14:  # noqa: PLR2004 - a few units in the last place
            break
    return result


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
