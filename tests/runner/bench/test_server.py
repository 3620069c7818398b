from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.formats.errors import DeviceError
from edgepack.formats.report import Duration, Scenario
from edgepack.runner.bench.plan import Plan, plan_for
from edgepack.runner.bench.samples import Measured
from edgepack.runner.bench.scenarios import run_scenario
from edgepack.runner.bench.server import Arrivals, run_at_rate
from edgepack.runner.bench.summary import summarise_run
from edgepack.runner.bench.workload import open_workload
from tests.runner.bench.workloads import SteadyWork
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release

_SECOND = 1_000_000_000
_CALL_NS = 10_000_000
#: A look at the clock: a 500th of a call.
_LOOK_NS = 20_000


def _plan(*, seconds: float = 60, bound_ns: int | None = 5 * _CALL_NS) -> Plan:
    return Plan(
        Scenario.SERVER,
        Duration.QUICK,
        warmup_ns=1000,
        min_duration_ns=int(seconds * _SECOND),
        min_samples=662,
        probe_ns=int(seconds * _SECOND),
        latency_bound_ns=bound_ns,
    )


def _run(plan: Plan, call_ns: int = _CALL_NS) -> Measured:
    clock = HandClock(step_ns=_LOOK_NS)
    return run_scenario(plan, SteadyWork(clock, call_ns), clock)


def _share_under(bound: float, load: float) -> float:
    """P(sojourn <= bound) in an M/D/1 queue with service time 1.

    Source: Erlang's waiting time distribution, W <= t:
    (1 - rho) * sum over k <= t of [rho (k - t)]^k / k! * exp(-rho (k - t)).
    """
    wait = bound - 1
    terms = (
        (load * (k - wait)) ** k / math.factorial(k) * math.exp(-load * (k - wait))
        for k in range(math.floor(wait) + 1)
    )
    return (1 - load) * sum(terms)


