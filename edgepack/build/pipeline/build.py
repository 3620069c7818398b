"""The main job: a model in, one verified bundle per target out.

It only says who is asked what, in which order; every answer is made and cached elsewhere. Used
by `edgepack build`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgepack.build.artifacts import NO_NEEDS, Needs, Progress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.choose import Choice, VariantRow, Verdict, choose, choose_tuned
from edgepack.build.pack import PackedBundle, bundle_filename, pack_bundle
from edgepack.build.pipeline.assemble import Release, assemble
from edgepack.build.pipeline.judge import Bench, judge
from edgepack.build.pipeline.prove import Prover
from edgepack.build.pipeline.request import (
    BuildRequest,
    BuildResult,
    BuiltBundle,
    check_out,
)
from edgepack.build.pipeline.variants import MeasuredVariant, convert_and_measure
from edgepack.build.preflight import check_bundle_size
from edgepack.build.targets import Target, list_targets, load_target, make_site
from edgepack.build.targets.lock import current_lock
from edgepack.build.whole_file import place_whole
from edgepack.formats.errors import (
    ConfigError,
    ConversionError,
    DeviceError,
    EdgepackError,
    MissingToolError,
    QualityError,
)
from edgepack.formats.variants import ALL_VARIANTS, VariantSpec, runtime_format


def run_build(request: BuildRequest, cache: Cache, progress: Progress) -> BuildResult:
    """Builds the bundles of one model for some targets.

    Args:
        request: What is asked for.
        cache: Keeps every step's result by content.
        progress: Told of each step.

    Returns:
        The bundles that were written, a row for every variant tried, and the reason for each
        target that got no bundle.

    Raises:
        ConfigError: A target, the project, the data or an option is wrong.
        ConversionError: The model file cannot be read.
        MissingToolError: Wheels cannot be fetched, or a tool is not there.
    """
    targets = [load_target(name, request.search) for name in target_names(request)]
    if request.tuned is not None and request.tuned.target not in {each.name for each in targets}:
        raise ConfigError(
            f"--tuned: it is for target {request.tuned.target}, which this build does not make",
            hint=f"give --target {request.tuned.target}",
        )
    check_out(request.out)
    specs, needing = variant_specs(request, targets)
    # Wheels before training: a target that cannot be had is known in seconds, not minutes.
    benches = {target.name: runtime_benches(request, target, cache, progress) for target in targets}
    prover = Prover(cache, mirror=request.mirror)
    model, everything = convert_and_measure(
        request.model, specs, cache, request.jobs, progress, needing
    )
    bundles, rows, failures = [], [], {}
    for target in targets:
        prover.prepare(target)
        measured = made_for(target, everything)
        judged = judge(model, benches[target.name], measured, prover, request.jobs, progress)
        try:
            judged, bundle = _ship(
                request, model, target, benches, judged, measured, cache, progress
            )
        except EdgepackError as error:
            failures[target.name] = error
        else:
            bundles.append(bundle)
        rows += judged
    return BuildResult(model, tuple(bundles), tuple(rows), failures)


def target_names(request: BuildRequest) -> list[str]:
    """Returns the targets of a build, each once; `all` stands for every one."""
    names = dict.fromkeys(request.targets)
    if "all" in names:
        names = dict.fromkeys(list_targets(request.search))
    return list(names)


def made_for(target: Target, measured: Sequence[MeasuredVariant]) -> list[MeasuredVariant]:
    """Picks the files that were made for what the target needs."""
    return [each for each in measured if each.variant.needs == target.needs(each.variant.spec)]


def variant_specs(
    request: BuildRequest, targets: Sequence[Target]
) -> tuple[list[VariantSpec], list[tuple[VariantSpec, Needs]]]:
    """Returns the variants that every box takes, and those of which a target needs more.

    Args:
        request: The build.
        targets: Its targets.

    Raises:
        ConfigError: It asks for a variant that none of them allows.
    """
    allowed = {spec for target in targets for spec in target.variants}
    if request.variants is not None:
        unknown = [spec.name for spec in request.variants if spec not in allowed]
        if unknown:
            raise ConfigError(
                f"--variant {', '.join(unknown)}: no target of this build allows it",
                hint="`edgepack targets show NAME` lists what it allows",
            )
        allowed &= set(request.variants)
    wanted = {(spec, target.needs(spec)) for target in targets for spec in target.variants}
    kinds = sorted({needs for _, needs in wanted})
    made = [(s, n) for n in kinds for s in ALL_VARIANTS if s in allowed and (s, n) in wanted]
    plain = [spec for spec, needs in made if needs == NO_NEEDS]
    return plain, [each for each in made if each[1] != NO_NEEDS]


def runtime_benches(
    request: BuildRequest, target: Target, cache: Cache, progress: Progress
) -> list[Bench]:
    """Unpacks the wheels of a target's runtimes, or of the ones that a build asks for.

    Args:
        request: The build.
        target: One of its targets.
        cache: Keeps the wheels.
        progress: Told of each runtime.

    Raises:
        ConfigError: The target has no runtime that the build asks for.
        MissingToolError: Wheels cannot be fetched.
    """
    runtimes = target.runtimes
    if request.runtime is not None:
        runtimes = (target.runtime(request.runtime),)
    if request.variants is not None:
        wanted = {spec.format for spec in request.variants}
        runtimes = tuple(each for each in runtimes if runtime_format(each.name) in wanted)
        if not runtimes:
            raise ConfigError(
                f"target {target.name} has no runtime for {', '.join(sorted(wanted))} files",
                hint="choose another --variant or --runtime",
            )
    task = f"Wheels for {target.name}"
    progress.start(task, len(runtimes))
    benches = []
    for runtime in runtimes:
        site = make_site(target, runtime, cache)
        wheels = current_lock(target, cache).runtimes[runtime.name].wheels
        benches.append(Bench(target, runtime, site, wheels))
        progress.advance(task)
    progress.finish(task)
    return benches


def _ship(
    request: BuildRequest,
    model: TrainedModel,
    target: Target,
    benches: Mapping[str, Sequence[Bench]],
    rows: list[VariantRow],
    measured: Sequence[MeasuredVariant],
    cache: Cache,
    progress: Progress,
) -> tuple[list[VariantRow], BuiltBundle]:
    """Chooses and packs one target's bundle."""
    able = rows
    if not request.allow_unverified:
        able = [row for row in rows if row.verdict is not Verdict.NOT_RUN]
    choice = _choose(request, model, target, able)
    if choice is None:
        raise nothing_to_ship(target, rows)
    bench = next(
        each for each in benches[target.name] if each.runtime.name is choice.rows[0].runtime
    )
    golden = {each.variant.spec.name: each.golden for each in measured if each.golden is not None}
    release = assemble(
        model, target, bench.runtime, bench.site, choice.rows, golden, choice.reason, choice.options
    )
    packed = _pack(release, target, request.out, cache, progress)
    bundle = BuiltBundle(
        path=packed.path,
        size_bytes=packed.size_bytes,
        sha256=packed.sha256,
        target=target.name,
        runtime=bench.runtime.name,
        chosen=choice.rows[0].variant.spec.name,
        reason=choice.reason,
    )
    return _marked(rows, choice), bundle


