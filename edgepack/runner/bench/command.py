"""`edgepack-runner bench`: measures, writes the report to a file and into the spool, sums it up.

It is not aware of how measuring is done. Used by `edgepack.runner.main`.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from edgepack import __version__
from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.formats.report import Duration, Report, RunFacts, Scenario
from edgepack.runner.bench.benchmark import Identity, Surroundings, measure_release
from edgepack.runner.bench.device import this_platform
from edgepack.runner.bench.environment import kernel_clock_synced
from edgepack.runner.bench.process import ThisProcess
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.clock import Clock
from edgepack.runner.drift.keeping import read_drift
from edgepack.runner.durable import write_durably
from edgepack.runner.engines import Engine, open_engine
from edgepack.runner.release import Release, load_release
from edgepack.runner.reports.spool import Spool
from edgepack.runner.state import BoxPaths, ensure_device_id


@dataclass(frozen=True, slots=True)
class BenchOutcome:
    """What a benchmark left behind.

    Attributes:
        data: The report's bytes.
        lines: It in words.
        warnings: What went wrong beside the measuring, such as a spool on a full disk.
    """

    data: bytes
    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def run_bench(
    paths: BoxPaths,
    *,
    variant: str | None,
    threads: int,
    duration: str,
    out: Path | None,
    clock: Clock,
    started_ns: int,
) -> BenchOutcome:
    """Measures the release on this box.

    Args:
        paths: The box's folders.
        variant: Which candidate; the release's first by default.
        threads: Threads inside one call.
        duration: `quick`, `standard` or `mlperf`.
        out: A file to write the report to as well, or None.
        clock: Times everything.
        started_ns: The clock's reading at the program's first line.

    Returns:
        The report and what is to be told about it.

    Raises:
        BundleError: The release is damaged.
        DeviceError: The runtime cannot load or run it.
        ConfigError: `out` cannot be written.
    """
    release = load_release(paths.release, variant)

    def open_candidate(each: Release) -> Engine:
        return open_engine(each.manifest.runtime.name, each.model_path, threads)

    around = Surroundings(
        clock=clock,
        system=SystemTree(),
        here=this_platform(),
        environment=os.environ,
        clock_synced=kernel_clock_synced,
        meter=ThisProcess(),
        open_engine=open_candidate,
        started_ns=started_ns,
    )
    identity = Identity(str(uuid.uuid4()), ensure_device_id(paths.state), __version__)
    report = measure_release(release, Duration(duration), identity, around)
    if paths.state is not None:
        report = replace(report, drift=read_drift(paths.state, release.manifest, clock))
    data = report.to_bytes()
    if out is not None:
        _write(out, data)
    return BenchOutcome(data, describe_report(report), _keep(paths.spool, report, data))


def describe_report(report: Report) -> tuple[str, ...]:
    """Sums a report up in a few lines.

    Args:
        report: The report.

    Returns:
        Lines for people.
    """
    model, runtime = report.model, report.runtime
    lines = [
        f"{model.name} {model.version}, {model.variant}, {runtime.name} {runtime.version} "
        f"({runtime.provider}, {runtime.threads} thread{'s' if runtime.threads > 1 else ''})",
        f"cold start    load {_us(report.cold.init_ns)}, first answer "
        f"{_us(report.cold.first_inference_ns)}",
    ]
    lines += [_describe_run(run) for run in report.runs]
    right = "right" if report.golden.ok else f"WRONG in {report.golden.problems} places"
    lines.append(f"golden        {report.golden.cases} answers, {right}")
    reasons = ", ".join(report.trust.reasons) or "no reservations"
    lines.append(f"trust         {report.trust.grade} ({reasons})")
    return tuple(lines)


def _describe_run(run: RunFacts) -> str:
    validity = "" if run.valid else "  INVALID"
    shown = run.end_to_end
    if run.method.scenario is Scenario.OFFLINE or shown is None:
        return f"offline       {run.samples_per_second or 0:,.0f} answers/s{validity}"
    return (
        f"single stream p50 {_us(shown.p50)}, p90 {_us(shown.p90)}, p99 {_us(shown.p99)}, "
        f"engine p50 {_us(run.compute.p50)}, {run.method.queries:,} queries{validity}"
    )


def _us(duration_ns: int | None) -> str:
    return "-" if duration_ns is None else f"{duration_ns / 1000:,.0f} us"


def _write(out: Path, data: bytes) -> None:
    try:
        write_durably(out, data + b"\n")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror or error}") from error


def _keep(spool: Path | None, report: Report, data: bytes) -> tuple[str, ...]:
    if spool is None:
        return ("the report is not kept: no state folder is known",)
    try:
        dropped = Spool(spool).add(report.report_id, data)
    except DeviceError as error:
        # The measurement is worth more than its place in the spool.
        return (error.message,)
    return (f"{dropped} older reports were dropped from the spool",) if dropped else ()
