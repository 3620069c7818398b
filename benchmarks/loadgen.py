"""Our benchmark beside MLPerf's own LoadGen: same engine, same process, in turns.

    python benchmarks/loadgen.py RELEASE [--rounds 7] [--seconds 3] [--threads 1] [--json]

RELEASE is a release folder, such as ROOT/current of an installed bundle. In each round both
measure SingleStream for so many seconds, the one that begins changing from round to round; what
is printed are the ratios ours / LoadGen's of the percentiles, their median over the rounds and
their range. The aim is a p50 within 5 % and a p90 within 10 %; a noisy machine shows in the
ranges. LoadGen's figures are those of its own log.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepack.formats.options import EngineOptions
from edgepack.formats.report import Duration, Scenario
from edgepack.formats.statistics import nearest_rank
from edgepack.runner.bench.plan import Plan
from edgepack.runner.bench.samples import Measured
from edgepack.runner.bench.scenarios import run_scenario
from edgepack.runner.bench.workload import Workload, open_workload
from edgepack.runner.clock import SystemClock
from edgepack.runner.engines import open_engine
from edgepack.runner.release import load_release

_SECOND_NS = 1_000_000_000
_PERCENTILES = {"p50": "50.00", "p90": "90.00", "p99": "99.00"}
_MARK = ":::MLLOG "
#: LoadGen's generators are seeded from its settings, as ours are from the plan.
_SEED = 2026


@dataclass(frozen=True)
class LoadGenRun:
    """What LoadGen logged.

    Attributes:
        log: Its own results by their keys, as in `mlperf_log_detail.txt`.
        latencies_ns: Every query's latency in the order of issue; empty without a trace.
    """

    log: dict[str, Any]
    latencies_ns: list[int]

    def percentile(self, name: str) -> int:
        """Returns LoadGen's own p50, p90 or p99 in nanoseconds."""
        return int(self.log[f"result_{_PERCENTILES[name]}_percentile_latency_ns"])


@dataclass(frozen=True)
class LoadGenPlan:
    """What LoadGen is asked for.

    Attributes:
        server_qps: The rate of the Server scenario; None runs SingleStream.
        bound_ns: Its latency bound.
        min_duration_ms: How long at least.
        queries: Exactly so many queries; None: as many as the duration takes.
        expected_ns: The latency LoadGen plans its queries by.
        trace: Whether every query's latency is logged; that costs time.
    """

    min_duration_ms: int
    queries: int | None = None
    expected_ns: int = 1_000_000
    server_qps: float | None = None
    bound_ns: int = 0
    trace: bool = False


def run_loadgen(workload: Workload, plan: LoadGenPlan, directory: Path) -> LoadGenRun:
    """Lets LoadGen measure a workload in this process.

    Args:
        workload: What is run.
        plan: How.
        directory: An empty folder for its logs.

    Returns:
        What it logged.
    """
    import mlperf_loadgen as loadgen

    # One answer for all: making one costs a microsecond that is neither LoadGen's nor ours.
    answer = loadgen.QuerySampleResponse(0, 0, 0)
    answers = [answer]
    run, complete = workload.run, loadgen.QuerySamplesComplete

    def issue(samples: Any) -> None:
        for sample in samples:
            run(sample.index)
            answer.id = sample.id
            complete(answers)

    outputs = loadgen.LogOutputSettings()
    outputs.outdir = str(directory)
    outputs.copy_summary_to_stdout = False
    logs = loadgen.LogSettings()
    logs.log_output = outputs
    logs.enable_trace = plan.trace
    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(
        workload.samples, workload.samples, lambda _: None, lambda _: None
    )
    try:
        loadgen.StartTestWithLogSettings(system, library, _settings(loadgen, plan), logs)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
    return LoadGenRun(
        read_detail(directory / "mlperf_log_detail.txt"),
        read_trace(directory / "mlperf_log_trace.json") if plan.trace else [],
    )


def read_detail(path: Path) -> dict[str, Any]:
    """Reads LoadGen's detail log: the last value of every key."""
    lines = path.read_text().splitlines()
    events = [json.loads(line[len(_MARK) :]) for line in lines if line.startswith(_MARK)]
    return {event["key"]: event["value"] for event in events}


def read_trace(path: Path) -> list[int]:
    """Reads every sample's latency in nanoseconds out of LoadGen's trace, in order of issue."""
    latencies = {}
    for line in path.read_text().splitlines():
        # The file as a whole is not always JSON; each event is, on a line of its own.
        if line.startswith('{"name":"Sample",') and '"ph":"b"' in line:
            told = json.loads(line.rstrip(","))["args"]
            latencies[told["sample_seq"]] = told["complete_ns"]
    return [latencies[number] for number in sorted(latencies)]


