"""LoadGen's Server scenario: queries arrive by themselves, and the box answers one at a time.

Arrivals are a Poisson process. A query's latency counts from its scheduled arrival, so the time
it waits behind others is in it. The rate is searched for: the highest at which 99 % of the
queries stay under the latency bound, by bisection below what the box answers back to back, and
then one whole run at the rate that was found. One queue, one server, in this very process, as
the daemon answers. It is not aware of models. Used by `scenarios`.

Source: MLPerf Inference rules, Server scenario; LoadGen's `PerformanceSummary` for what is valid.
"""

from __future__ import annotations

import itertools
import math
import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from edgepack.formats.report import RateProbe
from edgepack.formats.statistics import is_under_bound, minimum_count, nearest_rank
from edgepack.runner.bench.plan import OVERTIME, SECOND_NS, SERVER_PERCENTILE, Plan
from edgepack.runner.bench.samples import Measured, RateSearch, Samples
from edgepack.runner.bench.workload import Workload
from edgepack.runner.clock import Clock

#: The bound of a target without a budget, as a multiple of the 90th percentile back to back.
DEFAULT_BOUND: Final = 10
#: Each halves the range, so seven leave under 1 % of what the box answers back to back.
_PROBES: Final = 7
#: A rate that only just passed a short probe may fail the long run; the next is a tenth lower.
_TRIES: Final = 3
_STEP_DOWN: Final = 0.9
#: A queue this long never empties again: the run is over.
_BACKLOG_NS: Final = SECOND_NS
_BACKLOG_BOUNDS: Final = 100
#: A sleeping process wakes up late by about this much; the rest is waited for awake.
_AWAKE_NS: Final = 200_000
#: Arrivals drawn beforehand, 1 MiB; a longer run goes round again.
_MAX_ARRIVALS: Final = 128 * 1024


class Arrivals:
    """Queries of a Poisson process with a mean gap of 1, and the sample each asks for.

    The same gaps are used at every rate, so two rates differ in nothing else.
    """

    def __init__(self, order: random.Random, samples: int, count: int) -> None:
        count = min(count, _MAX_ARRIVALS)
        # 1 - random() is never 0.
        self._gaps = array("d", (-math.log(1 - order.random()) for _ in range(count)))
        self._samples = array("L", (order.randrange(samples) for _ in range(count)))

    def __iter__(self) -> Iterator[tuple[float, int]]:
        return itertools.cycle(zip(self._gaps, self._samples, strict=True))


@dataclass(slots=True)
class RateRun:
    """What a run at one rate gave; see `Measured` for the durations.

    Attributes:
        qps: The rate.
        scheduled_ns: When the last query was to arrive, from the first one's arrival.
        elapsed_ns: When it was answered.
        over_latency: Queries over the bound.
        overrun: The queue grew so long that the run was ended.
    """

    qps: float
    scheduled_ns: int = 0
    elapsed_ns: int = 0
    over_latency: int = 0
    overrun: bool = False
    queue: Samples = field(default_factory=Samples)
    compute: Samples = field(default_factory=Samples)
    end_to_end: Samples = field(default_factory=Samples)

    @property
    def passes(self) -> bool:
        """Whether its own 99th percentile is under the bound."""
        total = self.end_to_end.total
        return not self.overrun and total > 0 and self.over_latency <= _allowed(total)


def run_server(plan: Plan, workload: Workload, clock: Clock, order: random.Random) -> Measured:
    """Searches for the highest valid rate and runs it.

    Args:
        plan: How long, and the latency bound.
        workload: What is run.
        clock: Times it, and is waited on.
        order: Draws the arrivals and the samples.

    Returns:
        The run at the rate that was found; not valid, with the reason in `errors`, when even
        the lowest rate that was tried is over the bound.

    Raises:
        DeviceError: The runtime failed.
    """
    back_to_back, warmup_ns = _run_back_to_back(plan, workload, clock, order)
    capacity_qps = SECOND_NS * back_to_back.total / max(back_to_back.total_ns, 1)
    bound_ns, source = _bound(plan, back_to_back)
    planned = math.ceil(capacity_qps * plan.min_duration_ns / SECOND_NS) + plan.min_samples
    arrivals = Arrivals(order, workload.samples, planned)
    found_qps, probes = _search(plan, capacity_qps, bound_ns, arrivals, workload, clock)
    errors = []
    if found_qps == 0:
        found_qps = probes[-1].qps
        errors.append(f"even at {found_qps:.3g} queries a second, 99 % are not under the bound")
    run = _run_found(plan, found_qps, bound_ns, arrivals, workload, clock)
    if run.overrun:
        errors.append(f"the queue only grew at {run.qps:.3g} queries a second")
    met = is_under_bound(run.over_latency, run.end_to_end.total, SERVER_PERCENTILE)
    return Measured(
        plan=plan,
        warmup_runs=back_to_back.total,
        warmup_ns=warmup_ns,
        duration_ns=run.elapsed_ns,
        end_to_end=run.end_to_end,
        compute=run.compute,
        queue=run.queue,
        search=RateSearch(
            target_qps=run.qps,
            latency_bound_ns=bound_ns,
            bound_source=source,
            over_latency=run.over_latency,
            bound_met=met and not run.overrun,
            probes=probes,
        ),
        errors=tuple(errors),
    )


