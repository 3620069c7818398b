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
from edgepack.runner.live.timing import time_calls, warm_up
from edgepack.runner.log import Log
from edgepack.runner.recommender import open_recommender
from edgepack.runner.release import Release
from edgepack.runner.replay import replay_golden
from edgepack.runner.rows import check_batch_size, sizes_of

EngineOpener = Callable[[Release], Engine]


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
    return LiveModel(
        *(release, engine, recommender, median_ns, sizes, call_ns),
        inline=not on_card,
        measured_on=engine.provider,
    )
