"""What deadlines and shared calls reckon with once the card has failed in service."""

from __future__ import annotations

import json
from pathlib import Path

from edgepack.runner.rows import CallSizes
from tests.runner.http.rooms import Room, in_room

#: No CPU takes so long for the simulated model.
_CARDS_NS = 9.9e9


def _reckon_as_on_a_card(room: Room) -> None:
    room.live.inline = False
    room.live.median_ns, room.live.call_ns = _CARDS_NS, ((8, _CARDS_NS),)
    room.live.sizes = CallSizes(8, (1, 8))


def test_the_first_call_after_a_fallback_is_followed_by_new_times(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _reckon_as_on_a_card(room)
        room.submit()
        room.engine.fall_back(call_ns=0)
        room.engine.free.set()
        await room.until(lambda: room.live.sizes.only is None)
        await room.until(lambda: room.live.pending == 0)
        assert len(room.answers) == 1
        assert room.live.expected_ns(8) < _CARDS_NS
        assert room.live.expected_ns(1) < _CARDS_NS
        told = [json.loads(line) for line in room.log.getvalue().splitlines()]
        assert [each["event"] for each in told if "measured" in each["event"]] == [
            "calls measured again"
        ]
        room.engine.called.clear()
        for _ in range(3):
            room.submit()
        await room.until(lambda: len(room.answers) == 4)
        assert sum(room.engine.called) == 3, "no call is filled up and none is measured again"

    in_room(tmp_path, script, max_batch=8)


def test_a_model_that_was_retired_meanwhile_is_unloaded_all_the_same(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _reckon_as_on_a_card(room)
        room.submit()
        room.engine.fall_back(call_ns=0)
        room.thread.retire(room.live)
        room.engine.free.set()
        await room.until(lambda: room.engine.closed)
        assert (len(room.answers), room.live.pending) == (1, 0)

    in_room(tmp_path, script, max_batch=8)


def test_a_cpu_that_fails_as_well_stops_nothing(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _reckon_as_on_a_card(room)
        room.engine.fall_back(call_ns=0)
        room.engine.failing = "no memory left"
        room.submit()
        room.engine.free.set()
        await room.until(lambda: "calls not measured again" in room.log.getvalue())
        room.engine.failing = None
        room.submit()
        await room.until(lambda: len(room.answers) == 2)
        fallbacks = [json.loads(each.body)["fallback"] for each in room.answers]
        assert fallbacks == ["engine failure", None]

    in_room(tmp_path, script, max_batch=8)
