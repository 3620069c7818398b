from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edgepack.formats.options import EngineOptions
from edgepack.runner.choice.process import WorkerEnd, measure_in_processes
from edgepack.runner.choice.trials import Trial
from edgepack.runner.choice.worker import LineWriter, request_of

_TRIALS = (
    Trial("a", EngineOptions()),
    Trial("b", EngineOptions()),
    Trial("b", EngineOptions(2)),
)


class Workers:
    """Plays one worker after the other: each is given the names it is asked to try."""

    def __init__(self, *plays: Callable[[list[str]], WorkerEnd]) -> None:
        self.plays = list(plays)
        self.asked: list[list[str]] = []

    def __call__(self, request: bytes) -> WorkerEnd:
        document: dict[str, Any] = json.loads(request)
        assert document["release"] == "/release"
        names = [f"{each['variant']}{each['options']['threads']}" for each in document["trials"]]
        self.asked.append(names)
        return self.plays.pop(0)(names)


def _lines(*lines: Mapping[str, object]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def _measures_all(names: list[str]) -> WorkerEnd:
    told = [
        {"trial": i, "median_ns": 1000 * (i + 1) + n} for n in range(3) for i in range(len(names))
    ]
    return WorkerEnd(0, _lines(*told))


def _dies_at(number: int, status: int) -> Callable[[list[str]], WorkerEnd]:
    def play(_: list[str]) -> WorkerEnd:
        done = [{"trial": i, "median_ns": 5} for i in range(number)]
        return WorkerEnd(status, _lines(*done, {"trial": number}) + '{"tri')

    return play


def test_a_crash_has_its_signals_name_and_the_others_are_measured_again() -> None:
    workers = Workers(_dies_at(1, -signal.SIGSEGV), _measures_all)
    rows = measure_in_processes(Path("/release"), _TRIALS, workers)
    assert workers.asked == [["a1", "b1", "b2"], ["a1", "b2"]]
    assert rows[1].problem == "crashed with SIGSEGV"
    assert [row.median_ns for row in rows] == [1001, None, 2001]
    assert rows[0].medians_ns == (1000, 1001, 1002)


def test_a_worker_that_ends_by_itself_is_a_problem_of_the_trial_it_was_at() -> None:
    workers = Workers(_dies_at(0, 1), _measures_all)
    rows = measure_in_processes(Path("/release"), _TRIALS, workers)
    assert rows[0].problem == "ended its process with status 1"
    assert rows[2].problem is None


def test_a_worker_that_cannot_even_begin_is_started_once() -> None:
    workers = Workers(lambda _: WorkerEnd(1, "Traceback\n"))
    rows = measure_in_processes(Path("/release"), _TRIALS, workers)
    assert [row.problem for row in rows] == ["ended its process with status 1"] * 3


def test_when_the_time_is_up_what_was_measured_stands() -> None:
    def late(_: list[str]) -> WorkerEnd:
        return WorkerEnd(None, _lines({"trial": 0, "median_ns": 7}, {"trial": 1}))

    rows = measure_in_processes(Path("/release"), _TRIALS, Workers(late))
    assert rows[0].median_ns == 7
    assert rows[1].problem == "took longer than 600 s"
    assert rows[2].problem is not None
    assert "not measured" in rows[2].problem


def test_a_problem_the_worker_tells_is_kept_and_not_tried_again() -> None:
    def play(_: list[str]) -> WorkerEnd:
        told = _lines({"trial": 0, "problem": "no such op"}, {"trial": 1})
        return WorkerEnd(-signal.SIGILL, told)

    workers = Workers(play, _measures_all)
    rows = measure_in_processes(Path("/release"), _TRIALS, workers)
    assert workers.asked[1] == ["b2"]
    assert [row.problem for row in rows] == ["no such op", "crashed with SIGILL", None]


def test_a_box_on_which_everything_crashes_comes_to_an_end() -> None:
    trials = tuple(Trial(f"v{i}", EngineOptions()) for i in range(30))
    workers = Workers(*[_dies_at(0, -signal.SIGBUS)] * 30)
    rows = measure_in_processes(Path("/release"), trials, workers)
    assert len(rows) == 30
    assert all(row.problem for row in rows)
    assert len(workers.asked) < 10


@pytest.mark.parametrize(
    "noise",
    ["INFO: created a delegate", "[1, 2]", '{"trial": 99}', '{"trial": "x"}', "{", '"text"'],
)
def test_noise_on_the_workers_output_is_passed_over(noise: str) -> None:
    def noisy(names: list[str]) -> WorkerEnd:
        end = _measures_all(names)
        return WorkerEnd(0, f"{noise}\n{end.output}{noise}\n")

    rows = measure_in_processes(Path("/release"), _TRIALS, Workers(noisy))
    assert [row.problem for row in rows] == [None] * 3


def test_what_a_worker_writes_is_what_is_read() -> None:
    stream = io.StringIO()
    writer = LineWriter(stream, _TRIALS)
    for trial in _TRIALS[:2]:
        writer.trying(trial)
    writer.measured(_TRIALS[0], 42)
    writer.failed(_TRIALS[1], "no such op")
    end = WorkerEnd(0, stream.getvalue())
    rows = measure_in_processes(Path("/release"), _TRIALS, Workers(lambda _: end))
    assert (rows[0].medians_ns, rows[1].problem) == ((42,), "no such op")


def test_a_request_carries_every_option() -> None:
    trial = Trial("a", EngineOptions(2, spinning=True))
    options = json.loads(request_of(Path("/r"), (trial,)))["trials"][0]["options"]
    assert options == {
        "threads": 2,
        "execution_mode": "sequential",
        "spinning": True,
        "io_binding": False,
        "cuda_graph": False,
    }