def _choose(
    request: BuildRequest, model: TrainedModel, target: Target, able: Sequence[VariantRow]
) -> Choice | None:
    candidates = request.candidates or target.candidates
    tuned = request.tuned
    if tuned is None or tuned.target != target.name:
        return choose(able, candidates=candidates, evidence=request.evidence.get(target.name))
    if tuned.model_sha256 != model.sha256:
        raise ConfigError(
            f"--tuned: it is of {tuned.model} {tuned.model_version}, another model than this "
            f"{model.name} {model.version} (or the same, trained on other data)",
            hint="run `edgepack tune` with the model and data of this build",
        )
    return choose_tuned(able, tuned, candidates=candidates) if able else None


def _pack(
    release: Release, target: Target, out: Path, cache: Cache, progress: Progress
) -> PackedBundle:
    """Writes the bundle under its name, unless it is larger than the target allows."""
    path = out / bundle_filename(release.manifest)
    # In the cache first: a bundle that is too large must not replace one that is not, and what
    # a killed build leaves there is found and removed.
    with cache.temporary_directory("bundle-") as folder:
        packed = pack_bundle(
            release.manifest,
            release.files,
            folder / path.name,
            cache=cache,
            components=release.components,
            progress=progress,
        )
        if problems := check_bundle_size(target, packed.size_bytes):
            raise DeviceError(str(problems[0]))
        # So that a box can start it as a program.
        place_whole(packed.path, path, mode=0o755)
    return replace(packed, path=path)


def _marked(rows: Sequence[VariantRow], choice: Choice) -> list[VariantRow]:
    """Writes the choice into the rows."""
    packed = {id(row) for row in choice.rows}

    def mark(row: VariantRow) -> VariantRow:
        if row is choice.rows[0]:
            reason = row.variant.explained(choice.reason)
            return replace(row, verdict=Verdict.CHOSEN, reason=reason)
        if id(row) in packed:
            reason = row.variant.explained("packed too, for the box to measure")
            return replace(row, reason=reason)
        return row

    return [mark(row) for row in rows]


def nothing_to_ship(target: Target, rows: Sequence[VariantRow]) -> EdgepackError:
    """Makes the error of a target for which no variant may ship.

    Its class is that of the last hurdle any variant reached, which is the one to mend.
    """
    hurdles = (
        (Verdict.NOT_RUN, MissingToolError, "could not be run here"),
        (Verdict.FAILS_ON_TARGET, DeviceError, "do not run on the target"),
        (Verdict.FAILS_GATE, QualityError, "fail the quality gate"),
        (Verdict.FAILS_ON_HOST, DeviceError, "do not run on this host"),
        (Verdict.REFUSED, DeviceError, "are refused by the runtime"),
        (Verdict.NOT_CONVERTED, ConversionError, "could not be converted"),
    )
    for verdict, kind, words in hurdles:
        reached = [row for row in rows if row.verdict is verdict]
        if reached:
            detail = "".join(
                f"\n  {row.runtime} {row.runtime_version}, {row.variant.spec.name}: {row.reason}"
                for row in reached
            )
            hint = None
            if verdict is Verdict.NOT_RUN:
                hint = "`edgepack doctor` says what is missing; or add --allow-unverified"
            return kind(
                f"no variant may ship for {target.name}: "
                f"{len(reached)} of {len(rows)} {words}{detail}",
                hint=hint,
            )
    return ConfigError(f"no runtime of {target.name} takes any variant of this build")