def _settings(loadgen: Any, plan: LoadGenPlan) -> Any:
    settings = loadgen.TestSettings()
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.single_stream_expected_latency_ns = plan.expected_ns
    if plan.server_qps is not None:
        settings.scenario = loadgen.TestScenario.Server
        settings.server_target_qps = plan.server_qps
        settings.server_target_latency_ns = plan.bound_ns
    settings.min_duration_ms = plan.min_duration_ms
    if plan.queries is not None:
        settings.min_query_count = settings.max_query_count = plan.queries
    settings.qsl_rng_seed = _SEED
    settings.sample_index_rng_seed = _SEED
    settings.schedule_rng_seed = _SEED
    return settings


def compare(release: Path, rounds: int, seconds: float, threads: int) -> dict[str, Any]:
    """Measures in turns and returns every round's percentiles and their ratios."""
    clock = SystemClock()
    loaded = load_release(release)
    engine = open_engine(
        loaded.manifest.runtime.name, loaded.model_path, EngineOptions(threads=threads)
    )
    workload = open_workload(loaded, engine, clock)
    plan = Plan(
        scenario=Scenario.SINGLE_STREAM,
        duration=Duration.QUICK,
        warmup_ns=_SECOND_NS // 5,
        min_duration_ns=int(seconds * _SECOND_NS),
        min_samples=64,
        seed=_SEED,
    )
    nothing = replace(plan, min_duration_ns=_SECOND_NS // 2)
    idle_ns = [
        _percentiles(run_scenario(nothing, Nothing(), clock))["p50"],
        _loadgen_percentiles(Nothing(), LoadGenPlan(500, expected_ns=1000))["p50"],
    ]
    expected_ns = _percentiles(run_scenario(plan, workload, clock))["p50"] // 2
    ours: list[dict[str, int]] = []
    theirs: list[dict[str, int]] = []
    for number in range(rounds):
        for turn in (number, number + 1):
            if turn % 2:
                ours.append(_percentiles(run_scenario(plan, workload, clock)))
            else:
                asked = LoadGenPlan(int(seconds * 1000), expected_ns=expected_ns)
                theirs.append(_loadgen_percentiles(workload, asked))
    engine.close()
    ratios = {
        name: [mine[name] / other[name] for mine, other in zip(ours, theirs, strict=True)]
        for name in _PERCENTILES
    }
    return {
        "model": f"{loaded.manifest.model.name} {loaded.candidate.variant}",
        "runtime": f"{engine.name} {engine.version}",
        "idle_p50_ns": {"ours": idle_ns[0], "loadgen": idle_ns[1]},
        "ours_ns": ours,
        "loadgen_ns": theirs,
        "ratios": ratios,
        "median_ratio": {name: statistics.median(values) for name, values in ratios.items()},
    }


class Nothing:
    """A workload that does nothing: what is left is what the measuring itself takes."""

    samples = 8
    max_batch = 1

    def run(self, sample: int) -> int:
        """Does nothing with a sample."""
        return 0

    def run_batch(self, samples: Sequence[int]) -> int:
        """Does nothing with samples."""
        return 0


def _loadgen_percentiles(workload: Workload, plan: LoadGenPlan) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as directory:
        run = run_loadgen(workload, plan, Path(directory))
    return {name: run.percentile(name) for name in _PERCENTILES}


def _percentiles(measured: Measured) -> dict[str, int]:
    assert measured.end_to_end is not None
    ordered = sorted(measured.end_to_end.values)
    return {name: nearest_rank(ordered, float(text) / 100) for name, text in _PERCENTILES.items()}


def main() -> int:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("release", type=Path, help="a release folder, such as ROOT/current")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print every round's figures")
    options = parser.parse_args()
    found = compare(options.release, options.rounds, options.seconds, options.threads)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"{found['model']}, {found['runtime']}, {options.rounds} rounds of {options.seconds} s")
    print("        ours us  LoadGen us   ratio   range")
    for name, ratios in found["ratios"].items():
        mine, other = (
            statistics.median(each[name] for each in found[which]) / 1000
            for which in ("ours_ns", "loadgen_ns")
        )
        print(
            f"{name:<6} {mine:8.1f}  {other:10.1f}   {found['median_ratio'][name]:.3f}   "
            f"{min(ratios):.3f} - {max(ratios):.3f}"
        )
    idle = found["idle_p50_ns"]
    print(
        f"with nothing to run, p50 is {idle['ours'] / 1000:.1f} us in ours and "
        f"{idle['loadgen'] / 1000:.1f} us in LoadGen, whose way is through C++ and back"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