def run_at_rate(
    plan: Plan,
    qps: float,
    bound_ns: int,
    arrivals: Arrivals,
    workload: Workload,
    clock: Clock,
    *,
    end_when_lost: bool = False,
) -> RateRun:
    """Answers queries that arrive at one mean rate.

    Args:
        plan: When it is enough: the last arrival is scheduled behind the minimum duration.
        qps: Mean arrivals a second.
        bound_ns: The latency bound.
        arrivals: When they arrive and what they ask for.
        workload: What is run.
        clock: Times it, and is waited on.
        end_when_lost: End once so many are over the bound that the run cannot pass any more.

    Returns:
        The run.

    Raises:
        DeviceError: The runtime failed.
    """
    run = RateRun(qps)
    gap_ns = SECOND_NS / qps
    most_over: float = math.inf
    if end_when_lost:
        most_over = _allowed(max(math.ceil(plan.min_duration_ns / gap_ns), plan.min_samples))
    backlog_ns = max(_BACKLOG_NS, _BACKLOG_BOUNDS * bound_ns)
    begin_ns = clock.monotonic_ns()
    due_ns = float(begin_ns)
    for gap, sample in arrivals:
        due_ns += gap * gap_ns
        arrival_ns = int(due_ns)
        _wait_until(clock, arrival_ns)
        start_ns = clock.monotonic_ns()
        run.compute.add(workload.run(sample))
        latency_ns = clock.monotonic_ns() - arrival_ns
        run.queue.add(start_ns - arrival_ns)
        run.end_to_end.add(latency_ns)
        run.over_latency += latency_ns > bound_ns
        run.scheduled_ns = arrival_ns - begin_ns
        run.elapsed_ns = run.scheduled_ns + latency_ns
        run.overrun = latency_ns > backlog_ns
        if run.overrun or run.over_latency > most_over:
            break
        if plan.is_enough(run.scheduled_ns, run.end_to_end.total):
            break
    return run


def _allowed(queries: int) -> int:
    """Returns how many of so many queries may be over the bound, by nearest rank."""
    return queries - math.ceil(SERVER_PERCENTILE * queries)


def _wait_until(clock: Clock, moment_ns: int) -> None:
    left_ns = moment_ns - clock.monotonic_ns()
    if left_ns > 2 * _AWAKE_NS:
        clock.sleep((left_ns - _AWAKE_NS) / SECOND_NS)
    while clock.monotonic_ns() < moment_ns:
        pass


def _run_back_to_back(
    plan: Plan, workload: Workload, clock: Clock, order: random.Random
) -> tuple[Samples, int]:
    """Warms up as SingleStream does, until a 90th percentile can be told."""
    needed = minimum_count(0.9)
    found = Samples()
    begin_ns = last_ns = clock.monotonic_ns()
    while found.total < needed or last_ns - begin_ns < plan.warmup_ns:
        sample = order.randrange(workload.samples)
        start_ns = clock.monotonic_ns()
        workload.run(sample)
        last_ns = clock.monotonic_ns()
        found.add(last_ns - start_ns)
        if last_ns - begin_ns >= plan.min_duration_ns * OVERTIME:
            break
    return found, last_ns - begin_ns


def _bound(plan: Plan, back_to_back: Samples) -> tuple[int, str]:
    if plan.latency_bound_ns is not None:
        return plan.latency_bound_ns, "the target's p99 budget"
    p90_ns = nearest_rank(sorted(back_to_back.values), 0.9)
    return max(DEFAULT_BOUND * p90_ns, 1), f"{DEFAULT_BOUND} times p90 back to back"


def _search(
    plan: Plan,
    capacity_qps: float,
    bound_ns: int,
    arrivals: Arrivals,
    workload: Workload,
    clock: Clock,
) -> tuple[float, tuple[RateProbe, ...]]:
    """Returns the highest rate that passed, 0 when none did, and every probe."""
    probe = replace(
        plan,
        min_duration_ns=min(plan.probe_ns, plan.min_duration_ns),
        min_samples=minimum_count(SERVER_PERCENTILE, 0),
    )
    low, high = 0.0, capacity_qps
    probes = []
    for _ in range(_PROBES):
        qps = (low + high) / 2
        run = run_at_rate(probe, qps, bound_ns, arrivals, workload, clock, end_when_lost=True)
        probes.append(RateProbe(qps, run.end_to_end.total, run.over_latency, run.passes))
        low, high = (qps, high) if run.passes else (low, qps)
    return low, tuple(probes)


def _run_found(
    plan: Plan, qps: float, bound_ns: int, arrivals: Arrivals, workload: Workload, clock: Clock
) -> RateRun:
    """Runs at the rate that was found, a tenth lower when the whole run does not hold it."""
    for attempt in range(_TRIES):
        rate = qps * _STEP_DOWN**attempt
        run = run_at_rate(plan, rate, bound_ns, arrivals, workload, clock)
        met = is_under_bound(run.over_latency, run.end_to_end.total, SERVER_PERCENTILE)
        if met and not run.overrun:
            break
    return run
