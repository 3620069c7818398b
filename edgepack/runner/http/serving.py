"""Starts the server: load, check, warm up, verify, listen; and stops it without losing a request.

A release that is damaged or answers wrongly is refused before the port is opened. It is not aware
of HTTP's syntax or of routes. Used by `edgepack-runner serve`.
"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from edgepack.formats.errors import ConfigError
from edgepack.runner.clock import Clock
from edgepack.runner.engines import Engine, open_engine
from edgepack.runner.health import watch_state
from edgepack.runner.http.app import App
from edgepack.runner.http.limits import Limits
from edgepack.runner.http.metrics import Metrics
from edgepack.runner.http.operations import add_operation_routes
from edgepack.runner.http.recommend.routes import add_recommend_routes
from edgepack.runner.http.server import Server
from edgepack.runner.live.models import LiveModels
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.log import Log
from edgepack.runner.notify import Supervisor
from edgepack.runner.release import Release, load_release
from edgepack.runner.state import BoxPaths


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `serve` was asked to do.

    Attributes:
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        variant: Which candidate; the release's first by default.
        threads: Threads inside one call.
        limits: Limits of the HTTP server.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    variant: str | None = None
    threads: int = 1
    limits: Limits = field(default_factory=Limits)


def serve(
    paths: BoxPaths, settings: ServeSettings, clock: Clock, log: Log, supervisor: Supervisor
) -> int:
    """Serves a release until SIGTERM or SIGINT.

    Args:
        paths: The box's folders.
        settings: What was asked for.
        clock: Times the engine and the answers.
        log: Gets one line for each step; `listening`, with the url, when the port is open.
        supervisor: The service manager, told when the port answers and that the model does.

    Returns:
        The exit status: 0 after SIGTERM, 130 after SIGINT.

    Raises:
        BundleError: The release is damaged.
        DeviceError: The runtime cannot load or run it.
        QualityError: The golden answers do not come out here.
        ConfigError: The port cannot be opened.
    """

    def open_candidate(release: Release) -> Engine:
        name = release.manifest.runtime.name
        return open_engine(name, release.model_path, settings.threads)

    release = load_release(paths.release, settings.variant)
    models = LiveModels(open_live_model(release, open_candidate, clock, log))
    try:
        app = make_app(models, clock, log)
        look = functools.partial(watch_state, paths.state, log, app.metrics.set_state)
        return asyncio.run(_run(app, settings, log, supervisor, look))
    finally:
        for _, live in models.all():
            live.unload()


def make_app(models: LiveModels, clock: Clock, log: Log) -> App:
    """Puts the routes over the models in service.

    Args:
        models: What is served.
        clock: Times answers.
        log: Where the app writes.

    Returns:
        The app, ready to answer.
    """
    metrics = Metrics()
    for _, live in models.all():
        metrics.enter(live)
    app = App(models, metrics, clock, log)
    add_recommend_routes(app)
    add_operation_routes(app)
    metrics.set_ready(ready=True)
    return app


async def _run(
    app: App,
    settings: ServeSettings,
    log: Log,
    supervisor: Supervisor,
    look: Callable[[], Coroutine[None, None, None]],
) -> int:
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
    url = f"http://{host}:{port}"
    log.write("info", "listening", url=url)
    supervisor.notifier.ready(f"listening on {url}")
    watches = [
        loop.create_task(supervisor.watch(lambda: server.try_model(app.models.stable))),
        loop.create_task(look()),
    ]
    number = await ended
    for watch in watches:
        watch.cancel()
    supervisor.notifier.stopping(f"stopping on {number.name}")
    log.write("info", "stopping", signal=number.name)
    await server.stop()
    log.write("info", "stopped")
    return 130 if number is signal.SIGINT else 0


def _cannot_bind(settings: ServeSettings, error: OSError) -> ConfigError:
    return ConfigError(
        f"{settings.host}:{settings.port} cannot be bound: {error.strerror or error}",
        hint="name another address with --host and --port; --port 0 takes a free one",
    )
