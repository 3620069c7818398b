"""A model's thread over an engine that can be held, for tests: no socket, no process."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from edgepack.runner.clock import SystemClock
from edgepack.runner.engines.contract import Array
from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.messages import Response
from edgepack.runner.http.model_thread import ModelThread
from edgepack.runner.http.serving import make_app
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.models import LiveModels
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.log import Log
from edgepack.runner.release import Release
from tests.runner.simulators import SimulatedEngine, simulated_release

_WAIT_S = 30.0


class HeldEngine(SimulatedEngine):
    """An engine that answers only after it is let go."""

    def __init__(self, *, batched: bool = False) -> None:
        super().__init__(batched=batched)
        self.free = threading.Event()
        self.free.set()
        #: Whether a call has begun and is held.
        self.waits = False

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        self.waits = not self.free.is_set()
        assert self.free.wait(_WAIT_S)
        return super().run(inputs)


class Room:
    """A model's thread, an engine that can be held, and what was answered."""

    def __init__(
        self, directory: Path, limit: int = 8, *, max_batch: int = 1, delay_ns: int = 0
    ) -> None:
        self.log = io.StringIO()
        clock, log = SystemClock(), Log(self.log, SystemClock())
        self.engine = HeldEngine(batched=max_batch > 1)
        release = simulated_release(directory, max_batch=max_batch)

        def open_held(_: Release) -> HeldEngine:
            return self.engine

        self.live: LiveModel = open_live_model(release, open_held, clock, log)
        self.app: App = make_app(LiveModels(self.live), clock, log)
        self.thread = ModelThread(self.app, limit, delay_ns)
        self.answers: list[Response] = []
        self.engine.free.clear()
        self.engine.called.clear()

    def job(self, **more: object) -> Job:
        return self.posted("/recommend", {"history": ["sku-3"], "k": 1, **more})

    def posted(self, path: str, document: object) -> Job:
        headers = {"content-type": "application/json"}
        body = json.dumps(document).encode()
        request = Request("POST", path, headers, body, keep_alive=True, http_1_0=False)
        job = self.app.answer(request)
        assert isinstance(job, Job)
        return job

    def submit(self, **more: object) -> Response | None:
        return self.thread.submit(self.job(**more), self.answers.append)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_WAIT_S):
            while not condition():
                await asyncio.sleep(0.001)

    def metrics(self) -> str:
        return self.app.metrics.exposition()[0].decode()


def in_room(
    directory: Path,
    script: Callable[[Room], Awaitable[None]],
    limit: int = 8,
    *,
    max_batch: int = 1,
    delay_ns: int = 0,
) -> Room:
    """Runs a script in a room, whose engine is held when it begins."""

    async def run() -> Room:
        room = Room(directory, limit, max_batch=max_batch, delay_ns=delay_ns)
        try:
            await script(room)
        finally:
            room.engine.free.set()
            room.thread.close()
        return room

    return asyncio.run(run())
