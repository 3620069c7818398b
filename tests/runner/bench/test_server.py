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
