"""What a scenario's run leaves behind: durations, kept within a bound, and how they were made.

It is not aware of clocks or models. Used by the scenarios and by `summary`.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgepack.formats.report import RateProbe
from edgepack.runner.bench.plan import Plan

#: 8 bytes each: 16 MiB for a distribution, which a 1 GB box can spare while it measures.
_MAX_KEPT: Final = 2 * 1024 * 1024


@dataclass(slots=True)
class Samples:
    """Durations in the order they were measured, thinned evenly when there are too many.

    Attributes:
        values: The kept ones, in nanoseconds.
        every: One in this many was kept.
        total: How many there were.
        total_ns: The sum of all of them.
        lowest: The smallest of all.
        highest: The largest of all.
    """

    limit: int = _MAX_KEPT
    values: array[int] = field(default_factory=lambda: array("q"))
    every: int = 1
    total: int = 0
    total_ns: int = 0
    lowest: int = 2**63 - 1
    highest: int = 0

    def add(self, value_ns: int) -> None:
        """Takes one duration."""
        if self.total % self.every == 0:
            if len(self.values) >= self.limit:
                # Every second one goes, so what stays is still an even sample of the run.
                self.values = self.values[::2]
                self.every *= 2
            if self.total % self.every == 0:
                self.values.append(value_ns)
        self.total += 1
        self.total_ns += value_ns
        self.lowest = min(self.lowest, value_ns)
        self.highest = max(self.highest, value_ns)


@dataclass(frozen=True, slots=True)
class RateSearch:
    """What the Server scenario looked for and found.

    Attributes:
        target_qps: The rate of the run that is reported.
        latency_bound_ns: What 99 % of its queries had to stay under.
        bound_source: Where that bound comes from, in words.
        over_latency: Queries over the bound.
        bound_met: Whether so few over the bound prove the 99th percentile under it, at LoadGen's
            confidence.
        probes: The rates that were tried before.
    """

    target_qps: float
    latency_bound_ns: int
    bound_source: str
    over_latency: int
    bound_met: bool
    probes: tuple[RateProbe, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a scenario's run gave.

    Attributes:
        plan: What was asked for.
        warmup_runs: Runs that do not count.
        warmup_ns: Their time.
        duration_ns: From the first query's issue to the last one's answer.
        end_to_end: Of each query, from ids to ids, from its scheduled issue; None in Offline,
            which is one query.
        compute: Of each sample, inside the engine: of the whole call where it shared one.
        queue: Of each query, from its scheduled issue to its start; Server only.
        search: What the Server scenario found.
        errors: What went wrong, in words.
        batches: Calls by how many samples went through together.
    """

    plan: Plan
    warmup_runs: int
    warmup_ns: int
    duration_ns: int
    end_to_end: Samples | None
    compute: Samples
    queue: Samples | None = None
    search: RateSearch | None = None
    errors: tuple[str, ...] = ()
    batches: Mapping[int, int] = field(default_factory=dict)

    @property
    def min_duration_met(self) -> bool:
        """Whether the run lasted long enough."""
        return self.duration_ns >= self.plan.min_duration_ns

    @property
    def min_samples_met(self) -> bool:
        """Whether it had enough samples."""
        return self.compute.total >= self.plan.min_samples

    @property
    def is_valid(self) -> bool:
        """Whether LoadGen would call it valid: long enough, enough queries, under the bound."""
        bound_met = self.search is None or self.search.bound_met
        return self.min_duration_met and self.min_samples_met and bound_met