def test_a_runtime_that_fails_ends_the_run(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    engine.failing = "gone"
    clock = HandClock(step_ns=_LOOK_NS)
    workload = open_workload(simulated_release(tmp_path), engine, clock)
    with pytest.raises(DeviceError, match="gone"):
        run_scenario(_plan(), workload, clock)


def test_a_bound_below_one_answer_finds_no_rate_and_says_so() -> None:
    measured = _run(_plan(bound_ns=_CALL_NS // 2))
    facts = summarise_run(measured, "d" * 64)
    assert (facts.valid, facts.bound_met) == (False, False)
    assert "99 % are not under the bound" in facts.errors[0]
    assert not any(probe.passed for probe in facts.method.probes)


def test_a_rate_above_what_can_be_answered_ends_when_the_queue_only_grows() -> None:
    clock = HandClock(step_ns=_LOOK_NS)
    arrivals = Arrivals(random.Random(1), 7, 10_000)
    plan = _plan(seconds=600)
    run = run_at_rate(plan, 200, 5 * _CALL_NS, arrivals, SteadyWork(clock, _CALL_NS), clock)
    assert (run.overrun, run.passes) == (True, False)
    assert run.elapsed_ns < 60 * _SECOND


def test_a_probe_ends_once_it_is_lost() -> None:
    clock = HandClock(step_ns=_LOOK_NS)
    arrivals = Arrivals(random.Random(1), 7, 10_000)
    work = SteadyWork(clock, _CALL_NS)
    run = run_at_rate(_plan(), 50, _CALL_NS // 2, arrivals, work, clock, end_when_lost=True)
    # One hundredth of the 3000 queries of a minute may be late; one more is known to be lost.
    assert run.over_latency == 31
    assert len(work.ran) == 31


def test_a_model_too_slow_for_its_queries_ends_in_time_and_is_invalid() -> None:
    measured = _run(_plan(seconds=2, bound_ns=None), call_ns=100_000_000)
    # One last arrival may lie behind the limit.
    assert measured.duration_ns < 4 * 2 * _SECOND
    assert (measured.min_samples_met, measured.is_valid) == (False, False)


def test_the_rate_found_is_the_one_queueing_theory_gives() -> None:
    measured = _run(_plan(seconds=300))
    assert measured.search is not None
    assert measured.is_valid
    loads = [i / 1000 for i in range(1, 1000)]
    limit = max(load for load in loads if _share_under(5, load) >= 0.99)
    found = measured.search.target_qps * (_CALL_NS + 2 * _LOOK_NS) / _SECOND
    # The 99th percentile of some 20,000 queries that queue behind each other scatters; a tenth
    # less is what one step down gives.
    assert limit * 0.85 < found < limit * 1.1


def test_a_latency_counts_from_the_scheduled_arrival() -> None:
    clock = HandClock(step_ns=_LOOK_NS)
    work = SteadyWork(clock, _CALL_NS)
    arrivals = Arrivals(random.Random(1), 7, 1000)
    run = run_at_rate(_plan(seconds=5), 60, 10 * _CALL_NS, arrivals, work, clock)
    for queued, took, whole in zip(
        run.queue.values, run.compute.values, run.end_to_end.values, strict=True
    ):
        assert whole == queued + took + _LOOK_NS
    # At six tenths of what can be answered a good half arrives while another is answered.
    behind = sum(queued > 2 * _LOOK_NS for queued in run.queue.values)
    assert 0.4 < behind / run.queue.total < 0.8


def test_a_report_keeps_queue_compute_and_end_to_end_apart() -> None:
    facts = summarise_run(_run(_plan()), "d" * 64)
    assert facts.queue is not None
    assert facts.end_to_end is not None
    assert facts.compute.p99 == _CALL_NS
    assert facts.end_to_end.p99 is not None
    assert facts.end_to_end.p99 <= 5 * _CALL_NS
    assert facts.end_to_end.early_stopping["p99"].estimate_ns is not None
    assert facts.queue.count == facts.end_to_end.count == facts.method.queries
    assert facts.method.arrival == "poisson"
    assert facts.method.latency_bound_ns == 5 * _CALL_NS
    assert facts.samples_per_second == pytest.approx(facts.method.target_qps, rel=0.05)
    assert not {"queue", "over_latency", "bound_met"} & set(facts.missing)


def test_without_a_budget_the_bound_is_ten_times_what_an_answer_takes() -> None:
    measured = _run(_plan(bound_ns=None))
    assert measured.search is not None
    assert measured.search.latency_bound_ns == 10 * (_CALL_NS + _LOOK_NS)
    assert "10 times p90" in measured.search.bound_source


def test_the_targets_budget_is_the_bound() -> None:
    plan = plan_for(Scenario.SERVER, Duration.QUICK, 12.5)
    assert plan.latency_bound_ns == 12_500_000
    measured = _run(replace(plan, latency_bound_ns=50_000_000))
    assert measured.search is not None
    assert measured.search.bound_source == "the target's p99 budget"


def test_the_same_seed_gives_the_same_arrivals() -> None:
    first, second, other = (
        list(itertools.islice(Arrivals(random.Random(seed), 7, 100), 250)) for seed in (1, 1, 2)
    )
    assert first == second != other
    assert first[:50] == first[100:150]


def test_arrivals_are_a_poisson_process_over_all_samples() -> None:
    drawn = list(itertools.islice(Arrivals(random.Random(3), 7, 20_000), 20_000))
    gaps = [gap for gap, _ in drawn]
    # Four standard errors of a mean of 20,000 exponentials.
    assert sum(gaps) / len(gaps) == pytest.approx(1, abs=0.03)
    assert sum(gap > 1 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), abs=0.015)
    assert {sample for _, sample in drawn} == set(range(7))


_ROW_NS = 500_000


def _batched(
    plan: Plan, *, max_batch: int = 16, delay_ns: int = 0, bound: int = 5
) -> tuple[Measured, SteadyWork]:
    clock = HandClock(step_ns=_LOOK_NS)
    work = SteadyWork(clock, _CALL_NS, max_batch=max_batch, sample_ns=_ROW_NS)
    plan = replace(plan, max_batch=max_batch, delay_ns=delay_ns, latency_bound_ns=bound * _CALL_NS)
    return run_scenario(plan, work, clock), work


def test_queries_that_have_arrived_share_a_call_and_more_of_them_are_answered() -> None:
    alone = _run(_plan(seconds=60))
    together, work = _batched(_plan(seconds=60))
    assert alone.search is not None
    assert together.search is not None
    assert together.is_valid
    # A call takes a and b for each query, so n of them at once are n / (a + b n) a second; within
    # the bound of five calls a query waits for one call and is in the next, both of at most 16:
    # nothing but what full calls answer limits the rate. One at a time answers 1 / (a + b).
    limit_qps = 16 * _SECOND / (_CALL_NS + 16 * _ROW_NS)
    assert 0.75 * limit_qps < together.search.target_qps <= limit_qps
    assert together.search.target_qps > 7 * alone.search.target_qps
    assert max(work.batches) == 16


def test_the_rate_rises_with_the_size_of_calls_as_far_as_they_get_cheaper() -> None:
    found = []
    for max_batch in (2, 4, 8):
        measured, _ = _batched(_plan(seconds=60), max_batch=max_batch)
        assert measured.search is not None
        limit_qps = max_batch * _SECOND / (_CALL_NS + max_batch * _ROW_NS)
        assert 0.6 * limit_qps < measured.search.target_qps <= limit_qps
        found.append(measured.search.target_qps)
    assert found == sorted(found)
    assert found[2] > 2.5 * found[0]


def test_a_shared_call_answers_each_query_from_its_own_arrival_on() -> None:
    clock = HandClock(step_ns=_LOOK_NS)
    work = SteadyWork(clock, _CALL_NS, max_batch=4, sample_ns=_ROW_NS)
    arrivals = Arrivals(random.Random(1), 7, 5000)
    plan = replace(_plan(seconds=5), max_batch=4)
    run = run_at_rate(plan, 250, 10 * _CALL_NS, arrivals, work, clock)
    assert sum(rows * calls for rows, calls in run.batches.items()) == run.end_to_end.total
    assert len(work.ran) == run.end_to_end.total
    assert run.batches == {size: work.batches.count(size) for size in set(work.batches)}
    for queued, took, whole in zip(
        run.queue.values, run.compute.values, run.end_to_end.values, strict=True
    ):
        assert whole == queued + took + _LOOK_NS
        assert took in {_CALL_NS + rows * _ROW_NS for rows in range(1, 5)}


def test_the_samples_asked_for_are_the_same_whether_they_share_calls_or_not() -> None:
    asked = []
    for max_batch in (1, 8):
        clock = HandClock(step_ns=_LOOK_NS)
        work = SteadyWork(clock, _CALL_NS, max_batch=max_batch)
        arrivals = Arrivals(random.Random(1), 7, 5000)
        plan = replace(_plan(seconds=5), max_batch=max_batch)
        run_at_rate(plan, 50, 10 * _CALL_NS, arrivals, work, clock)
        asked.append(work.ran[:200])
    assert asked[0] == asked[1]


def test_a_delay_makes_larger_calls_and_holds_no_query_past_its_bound() -> None:
    clock = HandClock(step_ns=_LOOK_NS)
    sizes = []
    for delay_ns in (0, 3 * _CALL_NS):
        work = SteadyWork(clock, _CALL_NS, max_batch=16, sample_ns=_ROW_NS)
        arrivals = Arrivals(random.Random(1), 7, 5000)
        plan = replace(_plan(seconds=20), max_batch=16, delay_ns=delay_ns)
        run = run_at_rate(plan, 100, 8 * _CALL_NS, arrivals, work, clock)
        sizes.append(run.end_to_end.total / sum(run.batches.values()))
        # The first waits for the call before and then the delay; then comes its own call.
        call_ns = _CALL_NS + 16 * _ROW_NS
        assert run.end_to_end.highest <= delay_ns + 2 * call_ns + 40 * _LOOK_NS
    assert sizes[1] > 1.5 * sizes[0]


def test_a_delay_longer_than_the_bound_allows_is_shortened() -> None:
    measured, _ = _batched(_plan(seconds=10), delay_ns=100 * _CALL_NS)
    full_ns = _CALL_NS + 16 * _ROW_NS
    assert measured.plan.delay_ns == pytest.approx(5 * _CALL_NS - full_ns, abs=2 * _LOOK_NS)
    facts = summarise_run(measured, "d" * 64)
    assert facts.method.batch_delay_ns == measured.plan.delay_ns


def test_a_report_says_how_many_queries_shared_a_call() -> None:
    measured, _ = _batched(_plan(seconds=20))
    method = summarise_run(measured, "d" * 64).method
    assert method.max_batch == 16
    assert [rows for rows, _ in method.batch_sizes] == sorted(measured.batches)
    assert sum(rows * calls for rows, calls in method.batch_sizes) == method.queries
    alone = summarise_run(_run(_plan(seconds=20)), "d" * 64).method
    assert (alone.max_batch, alone.batch_delay_ns, alone.batch_sizes) == (1, 0, ())
