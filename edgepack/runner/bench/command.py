"""`edgepack-runner bench`: measures, writes the report to a file and into the spool, sums it up.

It is not aware of how measuring is done. Used by `edgepack.runner.main`.
"""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from edgepack import __version__
from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.report import Duration, Report, RunFacts, Scenario
from edgepack.formats.variants import RuntimeName
from edgepack.runner.bench.benchmark import Identity, Request, Surroundings, measure_release
from edgepack.runner.bench.daemon import check_daemon
from edgepack.runner.bench.device import read_device
from edgepack.runner.bench.environment import kernel_clock_synced
from edgepack.runner.bench.process import ThisProcess
from edgepack.runner.candidates import open_candidate
from edgepack.runner.choice.choosing import choose, keep_choice, why_not_now
from edgepack.runner.choice.process import launch_worker
from edgepack.runner.choice.settling import Box, Settled, settle_release, this_box
from edgepack.runner.clock import Clock
from edgepack.runner.drift.keeping import read_drift
from edgepack.runner.durable import write_durably
from edgepack.runner.engines import Engine
from edgepack.runner.release import Release, load_release
from edgepack.runner.reports.spool import Spool
from edgepack.runner.settings import Settings, SpoolSection, override
from edgepack.runner.state import BoxPaths, ensure_device_id

if TYPE_CHECKING:
    from edgepack.runner.gpu.nvml import Look

_NS_PER_US = 1000


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


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """What `bench` was asked to do.

    Attributes:
        variant: Which candidate; None: what was or is chosen on this box.
        threads: Threads inside one call; None likewise.
        duration: How long each scenario runs.
        scenarios: In this order, each once.
        choose: Measure the bundle's candidates anew, whatever was chosen before.
        while_serving: Measure although the daemon of this box is busy.
        out: A file to write the report to as well, or None.
        spool: How many reports may wait.
        batch_size: The most samples of one call; None: as many as the candidate takes.
        batch_delay_us: How long a query may be held back for others to share its call.
    """

    variant: str | None = None
    threads: int | None = None
    duration: Duration = Duration.QUICK
    scenarios: tuple[Scenario, ...] = tuple(Scenario)
    choose: bool = False
    while_serving: bool = False
    out: Path | None = None
    spool: SpoolSection = field(default_factory=SpoolSection)
    batch_size: int | None = None
    batch_delay_us: int = 0


def settings_of(options: argparse.Namespace, settings: Settings) -> BenchSettings:
    """Reads what was asked for from `bench`'s options and the box's settings."""
    asked = [Scenario(name) for name in options.scenario or ()]
    # Measured as it is served, unless something else was typed.
    serve = override(
        settings.serve, batch_size=options.batch_size, batch_delay_us=options.batch_delay_us
    )
    return BenchSettings(
        variant=options.candidate,
        threads=options.threads,
        duration=Duration(options.duration),
        # Once each, in the order that goes from the plain to the demanding.
        scenarios=tuple(each for each in Scenario if not asked or each in asked),
        choose=options.choose,
        while_serving=options.while_serving,
        out=options.out,
        spool=settings.spool,
        batch_size=serve.batch_size,
        batch_delay_us=serve.batch_delay_us,
    )


def run_bench(
    paths: BoxPaths, settings: BenchSettings, clock: Clock, started_ns: int
) -> BenchOutcome:
    """Measures the release on this box, choosing among its candidates first where none is chosen.

    Args:
        paths: The box's folders.
        settings: What was asked for.
        clock: Times everything.
        started_ns: The clock's reading at the program's first line.

    Returns:
        The report and what is to be told about it.

    Raises:
        BundleError: The release is damaged.
        DeviceError: The runtime cannot load or run it, or the daemon of this box is busy.
        ConfigError: `out` cannot be written, a choice was asked for together with what is to
            be chosen, or the candidate does not take so many samples in one call.
    """
    box = this_box()
    waiting_ns = clock.monotonic_ns()
    serving = check_daemon(paths.state, box.system, clock, while_serving=settings.while_serving)
    # Watching and choosing are no part of a start; reading and hashing the release are.
    waited_ns = clock.monotonic_ns() - waiting_ns
    settled, warnings, choosing_ns = _settle(paths, settings, box, clock)

    def open_settled(each: Release) -> Engine:
        return open_candidate(each, settled.options, paths.state)

    around = Surroundings(
        clock=clock,
        system=box.system,
        here=box.here,
        environment=box.environment,
        clock_synced=kernel_clock_synced,
        meter=ThisProcess(),
        open_engine=open_settled,
        started_ns=started_ns,
        waited_ns=waited_ns + choosing_ns,
        daemon_pid=None if serving is None else serving.pid or 0,
        ticks_per_s=os.sysconf("SC_CLK_TCK"),
        look_at_cards=_cards_of(settled.release, box),
    )
    identity = Identity(str(uuid.uuid4()), ensure_device_id(paths.state), __version__)
    request = Request(
        *(settings.duration, settings.scenarios, settled.options, settled.choice),
        batch_size=settings.batch_size,
        batch_delay_ns=settings.batch_delay_us * _NS_PER_US,
    )
    report = measure_release(settled.release, request, identity, around)
    if paths.state is not None:
        drift = read_drift(paths.state, settled.release.manifest, clock)
        report = replace(report, drift=drift)
    data = report.to_bytes()
    if settings.out is not None:
        _write(settings.out, data)
    warnings += _keep(paths.spool, settings.spool, report, data)
    return BenchOutcome(data, describe_report(report), warnings)


