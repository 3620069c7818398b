"""LoadGen's scenarios: how queries are issued and when a run has gone on long enough.

SingleStream issues the next query when the one before has completed; Offline hands over all
samples at once. Server, with Poisson arrivals, has its place in `run_scenario`. It is not aware
of models. Used by `benchmark`.

Source: MLPerf Inference rules, scenarios and run rules.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass, field
from typing import Final, assert_never

from edgepack.formats.errors import ConfigError
from edgepack.formats.report import Duration, Scenario
from edgepack.formats.statistics import minimum_count
from edgepack.runner.bench.workload import Workload
from edgepack.runner.clock import Clock

_SECOND_NS: Final = 1_000_000_000
#: 8 bytes each: 16 MiB for a distribution, which a 1 GB box can spare while it measures.
_MAX_KEPT: Final = 2 * 1024 * 1024
#: A slow model may need longer for its queries, but not for ever.
_OVERTIME: Final = 3
_WARMUP_MIN_RUNS: Final = 10
#: Offline's samples are timed in rows of this many, so that the timing costs nothing.
_SCHEDULE: Final = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a scenario runs.

    Attributes:
        scenario: Which one.
        duration: The name of its length.
        warmup_ns: Runs before the first one that counts, at least this long.
        min_duration_ns: A run is valid only when it lasted this long …
        min_samples: … and had so many samples.
        seed: Of the order of samples.
    """

    scenario: Scenario
    duration: Duration
    warmup_ns: int
    min_duration_ns: int
    min_samples: int
    seed: int = 2026


#: MLPerf's ten minutes, a minute, or a look. Source: inference_policies, table of scenarios.
_MIN_DURATION_S: Final = {Duration.QUICK: 2, Duration.STANDARD: 60, Duration.MLPERF: 600}
_WARMUP_S: Final = {Duration.QUICK: 0.2, Duration.STANDARD: 2.0, Duration.MLPERF: 5.0}
#: MLPerf's Offline query has at least this many samples.
_OFFLINE_SAMPLES: Final = 24_576
_OFFLINE_QUICK_SAMPLES: Final = 64


def plan_for(scenario: Scenario, duration: Duration) -> Plan:
    """Returns the plan of a scenario.

    SingleStream needs as many queries as a 90th percentile can be told from; Offline as many
    samples as MLPerf says, fewer for a quick look.
    """
    samples = minimum_count(0.9)
    if scenario is Scenario.OFFLINE:
        quick = duration is Duration.QUICK
        samples = _OFFLINE_QUICK_SAMPLES if quick else _OFFLINE_SAMPLES
    return Plan(
        scenario=scenario,
        duration=duration,
        warmup_ns=int(_WARMUP_S[duration] * _SECOND_NS),
        min_duration_ns=_MIN_DURATION_S[duration] * _SECOND_NS,
        min_samples=samples,
    )


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
class Measured:
    """What a scenario's run gave.

    Attributes:
        plan: What was asked for.
        warmup_runs: Runs that do not count.
        warmup_ns: Their time.
        duration_ns: From the first query's issue to the last one's answer.
        end_to_end: Of each query, from ids to ids; None in Offline, which is one query.
        compute: Of each sample, inside the engine.
    """

    plan: Plan
    warmup_runs: int
    warmup_ns: int
    duration_ns: int
    end_to_end: Samples | None
    compute: Samples

    @property
    def min_duration_met(self) -> bool:
        """Whether the run lasted long enough."""
        return self.duration_ns >= self.plan.min_duration_ns

    @property
    def min_samples_met(self) -> bool:
        """Whether it had enough samples."""
        return self.compute.total >= self.plan.min_samples


def run_scenario(plan: Plan, workload: Workload, clock: Clock) -> Measured:
    """Runs one scenario to its end.

    Args:
        plan: How long, and in which scenario.
        workload: What is run.
        clock: Times it.

    Returns:
        What was measured. A run ends when both minima are met, or at three times the minimum
        duration.

    Raises:
        DeviceError: The runtime failed.
        ConfigError: The scenario is one this runner does not measure.
    """
    # Python's generator is the Mersenne Twister that LoadGen uses, seeded as it is there.
    order = random.Random(plan.seed)  # noqa: S311 - a schedule, not a secret
    match plan.scenario:
        case Scenario.SINGLE_STREAM:
            return _single_stream(plan, workload, clock, order)
        case Scenario.OFFLINE:
            return _offline(plan, workload, clock, order)
        case Scenario.SERVER:
            raise ConfigError("the Server scenario is not measured: it needs a queue to measure")
        case _:
            assert_never(plan.scenario)


def _single_stream(plan: Plan, workload: Workload, clock: Clock, order: random.Random) -> Measured:
    warmup_runs, warmup_ns = _warm_up(plan, workload, clock, order)
    end_to_end, compute = Samples(), Samples()
    samples = workload.samples
    begin_ns = clock.monotonic_ns()
    elapsed_ns = 0
    while not _is_enough(plan, elapsed_ns, compute.total):
        sample = order.randrange(samples)
        start_ns = clock.monotonic_ns()
        compute_ns = workload.run(sample)
        end_ns = clock.monotonic_ns()
        end_to_end.add(end_ns - start_ns)
        compute.add(compute_ns)
        elapsed_ns = end_ns - begin_ns
    return Measured(plan, warmup_runs, warmup_ns, elapsed_ns, end_to_end, compute)


def _offline(plan: Plan, workload: Workload, clock: Clock, order: random.Random) -> Measured:
    warmup_runs, warmup_ns = _warm_up(plan, workload, clock, order)
    compute = Samples()
    # Drawn beforehand: here the time between two samples counts as well.
    schedule = [order.randrange(workload.samples) for _ in range(_SCHEDULE)]
    run = workload.run
    elapsed_ns = 0
    while not _is_enough(plan, elapsed_ns, compute.total):
        start_ns = clock.monotonic_ns()
        durations = [run(sample) for sample in schedule]
        elapsed_ns += clock.monotonic_ns() - start_ns
        for duration_ns in durations:
            compute.add(duration_ns)
    return Measured(plan, warmup_runs, warmup_ns, elapsed_ns, None, compute)


def _is_enough(plan: Plan, elapsed_ns: int, samples: int) -> bool:
    if samples == 0:
        return False
    if elapsed_ns >= plan.min_duration_ns * _OVERTIME:
        return True
    return elapsed_ns >= plan.min_duration_ns and samples >= plan.min_samples


def _warm_up(plan: Plan, workload: Workload, clock: Clock, order: random.Random) -> tuple[int, int]:
    begin_ns = clock.monotonic_ns()
    runs = 0
    while runs < _WARMUP_MIN_RUNS or clock.monotonic_ns() - begin_ns < plan.warmup_ns:
        workload.run(order.randrange(workload.samples))
        runs += 1
    return runs, clock.monotonic_ns() - begin_ns
