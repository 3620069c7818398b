"""The road of `edgepack tune`: convert, judge, measure in turns, rank, choose.

Everything up to the verdicts is what `edgepack build` does, from the same cache. Used by the
command line.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edgepack import __version__
from edgepack.build.artifacts import Progress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.choose import VariantRow, Verdict
from edgepack.build.emulate.verification import hash_release, host_python
from edgepack.build.pack import tuning_files
from edgepack.build.pipeline.assemble import Release, assemble
from edgepack.build.pipeline.build import (
    made_for,
    nothing_to_ship,
    runtime_benches,
    variant_specs,
)
from edgepack.build.pipeline.judge import Bench, judge
from edgepack.build.pipeline.prove import Prover, lay_out
from edgepack.build.pipeline.request import BuildRequest
from edgepack.build.pipeline.variants import MeasuredVariant, convert_and_measure
from edgepack.build.targets import Target, load_target
from edgepack.build.tune.cells import Cell, KeptBlocks, TunePlan, cells_of
from edgepack.build.tune.measuring import (
    Course,
    InThisThread,
    Measured,
    Place,
    TunedRelease,
    merge_places,
)
from edgepack.build.tune.ranking import MARGIN, quality_name, rank_machine
from edgepack.formats.errors import ConfigError, DeviceError, EdgepackError, MissingToolError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.tuning import LeftOut, Machine, TunedMachine, Tuning
from edgepack.formats.variants import RuntimeName

#: Opens places that can measure some releases, and closes them.
OpenPlaces = Callable[[Sequence[TunedRelease]], AbstractContextManager[list[Place]]]
_KIND: Final = "tuned"
_ON_THE_BOX: Final = (
    "measure on such a box: `edgepack-runner bench --choose` there measures a bundle's candidates "
    "(`edgepack build --candidates N`), or start `dask worker` on it and give --dask ADDRESS"
)


@dataclass(frozen=True, slots=True)
class TuneRequest:
    """One call of `edgepack tune`.

    Attributes:
        build: The model, the one target, and what narrows the variants.
        plan: How long every cell is measured.
        threads: The only numbers of threads; None: 1, 2 and 4.
        margin: What counts as equally fast.
        created: When, RFC 3339; empty for now.
    """

    build: BuildRequest
    plan: TunePlan
    threads: tuple[int, ...] | None = None
    margin: float = MARGIN
    created: str = ""


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What tuning came to.

    Attributes:
        tuning: Every machine's ranking.
        lost: Places that could not measure or were lost, with why.
    """

    tuning: Tuning
    lost: Mapping[str, EdgepackError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A target's variants with their verdicts, and what a release of them needs."""

    target: Target
    model: TrainedModel
    benches: tuple[Bench, ...]
    rows: tuple[VariantRow, ...]
    golden: Mapping[str, GoldenSet]

    @property
    def able(self) -> list[VariantRow]:
        """The rows that may ship, or could not be run here, and whose runtime uses no card.

        Measuring replays the golden answers, so that a real box is proof enough.
        """
        return [
            row
            for row in self.rows
            if (row.verdict.may_ship or row.verdict is Verdict.NOT_RUN)
            and row.runtime is not RuntimeName.ONNXRUNTIME_GPU
        ]


def run_tune(
    request: TuneRequest, cache: Cache, progress: Progress, open_places: OpenPlaces | None = None
) -> TuneResult:
    """Tunes a model for a target.

    Args:
        request: What is asked for.
        cache: Keeps every step's result, and every block that was measured.
        progress: Told of each step.
        open_places: Where laps run; None: on this host, one after the other.

    Returns:
        The rankings, one for each machine that measured.

    Raises:
        ConfigError: The target, the project, the data or an option is wrong.
        DeviceError: The target is of another kind than this host, or nothing could be measured.
        QualityError: No variant passes the gate.
        MissingToolError: This host has not the target's Python, or wheels cannot be fetched.
    """
    target = _target(request.build)
    if open_places is None:
        check_host(target)
    judged = _judge(request.build, target, cache, progress)
    if not judged.able:
        raise nothing_to_ship(target, judged.rows)
    kept = KeptBlocks(cache.root / _KIND)
    with ExitStack() as stack:
        releases = _lay_out(judged, cache, stack)
        opened = open_places or (lambda each: _this_host(each, kept.folder))
        places = stack.enter_context(opened(releases))
        measured, cells, lost = _measure_all(request, judged, places, releases, kept, progress)
    machines = _rank(measured, cells, request)
    if not machines:
        raise next(iter(lost.values()))
    return TuneResult(_tuning(request, judged, machines), lost)


def check_host(target: Target) -> None:
    """Finds out that this host cannot measure for a target.

    Args:
        target: The kind of box.

    Raises:
        DeviceError: Its CPU or its cards are not this host's.
        MissingToolError: This host has not its Python.
    """
    if platform.machine() != target.arch:
        raise DeviceError(
            f"target {target.name} is {target.arch} and this host is {platform.machine()}: it "
            "could only be emulated, and emulated times say nothing",
            hint=_ON_THE_BOX,
        )
    if host_python(target) is None:
        raise MissingToolError(
            f"no python{target.python} here, which the boxes of target {target.name} have",
            hint=f"install python{target.python}, or {_ON_THE_BOX}",
        )


def _target(request: BuildRequest) -> Target:
    if len(request.targets) != 1 or request.targets[0] == "all":
        raise ConfigError("one target is tuned at a time", hint="give one --target")
    target = load_target(request.targets[0], request.search)
    names = {runtime.name for runtime in target.runtimes}
    if request.runtime is not None:
        names &= {request.runtime}
    if names == {RuntimeName.ONNXRUNTIME_GPU}:
        raise ConfigError(
            f"target {target.name} computes on a graphics card, whose options only a box with "
            "one can measure",
            hint="`edgepack-runner bench --choose` measures them there",
        )
    return target


def _judge(request: BuildRequest, target: Target, cache: Cache, progress: Progress) -> _Judged:
    specs, needing = variant_specs(request, [target])
    benches = runtime_benches(request, target, cache, progress)
    prover = Prover(cache, mirror=request.mirror)
    model, everything = convert_and_measure(
        request.model, specs, cache, request.jobs, progress, needing
    )
    prover.prepare(target)
    measured = made_for(target, everything)
    rows = judge(model, benches, measured, prover, request.jobs, progress)
    return _Judged(target, model, tuple(benches), tuple(rows), _golden_of(measured))


def _golden_of(measured: Sequence[MeasuredVariant]) -> dict[str, GoldenSet]:
    return {each.variant.spec.name: each.golden for each in measured if each.golden is not None}


def _lay_out(judged: _Judged, cache: Cache, stack: ExitStack) -> list[TunedRelease]:
    """Writes a release for each runtime, with every variant of it that may ship."""
    releases = []
    for bench in judged.benches:
        rows = [row for row in judged.able if row.runtime is bench.runtime.name]
        if not rows:
            continue
        release = assemble(
            judged.model, judged.target, bench.runtime, bench.site, rows, judged.golden,
            "being tuned",
        )  # fmt: skip
        files = {**release.files, **tuning_files()}
        folder = stack.enter_context(cache.temporary_directory("tune-"))
        lay_out(Release(release.manifest, files, release.components), folder)
        releases.append(TunedRelease(bench.runtime.name, hash_release(folder), folder))
    return releases


@contextmanager
def _this_host(releases: Sequence[TunedRelease], keep: Path) -> Iterator[list[Place]]:
    folders = {each.runtime: str(each.folder) for each in releases}
    yield [Place("this host", (InThisThread(),), folders, keep)]


def _measure_all(
    request: TuneRequest,
    judged: _Judged,
    places: Sequence[Place],
    releases: Sequence[TunedRelease],
    kept: KeptBlocks,
    progress: Progress,
) -> tuple[list[Measured], dict[str, list[Cell]], dict[str, EdgepackError]]:
    """Measures at every place at once; machines do not disturb each other."""
    target = judged.target
    needs = {"arch": target.arch, "python": target.python}
    sites = {bench.runtime.name: bench.site for bench in judged.benches}
    stop = threading.Event()
    lost: dict[str, EdgepackError] = {}
    cells: dict[str, list[Cell]] = {}

    def course(place: Place) -> Course:
        return Course(place, releases, needs, request.plan, kept, stop.is_set)

    def find(place: Place) -> tuple[Place, Machine] | None:
        try:
            return place, course(place).find_machine()
        except EdgepackError as error:
            lost[place.name] = error
            return None

    def measure(found: tuple[Place, Machine]) -> Measured | None:
        place, machine = found
        cores = machine.device.cores_allowed or 1
        mine = cells_of(judged.able, sites, judged.golden, request.plan, cores, request.threads)
        cells[machine.key] = mine
        try:
            return course(place).measure(mine, machine, progress)
        except EdgepackError as error:
            lost[place.name] = error
            return None

    if len(places) == 1:
        # In this thread, which Ctrl-C ends at once.
        known = [each for each in map(find, places) if each is not None]
        return [each for each in map(measure, known) if each is not None], cells, lost
    with ThreadPoolExecutor(max(len(places), 1)) as pool:
        try:
            known = [each for each in pool.map(find, places) if each is not None]
            measured = [each for each in pool.map(measure, merge_places(known)) if each is not None]
        except BaseException:
            # Else leaving the pool would wait for all that is still to be measured.
            stop.set()
            raise
    return measured, cells, lost


def _rank(
    measured: Sequence[Measured], cells: Mapping[str, list[Cell]], request: TuneRequest
) -> list[TunedMachine]:
    ranked = []
    for each in measured:
        for key, machine in each.machines.items():
            blocks = {cell: found for (where, cell), found in each.blocks.items() if where == key}
            problems = {cell: why for (where, cell), why in each.problems.items() if where == key}
            # An executor that chose another machine by itself measured the first one's cells.
            mine = cells.get(key) or list(dict.fromkeys((*blocks, *problems)))
            ranked.append(
                rank_machine(machine, mine, blocks, problems, request.plan, request.margin)
            )
    return sorted(ranked, key=lambda each: each.machine.key)


def _tuning(request: TuneRequest, judged: _Judged, machines: Sequence[TunedMachine]) -> Tuning:
    able = {id(row) for row in judged.able}
    left_out = tuple(
        LeftOut(
            row.runtime,
            row.variant.spec.name,
            str(row.verdict) if not row.verdict.may_ship else "not measured",
            row.reason if not row.verdict.may_ship else "only a box with a card can measure it",
        )
        for row in judged.rows
        if id(row) not in able
    )
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Tuning(
        created=request.created or now,
        edgepack=__version__,
        target=judged.target.name,
        model=judged.model.name,
        model_version=judged.model.version,
        model_sha256=judged.model.sha256,
        duration=request.plan.duration,
        rounds=request.plan.rounds,
        margin=request.margin,
        quality_name=quality_name([row.quality for row in judged.able]),
        machines=tuple(machines),
        left_out=left_out,
    )
