"""Draws latencies and says of them what a runner would say: no more than their number allows.

It is not aware of boxes. Used by `reports`.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgepack.formats.report import PERCENTILES, Distribution, EarlyStoppingFacts
from edgepack.formats.statistics import (
    LogHistogram,
    early_stopping_estimate,
    minimum_count,
    nearest_rank,
)

Durations = NDArray[np.int64]
_ESTIMATED = ("p90", "p95", "p99", "p999")
#: A call in this many meets something else on the box: another program, a timer, the network.
_INTERRUPTED_SHARE = 0.012


def draw_latencies(
    chance: random.Random, count: int, median_ns: float, jitter: float, ramp: float = 0.0
) -> Durations:
    """Draws latencies in the order of their measuring.

    Args:
        chance: Decides.
        count: How many.
        median_ns: Their median at the begin.
        jitter: Standard deviation of their logarithm.
        ramp: How much slower the end is than the begin, as a share; a box that heats up.

    Returns:
        int64[count], nanoseconds, each at least 1000.
    """
    numbers = np.random.default_rng(chance.getrandbits(64))
    drawn = median_ns * np.exp(jitter * numbers.standard_normal(count))
    hit = numbers.random(count) < _INTERRUPTED_SHARE
    drawn = np.where(hit, drawn * (1.0 + numbers.exponential(0.9, count)), drawn)
    if ramp:
        drawn *= 1.0 + ramp * np.arange(count) / count
    durations: Durations = np.maximum(drawn, 1000.0).astype(np.int64)
    return durations


def summarise(durations: Durations, every: int = 1) -> Distribution:
    """Summarises durations.

    Args:
        durations: At least one, int64[count] in nanoseconds.
        every: Of how many each is the one that was kept.

    Returns:
        The distribution; a percentile below its minimum count is None with the reason.
    """
    ordered = [int(each) for each in np.sort(durations)]
    found: dict[str, int | None] = {}
    missing: dict[str, str] = {}
    for name, percentile in PERCENTILES.items():
        needed = _minimum_count(percentile)
        found[name] = nearest_rank(ordered, percentile) if len(ordered) >= needed else None
        if found[name] is None:
            missing[name] = f"{len(ordered)} values; {needed} are needed to tell it"
    return Distribution(
        count=len(ordered),
        min_ns=ordered[0],
        max_ns=ordered[-1],
        mean_ns=int(np.mean(durations)),
        std_ns=round(float(np.std(durations))),
        early_stopping=_estimates(ordered),
        histogram=_histogram(durations),
        missing=missing,
        sampled_every=every,
        p50=found["p50"],
        p75=found["p75"],
        p90=found["p90"],
        p95=found["p95"],
        p99=found["p99"],
        p999=found["p999"],
    )


def _histogram(durations: Durations) -> tuple[tuple[int, int], ...]:
    octaves = np.maximum(np.floor(np.log2(durations)).astype(np.int64) - 4, 0)
    indices, counts = np.unique((octaves << 4) + (durations >> octaves), return_counts=True)
    return tuple(
        (LogHistogram.lowest_of(int(index)), int(count))
        for index, count in zip(indices, counts, strict=True)
    )


def _estimates(ordered: list[int]) -> Mapping[str, EarlyStoppingFacts]:
    found = {}
    for name in _ESTIMATED:
        over = _over_latency(len(ordered), PERCENTILES[name])
        estimate = ordered[len(ordered) - over] if over else None
        found[name] = EarlyStoppingFacts(estimate, len(ordered), over)
    return found


@functools.lru_cache(maxsize=4096)
def _over_latency(count: int, percentile: float) -> int:
    # The estimate of 0, 1, 2, … says which place it takes.
    return early_stopping_estimate(range(count), percentile).over_latency


@functools.cache
def _minimum_count(percentile: float) -> int:
    return minimum_count(percentile)
