"""One benchmark of one release on this box, from the first load to a graded report.

Everything it looks at is passed in: clock, file tree, process meter, engine opener. It is not
aware of files it could write or of how a report travels. Used by `command`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgepack.formats.canonical import sha256_hex
from edgepack.formats.choice import Choice
from edgepack.formats.device import DeviceFacts, Environment
from edgepack.formats.options import EngineOptions
from edgepack.formats.quality import quality_from_metrics
from edgepack.formats.report import (
    BundleFacts,
    ColdFacts,
    CpuFacts,
    Duration,
    GoldenFacts,
    MemoryFacts,
    ModelFacts,
    Report,
    RunFacts,
    RuntimeFacts,
    Scenario,
)
from edgepack.formats.variants import RuntimeName
from edgepack.runner.bench.device import Platform, read_device
from edgepack.runner.bench.environment import ClockSynced, read_environment
from edgepack.runner.bench.gpu import gpu_facts
from edgepack.runner.bench.occupancy import (
    CoreTimes,
    other_percent,
    process_ticks,
    read_core_times,
)
from edgepack.runner.bench.plan import plan_for
from edgepack.runner.bench.process import ProcessMeter, Usage
from edgepack.runner.bench.scenarios import run_scenario
from edgepack.runner.bench.summary import summarise_run
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.bench.trust import Witness, grade_trust
from edgepack.runner.bench.workload import Workload, open_workload
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.engines.contract import Engine
from edgepack.runner.release import Release
from edgepack.runner.replay import ReplayOutcome, replay_golden

if TYPE_CHECKING:
    from edgepack.runner.gpu.nvml import Look

_NS = 1_000_000_000
_NOT_TOLD = "the system does not tell"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything around a benchmark that a test replaces.

    Attributes:
        clock: Times everything.
        system: The file tree that says what box this is.
        here: The platform Python runs on.
        environment: Environment variables.
        clock_synced: Asks the kernel about its clock.
        meter: Reads this process's counters.
        open_engine: Loads the release's candidate, importing the runtime.
        started_ns: The clock's reading at the program's first line.
        waited_ns: Time since then that no start would take, such as for making the choice.
        daemon_pid: The process of a daemon that serves the same release, or None.
        ticks_per_s: The kernel's clock ticks.
        look_at_cards: Asks the graphics cards; None where the runtime uses none.
    """

    clock: Clock
    system: SystemTree
    here: Platform
    environment: Mapping[str, str]
    clock_synced: ClockSynced
    meter: ProcessMeter
    open_engine: Callable[[Release], Engine]
    started_ns: int
    waited_ns: int = 0
    daemon_pid: int | None = None
    ticks_per_s: int = 100
    look_at_cards: Callable[[], Look] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is measured: how long, in which scenarios, and how the engine was opened.

    `batch_size` is the most samples of one call, None as many as the candidate takes;
    `batch_delay_ns` how long Server may hold a query back for others.
    """

    duration: Duration
    scenarios: tuple[Scenario, ...] = tuple(Scenario)
    options: EngineOptions = field(default_factory=EngineOptions)
    choice: Choice | None = None
    batch_size: int | None = None
    batch_delay_ns: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose report it is: its own random id, the box's, and this program's version."""

    report_id: str
    device_id: str | None
    edgepack: str


