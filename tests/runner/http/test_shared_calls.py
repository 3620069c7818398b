"""Jobs that share a call of the engine, in the model's thread and in the event loop."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edgepack.runner.http.jobs import INLINE_LIMIT_NS
from edgepack.runner.http.messages import Response
from edgepack.runner.rows import CallSizes
from tests.runner.http.rooms import Room, in_room

_INDICES = {"name": "history", "datatype": "INT32"}


def _items(response: Response) -> list[str]:
    return [each["id"] for each in json.loads(response.body)["items"]]


def _long(room: Room) -> None:
    """Makes every call too long for the event loop, as far as anybody knows."""
    room.live.median_ns = 10 * INLINE_LIMIT_NS
    room.live.call_ns = ()


def test_what_waits_for_the_thread_goes_through_in_one_call(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        for item in (3, 7, 20, 11):
            room.submit(history=[f"sku-{item}"])
        assert room.live.pending == 4
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 4)
        assert room.engine.called == [1, 3]
        assert [_items(each) for each in room.answers] == [
            ["sku-3"],
            ["sku-7"],
            ["sku-20"],
            ["sku-11"],
        ]
        assert room.live.pending == 0

    room = in_room(tmp_path, script, max_batch=8)
    told = room.metrics()
    labels = 'model="session",precision="dynamic-int8",runtime="litert",version="1.2.0"'
    assert f'edgepack_batch_size_bucket{{le="1",{labels}}} 1.0' in told
    assert f'edgepack_batch_size_bucket{{le="4",{labels}}} 2.0' in told
    assert f"edgepack_batch_size_sum{{{labels}}} 4.0" in told
    assert 'nv_inference_count{model="session",version="1.2.0"} 4.0' in told
    assert 'nv_inference_exec_count{model="session",version="1.2.0"} 2.0' in told
    assert f"edgepack_inference_duration_seconds_count{{{labels}}} 2.0" in told
    assert f"edgepack_answers_total{{{labels}}} 4.0" in told
    assert f"edgepack_queue_duration_seconds_count{{{labels}}} 4.0" in told


def test_short_jobs_that_came_together_share_a_call_in_the_event_loop(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.engine.free.set()
        room.live.median_ns, room.live.call_ns = 1000, ((8, 2000.0),)
        for item in (3, 7, 20):
            assert room.submit(history=[f"sku-{item}"]) is None
        assert (room.live.pending, room.engine.called) == (3, [])
        await asyncio.sleep(0)
        assert room.engine.called == [3]
        assert [_items(each) for each in room.answers] == [["sku-3"], ["sku-7"], ["sku-20"]]
        assert room.live.pending == 0

    in_room(tmp_path, script, max_batch=8)


def test_the_event_loop_runs_no_more_of_them_than_is_short(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.engine.free.set()
        room.live.median_ns, room.live.call_ns = (
            0.6 * INLINE_LIMIT_NS,
            ((2, 0.7 * INLINE_LIMIT_NS),),
        )
        for item in (3, 7, 20, 11):
            room.submit(history=[f"sku-{item}"])
        await asyncio.sleep(0)
        assert len(room.answers) == 2
        await room.until(lambda: len(room.answers) == 4)
        assert room.engine.called == [2, 2]

    in_room(tmp_path, script, max_batch=2)


def test_the_three_ways_in_share_a_call(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        room.submit()
        rows = {**_INDICES, "shape": [2, 5], "data": [0, 0, 0, 0, 7, 0, 0, 0, 3, 20]}
        asked = [
            room.job(history=["sku-7"]),
            room.posted("/v2/models/session/infer", {"inputs": [rows]}),
            room.posted("/v1/models/session:predict", {"instances": [["sku-11"]]}),
            room.posted("/recommend", {"histories": [["sku-3"], [], ["sku-5", "gone"]]}),
        ]
        for job in asked:
            assert room.thread.submit(job, room.answers.append) is None
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 5)
        assert room.engine.called == [1, 6]
        _, single, v2, tfs, batch = (json.loads(each.body) for each in room.answers)
        assert single["items"][0]["id"] == "sku-7"
        outputs = {each["name"]: each for each in v2["outputs"]}
        assert outputs["items"]["shape"] == [2, 15]
        assert (outputs["items"]["data"][0], outputs["items"]["data"][15]) == (7, 20)
        assert tfs["predictions"][0]["items"][0] == "sku-11"
        assert [each["fallback"] for each in batch["answers"]] == [None, "empty history", None]
        assert [each["unknown"] for each in batch["answers"]] == [0, 0, 1]
        assert batch["answers"][2]["items"][0]["id"] == "sku-5"
        _check_statistics(room)

    in_room(tmp_path, script, max_batch=8)


def _check_statistics(room: Room) -> None:
    (stats,) = _get(room, "/v2/models/session/stats")["model_stats"]
    # Three rows of the tensor protocols, in one call that had six.
    assert (stats["inference_count"], stats["execution_count"]) == (3, 1)
    assert stats["inference_stats"]["success"]["count"] == 2
    assert [each["batch_size"] for each in stats["batch_stats"]] == [6]


def _get(room: Room, path: str) -> Any:
    from edgepack.runner.http.wire import Request

    answer = room.app.answer(Request("GET", path, {}, b"", keep_alive=True, http_1_0=False))
    assert isinstance(answer, Response)
    return json.loads(answer.body)


def test_one_bad_request_fails_alone(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        room.submit()
        room.engine.deadly = 13
        for item in (7, 13, 20):
            room.submit(history=[f"sku-{item}"])
        rows = {**_INDICES, "shape": [1, 5], "data": [0, 0, 0, 0, 13]}
        bad = room.posted("/v2/models/session/infer", {"inputs": [rows]})
        room.thread.submit(bad, room.answers.append)
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 5)
        assert [_items(each) for each in room.answers[1:4:2]] == [["sku-7"], ["sku-20"]]
        assert json.loads(room.answers[2].body)["fallback"] == "engine failure"
        assert (room.answers[4].status, [each.status for each in room.answers[:4]]) == (
            500,
            [200] * 4,
        )
        assert room.engine.called == [1, 4, 1, 1, 1, 1]
        assert "batch failed" in room.log.getvalue()

    in_room(tmp_path, script, max_batch=8)


def test_one_answer_that_makes_no_sense_does_not_spoil_the_others(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        room.submit()
        room.submit(history=["sku-1"])
        room.submit(history=["sku-30"])
        room.engine.senseless = 1
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 3)
        fallbacks = [json.loads(each.body)["fallback"] for each in room.answers]
        assert fallbacks == [None, "engine failure", None]
        assert room.engine.called == [1, 2]

    in_room(tmp_path, script, max_batch=8)


def test_a_request_of_more_rows_than_a_call_takes_goes_in_several(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.engine.free.set()
        histories = [[f"sku-{1 + i}"] for i in range(10)]
        job = room.posted("/recommend", {"histories": histories})
        response = room.app.run(job)
        assert room.engine.called == [4, 4, 2]
        answers = json.loads(response.body)["answers"]
        assert [each["items"][0]["id"] for each in answers] == [f"sku-{1 + i}" for i in range(10)]

    in_room(tmp_path, script, max_batch=4)


def test_calls_are_filled_up_to_the_sizes_the_engine_asks_for(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        room.live.sizes = CallSizes(8, (1, 2, 4, 8))
        for item in (3, 7, 20, 11):
            room.submit(history=[f"sku-{item}"])
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 4)
        assert room.engine.called == [1, 4]
        assert [_items(each)[0] for each in room.answers] == ["sku-3", "sku-7", "sku-20", "sku-11"]

    room = in_room(tmp_path, script, max_batch=8)
    # What fills a call up is nobody's row.
    assert 'nv_inference_count{model="session",version="1.2.0"} 4.0' in room.metrics()


def test_a_job_whose_deadline_passes_while_it_waits_takes_no_room_in_the_call(
    tmp_path: Path,
) -> None:
    async def script(room: Room) -> None:
        _long(room)
        room.submit()
        room.submit(history=["sku-7"], deadline_ms=5)
        room.submit(history=["sku-9"])
        await room.until(lambda: len(room.answers) == 1)
        assert json.loads(room.answers[0].body)["fallback"] == "deadline passed"
        room.engine.free.set()
        await room.until(lambda: room.live.pending == 0)
        assert room.engine.called == [1, 1]
        assert [_items(each) for each in room.answers[1:]] == [["sku-3"], ["sku-9"]]

    in_room(tmp_path, script, max_batch=8)


def test_a_delay_lets_later_ones_share_the_call(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.engine.free.set()
        room.submit()
        await asyncio.sleep(0.01)
        assert room.answers == []
        for item in (7, 9, 11):
            room.submit(history=[f"sku-{item}"])
        # Four rows fill the call, and the long delay is over.
        await room.until(lambda: len(room.answers) == 4)
        assert room.engine.called == [4]

    in_room(tmp_path, script, max_batch=4, delay_ns=20_000_000_000)


def test_a_deadline_ends_a_delay_in_time(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.engine.free.set()
        # What is left of the deadline but a tenth of a second.
        room.live.median_ns = 9.9e9
        room.submit(deadline_ms=10_000)
        await room.until(lambda: len(room.answers) == 1)
        assert json.loads(room.answers[0].body)["fallback"] is None

    in_room(tmp_path, script, max_batch=4, delay_ns=20_000_000_000)


def test_a_retired_model_is_unloaded_after_the_call_that_many_share(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        for item in (3, 7, 20):
            room.submit(history=[f"sku-{item}"])
        room.thread.retire(room.live)
        assert not room.engine.closed
        room.engine.free.set()
        await room.until(lambda: room.engine.closed)
        assert [_items(each) for each in room.answers] == [["sku-3"], ["sku-7"], ["sku-20"]]

    in_room(tmp_path, script, max_batch=8)


def test_a_model_retired_before_the_turn_of_the_loop_ends_still_answers(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.engine.free.set()
        room.live.median_ns, room.live.call_ns = 1000, ((8, 2000.0),)
        room.submit()
        room.submit(history=["sku-7"])
        room.thread.retire(room.live)
        assert room.live.engine is not None
        await asyncio.sleep(0)
        assert room.live.usable_engine is None
        assert [_items(each) for each in room.answers] == [["sku-3"], ["sku-7"]]

    in_room(tmp_path, script, max_batch=8)


def test_a_watchdogs_try_keeps_its_place_between_calls(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        room.submit()
        trying = asyncio.ensure_future(room.thread.try_model(room.live))
        await room.until(lambda: room.live.pending == 2)
        room.submit(history=["sku-7"])
        room.engine.free.set()
        assert await trying
        await room.until(lambda: len(room.answers) == 2)

    in_room(tmp_path, script, max_batch=8)


@pytest.mark.parametrize("max_batch", [1, 8])
def test_a_thread_that_is_closed_lets_go_of_what_waits(tmp_path: Path, max_batch: int) -> None:
    async def script(room: Room) -> None:
        _long(room)
        room.submit()
        trying = asyncio.ensure_future(room.thread.try_model(room.live))
        room.submit(history=["sku-7"])
        await room.until(lambda: room.live.pending == 3)
        room.thread.close()
        with pytest.raises(asyncio.CancelledError):
            await trying
        room.engine.free.set()
        await room.until(lambda: room.live.pending == 0)
        assert [_items(each) for each in room.answers] == [["sku-3"]]

    in_room(tmp_path, script, max_batch=max_batch)


def test_a_model_that_is_withdrawn_meanwhile_still_answers_what_has_begun(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        _long(room)
        for item in (3, 7, 20):
            room.submit(history=[f"sku-{item}"])
        room.live.withdraw()
        room.thread.retire(room.live)
        room.engine.free.set()
        await room.until(lambda: room.engine.closed)
        answers = [json.loads(each.body) for each in room.answers]
        assert [each["fallback"] for each in answers[1:]] == [None, None]
        assert room.engine.called == [1, 2]

    in_room(tmp_path, script, max_batch=8)


def test_a_full_call_leaves_room_for_the_next_one_to_fill_up(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        # Four fill a call at once, and hold one place of the four while it runs.
        for item in (3, 7, 20, 11):
            assert room.submit(history=[f"sku-{item}"]) is None
        await room.until(lambda: room.engine.waits)
        for item in (4, 8, 21):
            assert room.submit(history=[f"sku-{item}"]) is None
        refused = room.submit()
        assert refused is not None
        assert (refused.status, b"4 requests already wait" in refused.body) == (503, True)
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 7)
        assert room.engine.called == [4, 3]

    in_room(tmp_path, script, limit=4, max_batch=4, delay_ns=1_000_000_000)


def test_a_connection_that_cannot_take_its_answer_costs_the_others_nothing(tmp_path: Path) -> None:
    def broken(_: Response) -> None:
        raise OSError("no longer there")

    async def script(room: Room) -> None:
        _long(room)
        room.submit()
        for item, respond in ((7, broken), (20, room.answers.append), (11, room.answers.append)):
            room.thread.submit(room.job(history=[f"sku-{item}"]), respond)
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 3)
        assert [_items(each)[0] for each in room.answers] == ["sku-3", "sku-20", "sku-11"]
        assert room.live.pending == 0
        assert "no longer there" in room.log.getvalue()

    in_room(tmp_path, script, max_batch=8)


def test_short_jobs_that_came_at_once_are_not_refused_for_one_another(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        room.live.median_ns, room.live.call_ns = 1000, ((4, 2000.0),)
        room.engine.free.set()
        refused = [room.submit() for _ in range(30)]
        assert refused == [None] * 30
        await room.until(lambda: len(room.answers) == 30)

    room = in_room(tmp_path, script, limit=8, max_batch=4)
    assert {answer.status for answer in room.answers} == {200}


def test_a_fault_outside_the_model_fails_its_own_jobs_alone(tmp_path: Path) -> None:
    async def script(room: Room) -> None:
        good = room.app.run_together

        def fail(jobs: object, waited_ns: object) -> list[Response]:
            room.app.run_together = good  # type: ignore[method-assign]
            raise RuntimeError("a fault of ours")

        _long(room)
        room.submit()
        await room.until(lambda: room.engine.waits)
        room.app.run_together = fail  # type: ignore[method-assign]
        for _ in range(3):
            room.submit()
        room.engine.free.set()
        await room.until(lambda: len(room.answers) == 4)
        room.submit()
        await room.until(lambda: len(room.answers) == 5)
        assert room.live.pending == 0

    room = in_room(tmp_path, script, max_batch=4)
    assert sorted(answer.status for answer in room.answers) == [200, 200, 500, 500, 500]
    assert "a fault of ours" in room.log.getvalue()
