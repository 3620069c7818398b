"""Jobs beside the event loop, over a real thread: it opens no socket and starts no process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.runner.http.rooms import Room, in_room


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
