"""Laps on executors: rounds in turns, crashes, lost workers, and going on where it was."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.artifacts import SilentProgress
from edgepack.build.tune.cells import Cell, KeptBlocks
from edgepack.build.tune.measuring import (
    Course,
    InThisThread,
    Measured,
    Place,
    TunedRelease,
    merge_places,
)
from edgepack.formats.errors import DeviceError
from edgepack.formats.variants import RuntimeName
from tests.build.tune.cells import PLAN, SimulatedWorker, block, cell, machine

_CELLS = [
    cell("tflite-fp32", 1),
    cell("tflite-fp32", 2),
    cell("tflite-dynamic-int8", 1),
    cell("onnx-fp32", 1),
]


class Trip:
    """A course at one place, with blocks kept in a folder."""

    def __init__(
        self,
        folder: Path,
        *workers: SimulatedWorker,
        keep: Path | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.kept = KeptBlocks(folder / "tuned")
        runtimes = (RuntimeName.LITERT, RuntimeName.ONNXRUNTIME)
        releases = [TunedRelease(name, "0" * 64, folder) for name in runtimes]
        place = Place("a place", workers, {name: str(folder) for name in runtimes}, keep)
        self.course = Course(place, releases, {}, PLAN, self.kept, stopped)

    def measure(self, cells: list[Cell] | None = None) -> Measured:
        found = self.course.find_machine()
        return self.course.measure(_CELLS if cells is None else cells, found, SilentProgress())


def test_every_cell_has_a_block_in_every_round_and_rounds_begin_elsewhere(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    measured = Trip(tmp_path, worker).measure()
    assert {each: len(found) for (_, each), found in measured.blocks.items()} == dict.fromkeys(
        _CELLS, PLAN.rounds
    )
    rounds = [number for number, _ in worker.laps]
    assert rounds == sorted(rounds)
    first = [names[0] for _, names in worker.laps if len(names) == 3]
    assert set(first) == {"tflite-fp32/1", "tflite-fp32/2", "tflite-dynamic-int8/1"}
    # The runtimes take turns at beginning a round.
    begins = {number: next(n for r, n in worker.laps if r == number) for number in rounds}
    assert {names[0].partition("-")[0] for names in begins.values()} == {"tflite", "onnx"}


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    before = Trip(tmp_path, SimulatedWorker(p50_ns=30_000)).measure()
    worker = SimulatedWorker(p50_ns=1)
    after = Trip(tmp_path, worker).measure()
    assert worker.laps == []
    assert after.blocks == before.blocks


def test_one_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    stopped = SimulatedWorker(p50_ns=30_000)
    stopped.lost_after = 7
    with pytest.raises(DeviceError, match="was lost while it measured") as caught:
        Trip(tmp_path, stopped).measure()
    assert "the same command again" in str(caught.value.hint)
    rest = SimulatedWorker(p50_ns=40_000)
    measured = Trip(tmp_path, rest).measure()
    assert len(stopped.laps) + len(rest.laps) == 2 * PLAN.rounds
    assert all(len(found) == PLAN.rounds for found in measured.blocks.values())
    medians = {each.p50_ns for found in measured.blocks.values() for each in found.values()}
    assert medians == {30_000, 40_000}


def test_a_damaged_block_is_measured_again(tmp_path: Path) -> None:
    Trip(tmp_path, SimulatedWorker()).measure()
    files = sorted((tmp_path / "tuned").rglob("*.json"))
    files[0].write_bytes(files[0].read_bytes()[:-9])
    files[1].write_text("{}")
    worker = SimulatedWorker()
    Trip(tmp_path, worker).measure()
    assert sum(len(names) for _, names in worker.laps) == 2


def test_a_block_of_another_machine_is_no_block_of_this_one(tmp_path: Path) -> None:
    Trip(tmp_path, SimulatedWorker(machine("first"))).measure()
    second = SimulatedWorker(machine("second"))
    measured = Trip(tmp_path, second).measure()
    assert len(second.laps) == 2 * PLAN.rounds
    assert {key for key, _ in measured.blocks} == {"second"}
    # Not even one that was put into the other's folder.
    kept = KeptBlocks(tmp_path / "tuned")
    source = tmp_path / "tuned" / _CELLS[0].key / "first" / "000.json"
    (tmp_path / "tuned" / _CELLS[0].key / "second" / "000.json").write_bytes(source.read_bytes())
    assert kept.find(_CELLS[0], "second", 0) is None


def test_a_cell_that_crashes_is_out_and_the_others_are_measured(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.crashes = {"tflite-fp32/2": -11}
    measured = Trip(tmp_path, worker).measure()
    assert measured.problems == {("this-machine", _CELLS[1]): "crashed with SIGSEGV"}
    for each in (_CELLS[0], _CELLS[2], _CELLS[3]):
        assert len(measured.blocks["this-machine", each]) == PLAN.rounds
    # It is not tried again in this run; in the next it is.
    tried = [names for _, names in worker.laps if "tflite-fp32/2" in names]
    assert len(tried) == 1
    mended = SimulatedWorker()
    Trip(tmp_path, mended).measure()
    assert {name for _, names in mended.laps for name in names} == {"tflite-fp32/2"}


def test_a_runtime_that_never_begins_is_out_with_its_last_words(tmp_path: Path) -> None:
    class Broken(SimulatedWorker):
        def _run(self, request: object) -> dict[str, object]:
            assert isinstance(request, dict)
            if request["trials"]:
                return {"refused": None, "status": 1, "output": "", "errors": "no libfoo.so"}
            return super()._run(request)

    measured = Trip(tmp_path, Broken()).measure()
    assert set(measured.problems.values()) == {"ended its process with status 1: no libfoo.so"}
    assert len(measured.problems) == len(_CELLS)


def test_a_lap_whose_time_is_up_ends_with_what_there_is(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.crashes = {"tflite-dynamic-int8/1": 0}
    measured = Trip(tmp_path, worker).measure()
    assert "took longer than" in measured.problems["this-machine", _CELLS[2]]
    assert len(measured.blocks["this-machine", _CELLS[3]]) == PLAN.rounds


def test_a_cell_that_answers_wrongly_is_not_tried_in_the_next_round(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.wrong = {"onnx-fp32/1": "answers wrongly on this box"}
    measured = Trip(tmp_path, worker).measure()
    found = measured.blocks["this-machine", _CELLS[3]]
    assert [each.problem for each in found.values()] == ["answers wrongly on this box"]


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.chatter = 'INFO: Created delegate\n[1]\n{"trial": 99}\n{"trial": "x"}\n{"tri\n'
    measured = Trip(tmp_path, worker).measure()
    assert len(measured.blocks) == len(_CELLS)


def test_a_place_that_is_another_kind_of_box_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    worker = SimulatedWorker()
    worker.refuses = "it is x86_64, the target is aarch64"
    with pytest.raises(DeviceError, match="the target is aarch64") as caught:
        Trip(tmp_path, worker).measure()
    assert caught.value.hint == "measure on a box of the target"


def test_an_emulated_place_is_an_error(tmp_path: Path) -> None:
    worker = SimulatedWorker(machine(emulated=True))
    with pytest.raises(DeviceError, match="emulated times say nothing"):
        Trip(tmp_path, worker).measure()
    assert worker.laps == []


def test_a_course_that_nobody_waits_for_ends(tmp_path: Path) -> None:
    class Silent(SimulatedWorker):
        def submit(self, fn: object, /, *args: object, **_: object) -> Future[Any]:
            return Future()

    trip = Trip(tmp_path, Silent(), stopped=lambda: True)
    with pytest.raises(DeviceError, match="was stopped"):
        trip.measure()


def test_a_task_in_this_thread_is_ended_by_ctrl_c_and_keeps_its_own_errors() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def broken() -> None:
        raise OSError("no room")

    with pytest.raises(KeyboardInterrupt):
        InThisThread().submit(interrupted)
    with pytest.raises(OSError, match="no room"):
        InThisThread().submit(broken).result()


def test_executors_of_one_machine_take_turns_and_one_may_be_lost(tmp_path: Path) -> None:
    first, second = SimulatedWorker(), SimulatedWorker()
    second.lost_after = 3
    measured = Trip(tmp_path, first, second).measure()
    assert len(second.laps) == 3
    assert len(first.laps) + len(second.laps) == 2 * PLAN.rounds
    assert all(len(found) == PLAN.rounds for found in measured.blocks.values())


def test_an_executor_that_chooses_machines_by_itself_brings_each_ones_own(tmp_path: Path) -> None:
    here, there = SimulatedWorker(machine("here")), SimulatedWorker(machine("there"))
    measured = Trip(tmp_path, here, there).measure()
    assert set(measured.machines) == {"here", "there"}
    for (key, _), found in measured.blocks.items():
        assert {each.machine for each in found.values()} == {key}


def test_places_that_are_one_machine_become_one(tmp_path: Path) -> None:
    places = [Place(name, (SimulatedWorker(),), {}) for name in "abc"]
    merged = merge_places(
        [(places[0], machine("x")), (places[1], machine("y")), (places[2], machine("x"))]
    )
    assert [(each.name, where.key, len(each.executors)) for each, where in merged] == [
        ("a", "x", 2),
        ("b", "y", 1),
    ]


def test_a_lap_keeps_its_blocks_where_it_can_reach_the_cache(tmp_path: Path) -> None:
    near, far = SimulatedWorker(), SimulatedWorker()
    Trip(tmp_path / "a", near, keep=tmp_path / "a" / "tuned").measure()
    Trip(tmp_path / "b", far).measure()
    assert set(near.keeps) == {str(tmp_path / "a" / "tuned")}
    assert set(far.keeps) == {None}
    # What came from far away is kept by the host.
    assert KeptBlocks(tmp_path / "b" / "tuned").find(_CELLS[0], "this-machine", 7) == block(
        7, 20_000
    )
