"""Loads a release, replays its golden answers and warms it up; what fails is refused.

It is not aware of HTTP. Used by the server when it starts and when it reloads.
"""

from __future__ import annotations

from collections.abc import Callable

from edgepack.formats.errors import QualityError
from edgepack.formats.variants import RuntimeName
from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Engine
from edgepack.runner.live.model import LiveModel
from edgepack.runner.log import Log
from edgepack.runner.recommender import Recommender, open_recommender
from edgepack.runner.release import Release
from edgepack.runner.replay import golden_arrays, golden_rows, replay_golden
from edgepack.runner.rows import (
    CallSizes,
    check_batch_size,
    powers_of_two,
    run_rows,
    sizes_of,
)

EngineOpener = Callable[[Release], Engine]

_WARMUP_RUNS = 30
_CALL_RUNS = 5
_WARMUP_LIMIT_NS = 2_000_000_000


def open_live_model(
    release: Release,
    open_engine: EngineOpener,
    clock: Clock,
    log: Log,
    *,
    batch_size: int | None = None,
) -> LiveModel:
    """Makes a loaded release ready to answer.

    Args:
        release: The release, its files checked.
        open_engine: Loads its candidate.
        clock: Times the warm-up and, later, the engine's calls.
        log: Gets one line when it is ready.
        batch_size: The most rows of one call; None: as many as the candidate takes.

    Returns:
        The live model; its engine is closed again when something is wrong with it.

    Raises:
        BundleError: The graph is not what the manifest says.
        DeviceError: The runtime cannot load or run it.
        QualityError: A golden answer differs.
        ConfigError: The candidate does not take `batch_size` rows in one call.
    """
    most = check_batch_size(release.candidate, batch_size)
    engine = open_engine(release)
    try:
        outcome = replay_golden(release, engine, clock)
        if not outcome.ok:
            raise QualityError(
                f"{release.candidate.variant} answers wrongly on this box: {outcome.problems[0]}",
                hint="edgepack-runner check lists every difference",
            )
        recommender = None
        if release.vocabulary is not None:
            recommender = open_recommender(release, engine, clock)
        median_ns = warm_up(release, engine, recommender, clock)
        sizes = sizes_of(engine, most)
        call_ns = time_calls(release, engine, sizes, clock)
    except BaseException:
        engine.close()
        raise
    model = release.manifest.model
    log.write(
        "info",
        "release verified",
        model=model.name,
        version=model.version,
        variant=release.candidate.variant,
        runtime=f"{engine.name} {engine.version}",
        provider=engine.provider,
        **({} if engine.fallback is None else {"fallback": engine.fallback}),
        threads=engine.threads,
        golden_cases=outcome.cases,
        median_us=round(median_ns / 1000, 1),
        batch_size=sizes.most,
    )
    on_card = release.manifest.runtime.name is RuntimeName.ONNXRUNTIME_GPU
    return LiveModel(*(release, engine, recommender, median_ns, sizes, call_ns), inline=not on_card)


def time_calls(
    release: Release, engine: Engine, sizes: CallSizes, clock: Clock
) -> tuple[tuple[int, float], ...]:
    """Measures what calls of several rows take.

    Args:
        release: Whose golden inputs are run.
        engine: The loaded model.
        sizes: How many rows one call may have.
        clock: Times the runs.

    Returns:
        Median nanoseconds by rows: of 2, 4, 8 … up to the most, as far as two seconds go.

    Raises:
        DeviceError: The runtime failed.
    """
    found: list[tuple[int, float]] = []
    begin_ns = clock.monotonic_ns()
    for rows in sizes.only or powers_of_two(sizes.most):
        if rows == 1 or clock.monotonic_ns() - begin_ns > _WARMUP_LIMIT_NS:
            continue
        arrays = golden_rows(release, rows)
        durations = []
        for _ in range(_CALL_RUNS):
            _, calls = run_rows(engine, arrays, sizes, clock.monotonic_ns)
            durations.append(sum(call.duration_ns for call in calls))
        found.append((rows, float(sorted(durations)[_CALL_RUNS // 2])))
    return tuple(found)


def warm_up(
    release: Release, engine: Engine, recommender: Recommender | None, clock: Clock
) -> float:
    """Runs golden inputs until the caches are warm.

    Args:
        release: Whose golden inputs are run.
        engine: The loaded model.
        recommender: The same model behind its vocabulary; None for a tensor model.
        clock: Times the runs.

    Returns:
        Median nanoseconds inside the engine, of at most 30 runs or two seconds.

    Raises:
        DeviceError: The runtime failed.
    """
    durations = []
    begin_ns = clock.monotonic_ns()
    for i in range(_WARMUP_RUNS):
        if recommender is not None:
            histories = release.golden.sequences
            durations.append(recommender.rank(histories[i % len(histories)].history).compute_ns)
        else:
            cases = release.golden.tensors
            arrays = golden_arrays(cases[i % len(cases)])
            start_ns = clock.monotonic_ns()
            engine.run(arrays)
            durations.append(clock.monotonic_ns() - start_ns)
        if clock.monotonic_ns() - begin_ns > _WARMUP_LIMIT_NS:
            break
    # The `statistics` module would bring 300 kB of fractions and decimals along.
    return sorted(durations)[len(durations) // 2]
