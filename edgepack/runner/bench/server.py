"""LoadGen's Server scenario: queries arrive by themselves, and the box answers as it can.

Arrivals are a Poisson process. A query's latency counts from its scheduled arrival, so the time
it waits behind others is in it. The rate is searched for: the highest at which 99 % of the
queries stay under the latency bound, by bisection below what the box answers back to back, and
then one whole run at the rate that was found. One queue, one server, in this very process, as
the daemon answers: one query at a time, or, where the model takes several samples in one call,
all that have arrived by then. It is not aware of models. Used by `scenarios`.

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
from edgepack.runner.rows import powers_of_two

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
#: Calls of one size that tell how long such a call takes.
_CAPACITY_CALLS: Final = 5
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
        batches: Calls by how many queries shared them; empty where none may.
    """

    qps: float
    scheduled_ns: int = 0
    elapsed_ns: int = 0
    over_latency: int = 0
    overrun: bool = False
    queue: Samples = field(default_factory=Samples)
    compute: Samples = field(default_factory=Samples)
    end_to_end: Samples = field(default_factory=Samples)
    batches: dict[int, int] = field(default_factory=dict)

    def add(self, arrival_ns: int, start_ns: int, compute_ns: int, end_ns: int) -> int:
        """Takes one query's times and returns its latency."""
        self.compute.add(compute_ns)
        latency_ns = end_ns - arrival_ns
        self.queue.add(start_ns - arrival_ns)
        self.end_to_end.add(latency_ns)
        return latency_ns

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
    if plan.max_batch > 1:
        batched_qps, full_ns = _time_batches(plan, workload, clock, order)
        capacity_qps = max(capacity_qps, batched_qps)
        # Held back for longer, a query would be late by that alone.
        plan = replace(plan, delay_ns=min(plan.delay_ns, max(bound_ns - full_ns, 0)))
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
        batches=run.batches,
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
    line = _Line(arrivals, gap_ns, begin_ns)
    while True:
        queries, start_ns, compute_ns = _answer_next(plan, line, workload, clock, run)
        end_ns = clock.monotonic_ns()
        for arrival_ns, _ in queries:
            latency_ns = run.add(arrival_ns, start_ns, compute_ns, end_ns)
            run.over_latency += latency_ns > bound_ns
            run.scheduled_ns = arrival_ns - begin_ns
            run.elapsed_ns = run.scheduled_ns + latency_ns
            run.overrun = run.overrun or latency_ns > backlog_ns
        if run.overrun or run.over_latency > most_over:
            break
        if plan.is_enough(run.scheduled_ns, run.end_to_end.total):
            break
    return run


class _Line:
    """The queries to come, each with its scheduled arrival."""

    def __init__(self, arrivals: Arrivals, gap_ns: float, begin_ns: int) -> None:
        self._drawn = iter(arrivals)
        self._gap_ns = gap_ns
        self._due_ns = float(begin_ns)
        self._next = self._draw()

    @property
    def next_ns(self) -> int:
        """When the next query arrives."""
        return self._next[0]

    def take(self) -> tuple[int, int]:
        """Returns the next query: its arrival and its sample."""
        taken, self._next = self._next, self._draw()
        return taken

    def _draw(self) -> tuple[int, int]:
        gap, sample = next(self._drawn)
        self._due_ns += gap * self._gap_ns
        return int(self._due_ns), sample


def _answer_next(
    plan: Plan, line: _Line, workload: Workload, clock: Clock, run: RateRun
) -> tuple[list[tuple[int, int]], int, int]:
    """Answers the next query, and those that share its call; returns them, start and compute."""
    queries = [line.take()]
    _wait_until(clock, queries[0][0])
    if plan.max_batch == 1:
        start_ns = clock.monotonic_ns()
        return queries, start_ns, workload.run(queries[0][1])
    until_ns = queries[0][0] + plan.delay_ns
    while len(queries) < plan.max_batch:
        if line.next_ns <= clock.monotonic_ns():
            queries.append(line.take())
        elif line.next_ns <= until_ns:
            _wait_until(clock, line.next_ns)
        else:
            break
    if len(queries) < plan.max_batch:
        _wait_until(clock, until_ns)
    start_ns = clock.monotonic_ns()
    run.batches[len(queries)] = run.batches.get(len(queries), 0) + 1
    return queries, start_ns, workload.run_batch([sample for _, sample in queries])


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


def _time_batches(
    plan: Plan, workload: Workload, clock: Clock, order: random.Random
) -> tuple[float, int]:
    """Returns the most queries a second back to back in calls of any size, and a full call's ns."""
    best, call_ns = 0.0, 0
    for size in powers_of_two(plan.max_batch):
        samples = [order.randrange(workload.samples) for _ in range(size)]
        # The first call of a size may prepare for it.
        workload.run_batch(samples)
        begin_ns = clock.monotonic_ns()
        for _ in range(_CAPACITY_CALLS):
            workload.run_batch(samples)
        call_ns = max((clock.monotonic_ns() - begin_ns) // _CAPACITY_CALLS, 1)
        best = max(best, SECOND_NS * size / call_ns)
    return best, call_ns


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