def _cards_of(release: Release, box: Box) -> Callable[[], Look] | None:
    if release.manifest.runtime.name is not RuntimeName.ONNXRUNTIME_GPU:
        return None
    from edgepack.runner.gpu.nvml import look_at_cards

    return lambda: look_at_cards(box.environment.get("CUDA_VISIBLE_DEVICES"))


def _settle(
    paths: BoxPaths, settings: BenchSettings, box: Box, clock: Clock
) -> tuple[Settled, tuple[str, ...], int]:
    asked = settings.variant is not None or settings.threads is not None
    if asked and settings.choose:
        raise ConfigError(
            "--choose measures every candidate and number of threads",
            hint="leave out --candidate and --threads, or --choose",
        )
    settled = settle_release(paths, box, variant=settings.variant, threads=settings.threads)
    warnings = () if settled.warning is None else (settled.warning,)
    if asked or (settled.choice is not None and not settings.choose):
        return settled, warnings, 0
    if read_device(box.system, box.here, box.environment).emulated:
        warnings = (*warnings, "nothing is chosen on an emulated CPU: its times say nothing")
        return settled, warnings, 0
    trouble = why_not_now(settled.release, box)
    if trouble is not None:
        return settled, (*warnings, trouble), 0
    begin_ns = clock.monotonic_ns()
    choice = choose(settled.release, box, clock, launch_worker)
    if choice is None:
        return settled, warnings, 0
    trouble = keep_choice(paths.state, choice)
    if trouble is not None:
        warnings = (*warnings, trouble)
    release = load_release(paths.release, choice.variant)
    followed = Settled(release, choice.options, choice.reason, choice)
    return followed, warnings, clock.monotonic_ns() - begin_ns


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
        f"({runtime.provider}, {runtime.options or EngineOptions(max(runtime.threads, 1))})",
        f"cold start    load {_us(report.cold.init_ns)}, first answer "
        f"{_us(report.cold.first_inference_ns)}",
    ]
    if runtime.provider_fallback is not None:
        lines.append(f"fallback      {runtime.provider_fallback}")
    if report.choice is not None:
        lines.append(f"choice        {report.choice.reason}")
    for run in report.runs:
        lines += _describe_run(run)
    right = "right" if report.golden.ok else f"WRONG in {report.golden.problems} places"
    lines.append(f"golden        {report.golden.cases} answers, {right}")
    reasons = ", ".join(report.trust.reasons) or "no reservations"
    lines.append(f"trust         {report.trust.grade} ({reasons})")
    return tuple(lines)


def _describe_run(run: RunFacts) -> list[str]:
    validity = "" if run.valid else "  INVALID"
    latency = run.end_to_end
    told = (
        ""
        if latency is None
        else f"p50 {_us(latency.p50)}, p90 {_us(latency.p90)}, p99 {_us(latency.p99)}"
    )
    match run.method.scenario:
        case Scenario.OFFLINE:
            lines = [f"offline       {run.samples_per_second or 0:,.0f} answers/s{validity}"]
        case Scenario.SINGLE_STREAM:
            lines = [
                f"single stream {told}, engine p50 {_us(run.compute.p50)}, "
                f"{run.method.queries:,} queries{validity}"
            ]
        case Scenario.SERVER:
            lines = [
                f"server        {run.method.target_qps or 0:,.0f} queries/s with 99 % under "
                f"{_us(run.method.latency_bound_ns)} ({run.method.bound_source}){validity}",
                f"              {told}, {run.method.queries:,} queries",
            ]
        case _:
            assert_never(run.method.scenario)
    if run.method.batch_sizes:
        calls = sum(count for _, count in run.method.batch_sizes)
        samples = sum(rows * count for rows, count in run.method.batch_sizes)
        lines.append(
            f"              {samples / calls:.1f} a call on average, at most {run.method.max_batch}"
        )
    return [*lines, *(f"              {error}" for error in run.errors)]


def _us(duration_ns: int | None) -> str:
    return "-" if duration_ns is None else f"{duration_ns / 1000:,.0f} us"


def _write(out: Path, data: bytes) -> None:
    try:
        write_durably(out, data + b"\n")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error.strerror or error}") from error


def _keep(
    folder: Path | None, limits: SpoolSection, report: Report, data: bytes
) -> tuple[str, ...]:
    if folder is None:
        return ("the report is not kept: no state folder is known",)
    try:
        spool = Spool(folder, max_bytes=limits.max_bytes, max_count=limits.max_count)
        dropped = spool.add(report.report_id, data)
    except DeviceError as error:
        # The measurement is worth more than its place in the spool.
        return (error.message,)
    return (f"{dropped} older reports were dropped from the spool",) if dropped else ()
