from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.formats.errors import BundleError, ConfigError, DeviceError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.report import Duration, Scenario
from edgepack.formats.statistics import LogHistogram
from edgepack.runner.bench.plan import Plan, plan_for
from edgepack.runner.bench.samples import Samples
from edgepack.runner.bench.scenarios import run_scenario
from edgepack.runner.bench.summary import summarise_run, summarise_samples
from edgepack.runner.bench.workload import open_workload
from tests.runner.bench.workloads import SteadyWork
from tests.runner.simulators import (
    HandClock,
    SimulatedEngine,
    SimulatedTensorEngine,
    simulated_release,
)

_SECOND = 1_000_000_000


def _plan(
    scenario: Scenario = Scenario.SINGLE_STREAM, *, seconds: float = 1, samples: int = 64
) -> Plan:
    return Plan(scenario, Duration.QUICK, 1000, int(seconds * _SECOND), samples)


def test_a_runtime_that_fails_ends_the_run(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    engine.failing = "gone"
    workload = open_workload(simulated_release(tmp_path), engine, HandClock())
    with pytest.raises(DeviceError, match="gone"):
        run_scenario(_plan(), workload, HandClock(step_ns=1000))


def test_without_golden_inputs_there_is_nothing_to_run(tmp_path: Path) -> None:
    release = simulated_release(tmp_path)
    empty = replace(release, golden=GoldenSet(tolerance=1e-3))
    with pytest.raises(BundleError, match="no golden sequences"):
        open_workload(empty, SimulatedEngine(), HandClock())
    tensor = simulated_release(tmp_path / "t", kind_tensor=True)
    with pytest.raises(BundleError, match="no golden tensors"):
        open_workload(
            replace(tensor, golden=GoldenSet(tolerance=1e-3)), SimulatedTensorEngine(), HandClock()
        )


def test_a_model_too_slow_for_its_samples_ends_in_time_and_is_invalid() -> None:
    clock = HandClock()
    measured = run_scenario(_plan(samples=1000), SteadyWork(clock, 100_000_000), clock)
    assert measured.duration_ns == 3 * _SECOND
    assert (measured.min_duration_met, measured.min_samples_met) == (True, False)
    assert summarise_run(measured, "d" * 64).valid is False


def test_a_single_stream_lasts_until_both_minima_are_met() -> None:
    clock = HandClock()
    work = SteadyWork(clock, 10_000_000, around_ns=2_000_000)
    measured = run_scenario(_plan(samples=200), work, clock)
    assert measured.compute.total == 200
    assert measured.duration_ns == 200 * 12_000_000
    assert measured.end_to_end is not None
    assert set(measured.end_to_end.values) == {12_000_000}
    assert set(measured.compute.values) == {10_000_000}


def test_offline_counts_the_time_between_samples() -> None:
    clock = HandClock()
    measured = run_scenario(_plan(Scenario.OFFLINE), SteadyWork(clock, 4_000_000, 1_000_000), clock)
    facts = summarise_run(measured, "d" * 64)
    assert facts.samples_per_second == pytest.approx(200)
    assert facts.end_to_end is None
    assert (facts.method.queries, facts.method.samples_per_query) == (1, measured.compute.total)


def test_the_order_of_samples_is_the_seeds() -> None:
    orders = []
    for seed in (1, 1, 2):
        clock = HandClock()
        work = SteadyWork(clock, 10_000_000)
        run_scenario(replace(_plan(), seed=seed), work, clock)
        orders.append(work.ran)
    assert orders[0] == orders[1] != orders[2]
    assert set(orders[0]) == set(range(7))


def test_warming_up_does_not_count() -> None:
    clock = HandClock()
    work = SteadyWork(clock, 10_000_000)
    measured = run_scenario(replace(_plan(), warmup_ns=_SECOND), work, clock)
    assert measured.warmup_runs == 100
    assert len(work.ran) == measured.compute.total + 100


@pytest.mark.parametrize(
    ("scenario", "duration", "seconds", "samples"),
    [
        (Scenario.SINGLE_STREAM, Duration.QUICK, 2, 64),
        (Scenario.SINGLE_STREAM, Duration.MLPERF, 600, 64),
        (Scenario.OFFLINE, Duration.STANDARD, 60, 24_576),
        (Scenario.OFFLINE, Duration.MLPERF, 600, 24_576),
        (Scenario.SERVER, Duration.STANDARD, 60, 662),
        (Scenario.SERVER, Duration.MLPERF, 600, 662),
    ],
)
def test_plans_are_mlperfs(
    scenario: Scenario, duration: Duration, seconds: int, samples: int
) -> None:
    plan = plan_for(scenario, duration)
    assert (plan.min_duration_ns, plan.min_samples) == (seconds * _SECOND, samples)


def test_too_many_samples_are_thinned_evenly_and_nothing_is_hidden() -> None:
    samples = Samples(limit=100)
    for value in range(1, 1001):
        samples.add(value)
    assert len(samples.values) <= 100
    assert list(samples.values) == list(range(1, 1001, samples.every))
    assert (samples.total, samples.lowest, samples.highest) == (1000, 1, 1000)
    assert summarise_samples(samples).mean_ns == 500


def _samples(count: int) -> Samples:
    samples = Samples()
    for value in range(1, count + 1):
        samples.add(value)
    return samples


def test_a_percentile_below_its_minimum_count_is_null_with_the_count_it_needs() -> None:
    summary = summarise_samples(_samples(200))
    assert (summary.p90, summary.p95, summary.p99, summary.p999) == (180, 190, None, None)
    assert summary.missing["p99"] == "200 values; 662 are needed to tell it"
    assert summary.early_stopping["p99"].estimate_ns is None
    assert summary.early_stopping["p90"].over_latency == 10


def test_one_value_is_not_even_a_median() -> None:
    summary = summarise_samples(_samples(1))
    assert (summary.p50, summary.min_ns, summary.max_ns, summary.std_ns) == (None, 1, 1, 0)


def test_the_histogram_holds_every_value() -> None:
    summary = summarise_samples(_samples(700))
    assert sum(count for _, count in summary.histogram) == 700
    assert LogHistogram.from_buckets(summary.histogram).buckets() == list(summary.histogram)


def test_a_run_too_short_for_a_drift_says_so() -> None:
    clock = HandClock()
    measured = run_scenario(_plan(seconds=0.1, samples=64), SteadyWork(clock, 10_000_000), clock)
    facts = summarise_run(measured, "d" * 64)
    assert facts.drift is None
    assert "too few" in facts.missing["drift"]


def test_a_tensor_models_golden_inputs_are_its_workload(tmp_path: Path) -> None:
    release = simulated_release(tmp_path, kind_tensor=True)
    workload = open_workload(release, SimulatedTensorEngine(), HandClock(step_ns=500))
    assert workload.samples == 1
    assert workload.run(0) == 500


def test_offline_runs_full_calls_and_is_still_one_query() -> None:
    clock = HandClock(step_ns=1000)
    work = SteadyWork(clock, 4_000_000, 500_000, max_batch=16, sample_ns=250_000)
    plan = replace(_plan(Scenario.OFFLINE, samples=100), max_batch=16)
    facts = summarise_run(run_scenario(plan, work, clock), "d" * 64)
    assert set(work.batches) == {16}
    # 16 samples in 4 + 16 / 4 ms, and half a millisecond around.
    assert facts.samples_per_second == pytest.approx(16 / 0.0085, rel=0.01)
    assert facts.method.queries == 1
    assert facts.method.samples_per_query % 16 == 0
    assert facts.method.batch_sizes == ((16, facts.method.samples_per_query // 16),)
    assert facts.compute.p50 == 8_000_000
    assert facts.valid


def test_single_stream_has_one_sample_a_call_whatever_the_model_takes() -> None:
    plan = plan_for(Scenario.SINGLE_STREAM, Duration.QUICK, max_batch=16, delay_ns=5)
    assert (plan.max_batch, plan.delay_ns) == (1, 0)
    offline = plan_for(Scenario.OFFLINE, Duration.QUICK, max_batch=16, delay_ns=5)
    assert (offline.max_batch, offline.delay_ns) == (16, 0)
    server = plan_for(Scenario.SERVER, Duration.QUICK, max_batch=16, delay_ns=5)
    assert (server.max_batch, server.delay_ns) == (16, 5)
    assert plan_for(Scenario.SERVER, Duration.QUICK, max_batch=1, delay_ns=5).delay_ns == 0


@pytest.mark.parametrize("kind_tensor", [False, True])
def test_a_workload_runs_golden_inputs_together(tmp_path: Path, kind_tensor: bool) -> None:
    release = simulated_release(tmp_path, kind_tensor=kind_tensor, max_batch=8)
    clock = HandClock()
    engine = (
        SimulatedTensorEngine(batched=True)
        if kind_tensor
        else SimulatedEngine(batched=True, clock=clock, call_ns=1000, row_ns=10)
    )
    workload = open_workload(release, engine, clock)
    assert workload.max_batch == 8
    assert open_workload(release, engine, clock, 4).max_batch == 4
    took_ns = workload.run_batch([0] * 5)
    assert took_ns == (0 if kind_tensor else 1050)
    with pytest.raises(ConfigError, match="takes at most 8 rows"):
        open_workload(release, engine, clock, 9)
