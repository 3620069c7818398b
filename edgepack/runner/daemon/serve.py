"""Starts the daemon: load, check, warm up, verify, listen; and stops it without losing a request.

A release that is damaged or answers wrongly is refused before the port is opened. It is not aware
of HTTP's syntax or of routes. Used by `edgepack-runner serve`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgepack.formats.errors import ConfigError
from edgepack.runner.daemon.around import Around
from edgepack.runner.daemon.background import ScheduledBench
from edgepack.runner.daemon.handover import inherited_socket, replace_process
from edgepack.runner.daemon.models import open_models
from edgepack.runner.daemon.reload import Outcome, Reloader
from edgepack.runner.drift.keeping import DriftKeeper, make_counters
from edgepack.runner.health import StateHealth, watch_state
from edgepack.runner.http.app import App
from edgepack.runner.http.server import Server, bind
from edgepack.runner.http.serving import make_app
from edgepack.runner.live.model import LiveModel
from edgepack.runner.reports.enrolling import enrolled_hub
from edgepack.runner.reports.sender import make_sender
from edgepack.runner.reports.spool import Spool
from edgepack.runner.reports.tokens import read_token
from edgepack.runner.serving_mark import mark_serving
from edgepack.runner.settings import Settings
from edgepack.runner.state import ensure_device_id

_NS_PER_MS = 1_000_000
_NS_PER_US = 1000
_PROOF_LIMIT_S = 300.0
_SHOWN_CHARACTERS = 300


def serve(around: Around) -> int:
    """Serves a release until SIGTERM or SIGINT.

    Args:
        around: Everything it needs.

    Returns:
        The exit status: 0 after SIGTERM, 130 after SIGINT. After a handover it does not return.

    Raises:
        BundleError: The release is damaged.
        DeviceError: The runtime cannot load or run it.
        QualityError: The golden answers do not come out here.
        ConfigError: A setting cannot be followed, such as a port that is taken.
    """
    settings = around.settings.serve
    # A reload that is asked for while this starts is made afterwards; it must not end the process.
    early: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: early.append(number))
    token = read_token(settings.token_file)
    models = open_models(around)
    try:
        deadline_ms = settings.deadline_ms
        app = make_app(
            models,
            around.clock,
            around.log,
            token=token,
            deadline_ns=None if deadline_ms is None else int(deadline_ms * _NS_PER_MS),
        )
        # What is loaded now stays for good: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        daemon = Daemon(around, app, early)
        status = asyncio.run(daemon.run())
    finally:
        for _, live in models.all():
            live.unload()
    if daemon.heir is not None:
        # The heir follows signals as soon as it can; until then none may end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        launcher = _launcher(around)
        if launcher is not None:
            replace_process(launcher, around.arguments, around.environment, daemon.heir)
    return status


class Daemon:
    """One run of the server and of what runs beside it.

    Attributes:
        heir: The listening socket that another process is to take over, or None.
    """

    def __init__(self, around: Around, app: App, early: list[int]) -> None:
        """Makes a daemon.

        Args:
            around: Everything it needs.
            app: What it serves.
            early: Holds something when a reload was asked for before it ran.
        """
        self.heir: socket.socket | None = None
        self._early = early
        self._around = around
        self._app = app
        self._keeper: DriftKeeper | None = None

    async def run(self) -> int:
        """Serves until a signal ends it; see `serve`."""
        around, log = self._around, self._around.log
        listener = self._open_port()
        delay_ns = around.settings.serve.batch_delay_us * _NS_PER_US
        server = Server(self._app, around.settings.limits, delay_ns)
        await server.listen(listener, _open_tls(around.settings))
        host, port = listener.getsockname()[:2]
        scheme = "http" if around.settings.serve.tls_key is None else "https"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        with ExitStack() as stack:
            tls = scheme == "https"
            stack.enter_context(mark_serving(around.paths.state, port, around.clock, tls=tls))
            # `install` makes one; a container starts with an empty state.
            ensure_device_id(around.paths.state)
            self._start_sender(stack)
            self._start_counting(stack)
            # Whoever is told that it listens may send a signal the next moment.
            ended = self._follow_signals(server, listener)
            log.write("info", "listening", url=url)
            around.supervisor.notifier.ready(f"listening on {url}")
            tasks = [asyncio.ensure_future(each) for each in self._beside(server)]
            number = await ended
            for task in tasks:
                task.cancel()
            if self.heir is None:
                around.supervisor.notifier.stopping(f"stopping on {number.name}")
            log.write("info", "stopping", signal=number.name)
            await server.stop()
            log.write("info", "stopped")
        return 130 if number is signal.SIGINT else 0

    def _open_port(self) -> socket.socket:
        around, wanted = self._around, self._around.settings.serve
        passed = inherited_socket(around.environment, os.getpid())
        if passed is not None:
            return passed
        try:
            return bind(wanted.host, wanted.port)
        except OSError as error:
            raise ConfigError(
                f"{wanted.host}:{wanted.port} cannot be bound: {error.strerror or error}",
                hint="name another address with --host and --port; --port 0 takes a free one",
            ) from error

    def _start_sender(self, stack: ExitStack) -> None:
        around = self._around
        if around.paths.spool is None:
            return
        limits = around.settings.spool
        spool = Spool(around.paths.spool, max_bytes=limits.max_bytes, max_count=limits.max_count)
        sender = make_sender(
            spool, enrolled_hub(around.settings.hub, around.paths.state), around.clock, around.log
        )
        if sender is not None:
            self._app.metrics.reports = lambda: sender.state
            sender.start()
            stack.callback(sender.stop)

    def _start_counting(self, stack: ExitStack) -> None:
        around = self._around
        if around.paths.state is not None:
            self._keeper = DriftKeeper(around.paths.state, around.clock, around.log)
        self._count_drift(self._app.models.stable)
        if self._keeper is not None:
            self._keeper.start()
            # The last thing to happen: after a handover the heir goes on from what it writes.
            stack.callback(self._keeper.stop)

    def _count_drift(self, live: LiveModel) -> None:
        manifest = live.release.manifest
        if live.recommender is None:
            self._app.drift = None
        elif self._keeper is None:
            self._app.drift = make_counters(manifest, self._around.clock)
        else:
            self._keeper.save()
            self._app.drift = self._keeper.follow(manifest)

    async def _follow_choice(self) -> None:
        if self._app.reload is not None:
            await self._app.reload()

    def _show_state(self, health: StateHealth) -> None:
        self._app.metrics.state = health

    def _beside(self, server: Server) -> list[Coroutine[Any, Any, None]]:
        around, app = self._around, self._app
        launcher, state = _launcher(around), around.paths.state
        beside = [around.supervisor.watch(lambda: server.try_model(app.models.stable))]
        if state is not None:
            beside.append(watch_state(state, around.log, self._show_state))
        if around.settings.bench.every_days is not None and launcher and state:
            duration = around.settings.bench.duration
            command = [str(launcher), "bench", "--duration", duration, "--while-serving"]
            command += ["--state", str(state)]
            if around.settings.source is not None:
                command += ["--config", str(around.settings.source)]
            schedule = ScheduledBench(
                around.settings.bench,
                state,
                command,
                lambda: app.last_job_ns,
                self._follow_choice,
                around.clock,
                around.log,
            )
            beside.append(schedule.run())
        return beside

    def _follow_signals(
        self, server: Server, listener: socket.socket
    ) -> asyncio.Future[signal.Signals]:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[signal.Signals] = loop.create_future()
        reloader = self._make_reloader(server)
        reloads: set[asyncio.Task[Outcome]] = set()

        def end(number: signal.Signals) -> None:
            if not ended.done():
                ended.set_result(number)

        async def reload() -> Outcome:
            notifier = self._around.supervisor.notifier
            notifier.reloading(self._around.clock.monotonic_ns() // 1000, "reloading")
            outcome = await reloader.reload()
            if outcome is Outcome.RESTART:
                # A second descriptor of the same socket: its queue outlives the server.
                self.heir = listener.dup()
                end(signal.SIGHUP)
            else:
                notifier.ready(f"reload: {outcome}")
            return outcome

        def begin_reload() -> asyncio.Task[Outcome]:
            task = asyncio.ensure_future(reload())
            reloads.add(task)
            task.add_done_callback(reloads.discard)
            return task

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, number)
        loop.add_signal_handler(signal.SIGHUP, begin_reload)
        if self._early:
            begin_reload()
        self._app.reload = begin_reload
        return ended

    def _make_reloader(self, server: Server) -> Reloader:
        launcher = _launcher(self._around)
        prove = None if launcher is None else functools.partial(_prove, launcher)
        retire = server.model_thread.retire
        return Reloader(self._around, self._app, retire, prove, self._count_drift)


def _open_tls(settings: Settings) -> Any:
    certificate, key = settings.serve.tls_certificate, settings.serve.tls_key
    if certificate is None or key is None:
        return None
    from edgepack.runner.http.tls import open_tls

    return open_tls(certificate, key)


def _launcher(around: Around) -> Path | None:
    """Returns the launcher of the root that is served; None when a release was named."""
    root = around.environment.get("EDGEPACK_ROOT")
    if not root or around.paths.release != Path(root) / "current":
        return None
    launcher = Path(root) / "bin" / "edgepack-runner"
    return launcher if launcher.is_file() else None


async def _prove(launcher: Path) -> str | None:
    """Runs the current release's own `check`; returns what is wrong, or None."""
    try:
        process = await asyncio.create_subprocess_exec(
            str(launcher),
            "check",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return f"{launcher} cannot be run: {error.strerror or error}"
    wait: Awaitable[tuple[bytes, bytes]] = process.communicate()
    try:
        _, said = await asyncio.wait_for(wait, _PROOF_LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"it did not answer within {_PROOF_LIMIT_S:.0f} s"
    if process.returncode == 0:
        return None
    words = " ".join(said.decode("utf-8", "replace").split())[-_SHOWN_CHARACTERS:]
    return words or f"status {process.returncode}"
