"""Starts the server: load, check, warm up, verify, listen; and stops it without losing a request.

A release that is damaged or answers wrongly is refused before the port is opened. It is not aware
of HTTP's syntax or of routes. Used by `edgepack-runner serve`.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from edgepack.formats.errors import ConfigError, QualityError
from edgepack.runner.choice.choosing import settle_release, this_box
from edgepack.runner.clock import Clock
from edgepack.runner.engines import Engine, open_engine
from edgepack.runner.http.app import App, ServedModel
from edgepack.runner.http.limits import Limits
from edgepack.runner.http.metrics import Metrics, ModelLabels
from edgepack.runner.http.server import Server
from edgepack.runner.log import Log
from edgepack.runner.recommender import Recommender, open_recommender
from edgepack.runner.release import Release
from edgepack.runner.replay import golden_arrays, replay_golden
from edgepack.runner.state import BoxPaths

#: Up to this median a call in the event loop delays others less than handing it to a thread,
#: which costs about 100 us there and back.
_INLINE_LIMIT_NS = 300_000
_WARMUP_RUNS = 30
_WARMUP_LIMIT_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `serve` was asked to do.

    Attributes:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        variant: Which candidate; by default the one chosen on this box, else the first.
        threads: Threads inside one call; by default as chosen on this box, else one.
        limits: Limits of the HTTP server.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    variant: str | None = None
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)


def serve(
    paths: BoxPaths, settings: ServeSettings, clock: Clock, announce: Callable[[str], None]
) -> int:
    """Serves a release until SIGTERM or SIGINT.

    Args:
        paths: The box's folders.
        settings: What was asked for.
        clock: Times the engine and the answers.
        announce: Gets one line when the port is open.

    Returns:
        The exit status: 0 after SIGTERM, 130 after SIGINT.

    Raises:
        BundleError: The release is damaged.
        DeviceError: The runtime cannot load or run it.
        QualityError: The golden answers do not come out here.
        ConfigError: The port cannot be opened.
    """
    log = Log(sys.stderr, clock)
    settled = settle_release(paths, this_box(), variant=settings.variant, threads=settings.threads)
    release = settled.release
    if settled.warning is not None:
        log.write("warning", "choice passed over", reason=settled.warning)
    engine = open_engine(release.manifest.runtime.name, release.model_path, settled.options)
    try:
        app = prepare_app(release, engine, clock, log)
        return asyncio.run(_run(app, settings, log, announce))
    finally:
        engine.close()


def prepare_app(release: Release, engine: Engine, clock: Clock, log: Log) -> App:
    """Verifies a loaded release and measures how fast it is.

    Args:
        release: The release.
        engine: Its candidate, loaded.
        clock: Times the warm-up and, later, the answers.
        log: Where the app writes.

    Returns:
        The app, ready to answer.

    Raises:
        BundleError: The graph is not what the manifest says.
        DeviceError: The runtime failed.
        QualityError: A golden answer differs.
    """
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
    model = release.manifest.model
    log.write(
        "info",
        "release verified",
        model=model.name,
        version=model.version,
        variant=release.candidate.variant,
        runtime=f"{engine.name} {engine.version}",
        provider=engine.provider,
        golden_cases=outcome.cases,
        median_us=round(median_ns / 1000, 1),
    )
    labels = ModelLabels(model.name, model.version, engine.name, str(release.candidate.precision))
    served = ServedModel(model.name, model.version, release.candidate.variant, model.kind)
    metrics = Metrics(labels)
    metrics.set_ready(ready=True)
    offload = median_ns > _INLINE_LIMIT_NS
    return App(served, recommender, metrics, clock, log, offload=offload)


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
    return statistics.median(durations)


async def _run(app: App, settings: ServeSettings, log: Log, announce: Callable[[str], None]) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[signal.Signals] = loop.create_future()

    def end(number: signal.Signals) -> None:
        if not ended.done():
            ended.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    server = Server(app, settings.limits)
    try:
        port = await server.listen(settings.host, settings.port)
    except OSError as error:
        raise _cannot_bind(settings, error) from error
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    announce(f"edgepack-runner: listening on http://{host}:{port}")
    log.write("info", "listening", host=settings.host, port=port)
    number = await ended
    log.write("info", "stopping", signal=number.name)
    await server.stop()
    log.write("info", "stopped")
    return 130 if number is signal.SIGINT else 0


def _cannot_bind(settings: ServeSettings, error: OSError) -> ConfigError:
    return ConfigError(
        f"{settings.host}:{settings.port} cannot be bound: {error.strerror or error}",
        hint="name another address with --host and --port; --port 0 takes a free one",
    )
