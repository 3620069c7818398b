"""MLPerf's LoadGen measures a real engine; our statistics must say of its latencies what it says.

Percentiles: LoadGen takes `sorted[floor(n p)]`, nearest rank is `sorted[ceil(n p) - 1]`. They
name the same value unless n p is whole, so the runs here have a prime number of queries.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.loadgen import LoadGenPlan, LoadGenRun, run_loadgen
from edgepack.formats.report import Duration, Scenario
from edgepack.formats.statistics import early_stopping_estimate, is_under_bound, nearest_rank
from edgepack.formats.variants import RuntimeName
from edgepack.runner.bench.plan import Plan
from edgepack.runner.bench.samples import Samples
from edgepack.runner.bench.scenarios import run_scenario
from edgepack.runner.bench.summary import summarise_run, summarise_samples
from edgepack.runner.bench.workload import Workload, open_workload
from edgepack.runner.clock import SystemClock
from edgepack.runner.engines import open_engine
from edgepack.runner.release import load_release
from tests.e2e.real_models import make_onnx, write_real_release

_QUERIES = 7001


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Workload:
    directory = tmp_path_factory.mktemp("loadgen")
    write_real_release(directory, make_onnx(directory), RuntimeName.ONNXRUNTIME)
    release = load_release(directory)
    engine = open_engine(RuntimeName.ONNXRUNTIME, release.model_path)
    return open_workload(release, engine, SystemClock())


@pytest.fixture(scope="module")
def single_stream(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> LoadGenRun:
    plan = LoadGenPlan(min_duration_ms=10, queries=_QUERIES, trace=True)
    return run_loadgen(workload, plan, tmp_path_factory.mktemp("single"))


def test_loadgen_calls_its_run_valid_and_logs_every_query(single_stream: LoadGenRun) -> None:
    assert single_stream.log["result_validity"] == "VALID"
    assert single_stream.log["result_query_count"] == _QUERIES
    assert len(single_stream.latencies_ns) == _QUERIES


@pytest.mark.parametrize(
    ("key", "percentile"), [("50.00", 0.5), ("90.00", 0.9), ("99.00", 0.99), ("99.90", 0.999)]
)
def test_our_percentiles_of_its_latencies_are_its_own(
    single_stream: LoadGenRun, key: str, percentile: float
) -> None:
    ordered = sorted(single_stream.latencies_ns)
    found = single_stream.log[f"result_{key}_percentile_latency_ns"]
    assert nearest_rank(ordered, percentile) == found


def test_our_early_stopping_estimates_of_its_latencies_are_its_own(
    single_stream: LoadGenRun,
) -> None:
    ordered = sorted(single_stream.latencies_ns)
    p90 = early_stopping_estimate(ordered, 0.9)
    assert p90.estimate == single_stream.log["early_stopping_latency_ss"]
    text = single_stream.log["early_stopping_result"]
    assert f"Would discard {p90.over_latency - 1} highest latency queries" in text
    p99 = early_stopping_estimate(ordered, 0.99)
    assert p99.estimate == single_stream.log["early_stopping_latency_ms"]


def test_a_whole_summary_of_its_latencies_agrees_with_its_log(single_stream: LoadGenRun) -> None:
    samples = Samples()
    for latency_ns in single_stream.latencies_ns:
        samples.add(latency_ns)
    summary = summarise_samples(samples)
    log = single_stream.log
    assert (summary.count, summary.min_ns, summary.max_ns, summary.mean_ns) == (
        log["result_query_count"],
        log["result_min_latency_ns"],
        log["result_max_latency_ns"],
        log["result_mean_latency_ns"],
    )
    assert (summary.p50, summary.p99, summary.p999) == (
        log["result_50.00_percentile_latency_ns"],
        log["result_99.00_percentile_latency_ns"],
        log["result_99.90_percentile_latency_ns"],
    )


@pytest.mark.parametrize("queries", [63, 64, 661, 662])
def test_both_need_the_same_number_of_queries(
    workload: Workload, tmp_path: Path, queries: int
) -> None:
    run = run_loadgen(workload, LoadGenPlan(1, queries=queries, trace=True), tmp_path)
    ordered = sorted(run.latencies_ns)
    p90, p99 = (early_stopping_estimate(ordered, each) for each in (0.9, 0.99))
    assert run.log["early_stopping_met"] is (p90.estimate is not None)
    if p90.estimate is not None:
        assert p90.estimate == run.log["early_stopping_latency_ss"]
    told = "Not enough queries processed for 99" in run.log["early_stopping_result"]
    assert (p99.estimate is None) is (told or queries < 64)


@pytest.mark.parametrize("bound_ns", [1_000, 60_000_000_000])
def test_the_server_scenario_is_judged_as_loadgen_judges_it(
    workload: Workload, tmp_path: Path, bound_ns: int
) -> None:
    plan = LoadGenPlan(
        min_duration_ms=100, queries=2003, server_qps=4000, bound_ns=bound_ns, trace=True
    )
    run = run_loadgen(workload, plan, tmp_path)
    over = sum(latency_ns > bound_ns for latency_ns in run.latencies_ns)
    assert len(run.latencies_ns) == run.log["result_query_count"] == 2003
    assert is_under_bound(over, 2003, 0.99) is run.log["early_stopping_met"]


def test_both_call_half_a_second_of_the_same_work_valid(workload: Workload, tmp_path: Path) -> None:
    # Planned by a microsecond a query, so that LoadGen never runs out of queries.
    run = run_loadgen(workload, LoadGenPlan(500, expected_ns=1000), tmp_path)
    assert run.log["result_validity"] == "VALID"
    plan = Plan(
        scenario=Scenario.SINGLE_STREAM,
        duration=Duration.QUICK,
        warmup_ns=0,
        min_duration_ns=500_000_000,
        min_samples=64,
    )
    facts = summarise_run(run_scenario(plan, workload, SystemClock()), "d" * 64)
    assert facts.valid
    assert facts.end_to_end is not None
    assert facts.end_to_end.early_stopping["p90"].estimate_ns is not None
