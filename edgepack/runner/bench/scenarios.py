"""LoadGen's scenarios: how queries are issued and when a run has gone on long enough.

SingleStream issues the next query when the one before has completed; Offline hands over all
samples at once; Server, whose queries arrive by themselves, is in `server`. It is not aware of
models. Used by `benchmark`.

Source: MLPerf Inference rules, scenarios and run rules.
"""

from __future__ import annotations

import random
from typing import Final, assert_never

from edgepack.formats.report import Scenario
from edgepack.runner.bench.plan import Plan
from edgepack.runner.bench.samples import Measured, Samples
from edgepack.runner.bench.server import run_server
from edgepack.runner.bench.workload import Workload
from edgepack.runner.clock import Clock

_WARMUP_MIN_RUNS: Final = 10
#: Offline's samples are timed in rows of this many, so that the timing costs nothing.
_SCHEDULE: Final = 64


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
    """
    # Python's generator is the Mersenne Twister that LoadGen uses, seeded as it is there.
    order = random.Random(plan.seed)  # noqa: S311 - a schedule, not a secret
    match plan.scenario:
        case Scenario.SINGLE_STREAM:
            return _single_stream(plan, workload, clock, order)
        case Scenario.OFFLINE:
            return _offline(plan, workload, clock, order)
        case Scenario.SERVER:
            return run_server(plan, workload, clock, order)
        case _:
            assert_never(plan.scenario)


def _single_stream(plan: Plan, workload: Workload, clock: Clock, order: random.Random) -> Measured:
    warmup_runs, warmup_ns = _warm_up(plan, workload, clock, order)
    end_to_end, compute = Samples(), Samples()
    samples = workload.samples
    begin_ns = clock.monotonic_ns()
    elapsed_ns = 0
    while not plan.is_enough(elapsed_ns, compute.total):
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
    if plan.max_batch > 1:
        return _offline_in_batches(plan, workload, clock, order, (warmup_runs, warmup_ns))
    run = workload.run
    elapsed_ns = 0
    while not plan.is_enough(elapsed_ns, compute.total):
        start_ns = clock.monotonic_ns()
        durations = [run(sample) for sample in schedule]
        elapsed_ns += clock.monotonic_ns() - start_ns
        for duration_ns in durations:
            compute.add(duration_ns)
    return Measured(plan, warmup_runs, warmup_ns, elapsed_ns, None, compute)


def _offline_in_batches(
    plan: Plan, workload: Workload, clock: Clock, order: random.Random, warmup: tuple[int, int]
) -> Measured:
    """Runs full batches; all of them are still one query."""
    compute = Samples()
    batch = [order.randrange(workload.samples) for _ in range(plan.max_batch)]
    elapsed_ns = calls = 0
    # The first call of a size may prepare for it.
    workload.run_batch(batch)
    while not plan.is_enough(elapsed_ns, compute.total):
        start_ns = clock.monotonic_ns()
        duration_ns = workload.run_batch(batch)
        elapsed_ns += clock.monotonic_ns() - start_ns
        calls += 1
        for _ in batch:
            compute.add(duration_ns)
    batches = {plan.max_batch: calls}
    return Measured(plan, *warmup, elapsed_ns, None, compute, batches=batches)


def _warm_up(plan: Plan, workload: Workload, clock: Clock, order: random.Random) -> tuple[int, int]:
    begin_ns = clock.monotonic_ns()
    runs = 0
    while runs < _WARMUP_MIN_RUNS or clock.monotonic_ns() - begin_ns < plan.warmup_ns:
        workload.run(order.randrange(workload.samples))
        runs += 1
    return runs, clock.monotonic_ns() - begin_ns
