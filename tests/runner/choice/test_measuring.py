from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.formats.options import EngineOptions
from edgepack.runner.choice.measuring import ROUNDS, measure_trials
from edgepack.runner.choice.trials import Trial
from edgepack.runner.release import Release, load_release
from tests.runner.choice.candidates import FIRST, SECOND, Bench, two_candidates
from tests.runner.simulators import HandClock

_A, _B = Trial(FIRST, EngineOptions()), Trial(SECOND, EngineOptions())
_C = Trial(FIRST, EngineOptions(2))


class Notes:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.tried: list[Trial] = []
        self.medians: dict[Trial, list[int]] = {}
        self.problems: dict[Trial, str] = {}

    def trying(self, trial: Trial) -> None:
        self.tried.append(trial)

    def measured(self, trial: Trial, median_ns: int) -> None:
        self.medians.setdefault(trial, []).append(median_ns)

    def failed(self, trial: Trial, problem: str) -> None:
        self.problems[trial] = problem


@pytest.fixture
def bench() -> Bench:
    clock = HandClock(step_ns=10)
    return Bench(clock, {str(_A): 2_000_000, str(_B): 1_000_000, str(_C): 3_000_000})


def _measure(bench: Bench, directory: Path, *trials: Trial) -> Notes:
    two_candidates(directory)
    notes = Notes()

    def load(variant: str) -> Release:
        return load_release(directory, variant)

    measure_trials(trials, load, bench.open, bench.clock, notes)
    return notes


def test_a_candidate_that_cannot_be_loaded_is_out_and_not_the_end(
    bench: Bench, tmp_path: Path
) -> None:
    bench.refused = {str(_A)}
    notes = _measure(bench, tmp_path, _A, _B)
    assert notes.problems == {_A: "no such op"}
    assert len(notes.medians[_B]) == ROUNDS
    assert notes.tried.count(_A) == 1


def test_a_candidate_that_answers_wrongly_is_out_however_fast(bench: Bench, tmp_path: Path) -> None:
    bench.poisoned = {str(_B)}
    notes = _measure(bench, tmp_path, _A, _B)
    assert "answers wrongly on this box: golden sequence" in notes.problems[_B]
    assert set(notes.medians) == {_A}


def test_a_damaged_candidate_is_out(bench: Bench, tmp_path: Path) -> None:
    two_candidates(tmp_path)
    (tmp_path / "models" / "tflite-fp32.tflite").write_bytes(b"another simulated m0del")
    notes = Notes()
    measure_trials(
        [_A, _B], lambda name: load_release(tmp_path, name), bench.open, bench.clock, notes
    )
    assert "SHA-256" in notes.problems[_B]
    assert len(notes.medians[_A]) == ROUNDS


def test_every_round_has_a_block_of_each_and_begins_elsewhere(bench: Bench, tmp_path: Path) -> None:
    notes = _measure(bench, tmp_path, _A, _B, _C)
    rounds = [notes.tried[i : i + 3] for i in range(0, 3 * ROUNDS, 3)]
    assert all(set(each) == {_A, _B, _C} for each in rounds)
    assert {each[0] for each in rounds} == {_A, _B, _C}


def test_the_median_is_of_an_answer_from_ids_to_ids(bench: Bench, tmp_path: Path) -> None:
    notes = _measure(bench, tmp_path, _A, _B)
    assert notes.medians[_A] == [pytest.approx(2_000_000, abs=100)] * ROUNDS
    assert notes.medians[_B] == [pytest.approx(1_000_000, abs=100)] * ROUNDS


def test_one_engine_is_loaded_at_a_time(bench: Bench, tmp_path: Path) -> None:
    _measure(bench, tmp_path, _A, _B)
    assert len(bench.engines) == 2 * ROUNDS
    assert all(engine.closed for engine in bench.engines)


def test_a_model_of_seconds_has_an_end(bench: Bench, tmp_path: Path) -> None:
    bench.call_ns[str(_A)] = 5_000_000_000
    begin_ns = bench.clock.now_ns
    notes = _measure(bench, tmp_path, _A)
    assert notes.medians[_A][0] == pytest.approx(5_000_000_000, abs=100)
    # Three golden answers once, then at most one to warm up and three to measure a round.
    assert bench.clock.now_ns - begin_ns <= (3 + 4 * ROUNDS) * 5_000_001_000


def test_options_that_cannot_be_had_on_the_box_are_out_and_not_measured_as_others(
    tmp_path: Path, bench: Bench
) -> None:
    two_candidates(tmp_path)
    graph = Trial(FIRST, EngineOptions(io_binding=True, cuda_graph=True))
    bench.call_ns[str(graph)] = 1_000_000
    bench.opens_with[str(graph)] = EngineOptions(io_binding=True)
    notes = Notes()
    measure_trials(
        [_A, graph],
        lambda variant: load_release(tmp_path, variant),
        bench.open,
        bench.clock,
        notes,
    )
    assert notes.problems == {
        graph: "cannot be had on this box: it opens with 1 thread, I/O binding"
    }
    assert len(notes.medians[_A]) == ROUNDS
    assert all(engine.closed for engine in bench.engines)


def test_the_cpus_time_is_not_kept_as_that_of_a_card_that_failed(
    bench: Bench, tmp_path: Path
) -> None:
    bench.falls_back = {str(_B)}
    notes = _measure(bench, tmp_path, _A, _B)
    assert notes.problems == {_B: "the card failed while it was measured: out of memory"}
    assert len(notes.medians[_A]) == ROUNDS