def measure_release(
    release: Release, request: Request, identity: Identity, around: Surroundings
) -> Report:
    """Measures a release.

    Args:
        release: The release, checked.
        request: What is measured.
        identity: Whose report it is.
        around: Everything it looks at.

    Returns:
        The report. Wrong golden answers do not end it: they are in it, and grade it X.

    Raises:
        BundleError: The release has no golden inputs, or its graph is not what it says.
        DeviceError: The runtime cannot load or run the model.
    """
    clock = around.clock
    device, before = _look_before(around)
    begin_wall, begin_ns = clock.utc_now(), clock.monotonic_ns()
    unloaded = around.meter.usage()
    engine, cold, replayed = _start_cold(release, around)
    loaded = around.meter.usage()
    begin = _read_counters(around)
    workload = open_workload(release, engine, clock, request.batch_size)
    runs = _run_all(release, request, workload, clock)
    end = _read_counters(around)
    after_runs = around.meter.usage()
    cpu = _cpu_facts(loaded, after_runs, begin, end)
    after = _look(around)[0]
    golden = _golden_facts(release, replayed)
    wall_s = (clock.utc_now() - begin_wall).total_seconds()
    elapsed_s = (clock.monotonic_ns() - begin_ns) / _NS
    witness = Witness(
        device=device,
        before=before,
        after=after,
        runs=runs,
        golden=golden,
        wall_s=wall_s,
        elapsed_s=elapsed_s,
        others_percent=cpu.other_percent,
        daemon_share=_daemon_share(around, begin, end),
        fallback=engine.fallback,
    )
    runtime = RuntimeFacts(
        name=RuntimeName(engine.name),
        version=engine.version,
        provider=engine.provider,
        threads=engine.threads,
        options=engine.options,
        provider_fallback=engine.fallback,
    )
    engine.close()
    return Report(
        report_id=identity.report_id,
        created=rfc3339(begin_wall),
        device_id=identity.device_id,
        edgepack=identity.edgepack,
        bundle=_bundle_facts(release),
        model=_model_facts(release),
        runtime=runtime,
        cold=cold,
        runs=runs,
        memory=_memory_facts(unloaded, loaded, after_runs, around.meter.peak_rss()),
        cpu=cpu,
        device=device,
        before=before,
        after=after,
        golden=golden,
        trust=grade_trust(witness),
        choice=request.choice,
    )


def _look_before(around: Surroundings) -> tuple[DeviceFacts, Environment]:
    device = read_device(around.system, around.here, around.environment)
    before, look = _look(around)
    gpu, reason = gpu_facts(look)
    missing = {name: why for name, why in device.missing.items() if name != "gpu"}
    if gpu is None:
        missing["gpu"] = reason
    return replace(device, gpu=gpu, missing=missing), before


def _look(around: Surroundings) -> tuple[Environment, Look | None]:
    """Reads the box's state and, where the runtime uses them, the cards'."""
    state = read_environment(around.system, around.clock_synced)
    if around.look_at_cards is None:
        return state, None
    look = around.look_at_cards()
    missing = {name: why for name, why in state.missing.items() if name != "gpu"}
    if look.trouble is None:
        return replace(state, gpu=look.states, missing=missing), look
    return replace(state, missing={**missing, "gpu": gpu_facts(look)[1]}), look


def _start_cold(release: Release, around: Surroundings) -> tuple[Engine, ColdFacts, ReplayOutcome]:
    """Loads the model, runs it for the first time and verifies it, timing each."""
    clock = around.clock
    age_ns = around.meter.age_ns()
    process_start_ns = None
    if age_ns is not None:
        process_start_ns = max(age_ns - (clock.monotonic_ns() - around.started_ns), 0)
    start_ns = clock.monotonic_ns()
    engine = around.open_engine(release)
    init_ns = clock.monotonic_ns() - start_ns
    start_ns = clock.monotonic_ns()
    open_workload(release, engine, clock).run(0)
    first_ns = clock.monotonic_ns() - start_ns
    replayed = replay_golden(release, engine, clock)
    ready_ns = None
    if process_start_ns is not None:
        ready_ns = process_start_ns + clock.monotonic_ns() - around.started_ns - around.waited_ns
    start_ns = clock.monotonic_ns()
    around.open_engine(release).close()
    warm_load_ns = clock.monotonic_ns() - start_ns
    missing = {}
    if process_start_ns is None:
        missing = dict.fromkeys(("process_start_ns", "time_to_ready_ns"), _NOT_TOLD)
    cold = ColdFacts(process_start_ns, init_ns, first_ns, warm_load_ns, ready_ns, missing)
    return engine, cold, replayed


