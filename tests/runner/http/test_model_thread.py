"""Jobs beside the event loop, over a real thread: it opens no socket and starts no process."""

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

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        assert self.free.wait(_WAIT_S)
        return super().run(inputs)


class Room:
    """A model's thread, an engine that can be held, and what was answered."""

    def __init__(self, directory: Path, limit: int = 8) -> None:
        clock, log = SystemClock(), Log(io.StringIO(), SystemClock())
        self.engine = HeldEngine()

        def open_held(_: Release) -> HeldEngine:
            return self.engine

        self.live: LiveModel = open_live_model(simulated_release(directory), open_held, clock, log)
        self.app: App = make_app(LiveModels(self.live), clock, log)
        self.thread = ModelThread(self.app, limit)
        self.answers: list[Response] = []
        self.engine.free.clear()

    def job(self, **more: object) -> Job:
        body = json.dumps({"history": ["sku-3"], "k": 1, **more}).encode()
        headers = {"content-type": "application/json"}
        request = Request("POST", "/recommend", headers, body, keep_alive=True, http_1_0=False)
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


def in_room(directory: Path, script: Callable[[Room], Awaitable[None]], limit: int = 8) -> Room:
    async def run() -> Room:
        room = Room(directory, limit)
        try:
            await script(room)
        finally:
            room.engine.free.set()
            room.thread.close()
        return room

    return asyncio.run(run())


def test_jobs_are_answered_in_their_order(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        assert room.submit() is None
        assert room.submit(k=2) is None
        assert room.live.pending == 2
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 2)
        assert [len(json.loads(each.body)["items"]) for each in room.answers] == [1, 2]
        assert room.live.pending == 0

    room = in_room(tmp_path, script)
    assert 'edgepack_http_requests_total{code="200",route="/recommend"} 2.0' in room.metrics()


def test_one_too_many_is_refused_at_once_and_the_rest_is_answered(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        assert room.submit() is None
        assert room.submit() is None
        refusal = room.submit()
        assert refusal is not None
        assert refusal.status == 503
        assert ("Retry-After", "1") in refusal.headers
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 2)
        assert room.submit() is None
        await room.until(lambda: len(room.answers) == 3)

    in_room(tmp_path, script, limit=2)


def test_a_passed_deadline_is_answered_while_the_model_still_works(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        assert room.submit(deadline_ms=5) is None
        await room.until(lambda: len(room.answers) == 1)
        assert json.loads(room.answers[0].body)["fallback"] == "deadline passed"
        room.engine.free.set()
        await room.until(lambda: room.live.pending == 0)
        assert len(room.answers) == 1

    room = in_room(tmp_path, script)
    assert 'edgepack_http_requests_total{code="200",route="/recommend"} 1.0' in room.metrics()


def test_an_abandoned_job_does_not_reach_the_model(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        calls = room.engine.calls
        room.submit()
        room.submit(deadline_ms=5)
        await room.until(lambda: len(room.answers) == 1)
        room.engine.free.set()
        await room.until(lambda: room.live.pending == 0)
        assert room.engine.calls == calls + 1

    in_room(tmp_path, script)


def test_a_retired_model_is_unloaded_after_its_last_job(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.submit()
        room.thread.retire(room.live)
        assert not room.engine.closed
        room.engine.free.set()
        await room.until(lambda: room.engine.closed)
        assert json.loads(room.answers[0].body)["fallback"] is None

    in_room(tmp_path, script)


def test_an_idle_model_is_unloaded_at_once(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.thread.retire(room.live)
        assert room.engine.closed

    in_room(tmp_path, script)


def test_a_watchdogs_try_waits_behind_the_jobs_and_keeps_the_model_meanwhile(
    tmp_path: Path,
) -> None:
    async def script(room: Room) -> None:
        room.submit()
        trying = asyncio.ensure_future(room.thread.try_model(room.live))
        await room.until(lambda: room.live.pending == 2)
        room.thread.retire(room.live)
        assert (room.engine.closed, trying.done()) == (False, False)
        room.engine.free.set()
        assert await trying
        assert room.engine.closed
        assert room.answers[0].status == 200

    in_room(tmp_path, script)