def _run_all(
    release: Release, request: Request, workload: Workload, clock: Clock
) -> tuple[RunFacts, ...]:
    input_sha256 = _golden_sha256(release)
    budget_ms = release.manifest.target.p99_budget_ms
    runs = []
    for scenario in request.scenarios:
        plan = plan_for(
            *(scenario, request.duration, budget_ms),
            max_batch=workload.max_batch,
            delay_ns=request.batch_delay_ns,
        )
        runs.append(summarise_run(run_scenario(plan, workload, clock), input_sha256))
    return tuple(runs)


@dataclass(frozen=True, slots=True)
class _Counters:
    """Counters at one moment: the clock, all cores' ticks, the serving daemon's ticks."""

    now_ns: int
    cores: CoreTimes | None
    daemon_ticks: int | None


def _read_counters(around: Surroundings) -> _Counters:
    pid = around.daemon_pid
    ticks = None if pid is None else process_ticks(around.system, pid)
    return _Counters(around.clock.monotonic_ns(), read_core_times(around.system), ticks)


def _daemon_share(around: Surroundings, begin: _Counters, end: _Counters) -> float | None:
    if around.daemon_pid is None:
        return None
    taken = _difference(begin.daemon_ticks, end.daemon_ticks)
    # A daemon that cannot be watched may have been busy.
    if taken is None or end.now_ns <= begin.now_ns:
        return 1.0
    return taken / around.ticks_per_s * _NS / (end.now_ns - begin.now_ns)


def _golden_sha256(release: Release) -> str:
    name = release.candidate.golden
    listed = {record.path: record.sha256 for record in release.manifest.files}
    return listed.get(name) or sha256_hex(release.golden.to_bytes())


def _golden_facts(release: Release, replayed: ReplayOutcome) -> GoldenFacts:
    return GoldenFacts(
        sha256=_golden_sha256(release),
        cases=replayed.cases,
        problems=len(replayed.problems),
        ok=replayed.ok,
    )


def _bundle_facts(release: Release) -> BundleFacts:
    target = release.manifest.target
    return BundleFacts(release.id, target.name, target.sha256)


def _model_facts(release: Release) -> ModelFacts:
    model, candidate = release.manifest.model, release.candidate
    return ModelFacts(
        name=model.name,
        version=model.version,
        kind=model.kind,
        architecture=model.architecture,
        variant=candidate.variant,
        format=candidate.format,
        precision=candidate.precision,
        sha256=candidate.sha256,
        size_bytes=candidate.size,
        vocabulary_sha256=model.vocabulary_sha256,
        sequence_length=model.sequence_length,
        catalogue_size=model.catalogue_size,
        top_k=model.top_k,
        quality=quality_from_metrics(candidate.quality),
    )


def _memory_facts(
    unloaded: Usage, loaded: Usage, after_runs: Usage, peak_rss: int | None
) -> MemoryFacts:
    values = {
        "rss_before_load": unloaded.rss,
        "rss_after_load": loaded.rss,
        "rss_after_runs": after_runs.rss,
        "rss_peak": peak_rss,
        "pss": after_runs.pss,
        "swap_used": after_runs.swap,
    }
    return MemoryFacts(**values, missing=_missing(values))


def _cpu_facts(before: Usage, after: Usage, begin: _Counters, end: _Counters) -> CpuFacts:
    elapsed_ns = end.now_ns - begin.now_ns
    user_ns = _difference(before.user_ns, after.user_ns)
    system_ns = _difference(before.system_ns, after.system_ns)
    counts = {
        "user_ns": user_ns,
        "system_ns": system_ns,
        "voluntary_switches": _difference(before.voluntary, after.voluntary),
        "involuntary_switches": _difference(before.involuntary, after.involuntary),
    }
    percent = own_ns = None
    if user_ns is not None and system_ns is not None and elapsed_ns:
        own_ns = user_ns + system_ns
        percent = round(100 * own_ns / elapsed_ns, 1)
    others = other_percent(begin.cores, end.cores, own_ns, elapsed_ns)
    missing = _missing({**counts, "average_percent": percent, "other_percent": others})
    return CpuFacts(**counts, average_percent=percent, missing=missing, other_percent=others)


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(after - before, 0)


def _missing(values: Mapping[str, float | None]) -> dict[str, str]:
    return {name: _NOT_TOLD for name, value in values.items() if value is None}
