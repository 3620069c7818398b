"""A lap: every cell has a block, by LoadGen's rules, and what fails ends only its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.formats.device import Environment
from edgepack.formats.options import EngineOptions
from edgepack.formats.tuning import MOST_VALUES, Block, Machine
from edgepack.runner.bench.environment import read_environment
from edgepack.runner.bench.occupancy import CoreTimes
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.choice.trials import Trial
from edgepack.runner.release import load_release
from edgepack.runner.tuning.lap import Around, LapPlan, measure_lap
from edgepack.runner.tuning.machine import describe_machine
from tests.runner.bench.boxes import PI_PLATFORM, raspberry_pi_4
from tests.runner.choice.candidates import FIRST, SECOND, Bench, two_candidates
from tests.runner.simulators import HandClock

_A, _B = Trial(FIRST, EngineOptions()), Trial(SECOND, EngineOptions(2))
_PLAN = LapPlan(round=0, block_ns=100_000_000, min_queries=8, warmup_ns=1_000_000)


class Notes:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.tried: list[int] = []
        self.blocks: dict[int, Block] = {}

    def trying(self, number: int) -> None:
        self.tried.append(number)

    def measured(self, number: int, block: Block) -> None:
        self.blocks[number] = block


class Shop:
    """A box whose engines take as long as they are told, and what is seen around them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bench = Bench(HandClock(step_ns=10), {str(_A): 2_000_000, str(_B): 1_000_000})
        self.tree = raspberry_pi_4(folder / "tree")
        self.cores = [CoreTimes(0, 1000, 4)]
        self.state: Environment = read_environment(self.tree, lambda: True)
        two_candidates(folder / "release")

    @property
    def machine(self) -> Machine:
        return describe_machine(self.tree, PI_PLATFORM, {}, self.state)

    def measure(self, *trials: Trial, plan: LapPlan = _PLAN) -> Notes:
        notes = Notes()
        around = Around(
            clock=self.bench.clock,
            load=lambda variant: load_release(self.folder / "release", variant),
            open_engine=self.bench.open,
            machine=self.machine,
            state=lambda: self.state,
            cores=lambda: self.cores.pop(0) if len(self.cores) > 1 else self.cores[0],
            own_ns=lambda: 0,
        )
        measure_lap(trials, plan, around, notes)
        return notes


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_cell_that_cannot_be_loaded_is_out_and_the_next_is_measured(shop: Shop) -> None:
    shop.bench.refused = {str(_A)}
    notes = shop.measure(_A, _B)
    assert notes.blocks[0].problem == "no such op"
    assert notes.blocks[0].queries == 0
    assert notes.blocks[1].problem is None


def test_a_cell_that_answers_wrongly_is_out_however_fast(shop: Shop) -> None:
    shop.bench.poisoned = {str(_B)}
    notes = shop.measure(_A, _B)
    assert "answers wrongly on this box: golden sequence" in str(notes.blocks[1].problem)


def test_options_that_the_runtime_does_not_follow_are_not_measured_as_others(shop: Shop) -> None:
    shop.bench.opens_with[str(_B)] = EngineOptions(1)
    notes = shop.measure(_B)
    assert "cannot be had on this box" in str(notes.blocks[0].problem)


def test_a_block_lasts_as_long_as_planned_and_has_its_queries(shop: Shop) -> None:
    notes = shop.measure(_A, _B)
    assert notes.tried == [0, 1]
    first, second = notes.blocks[0], notes.blocks[1]
    # The clock moves 10 ns with each look, beside what an answer takes.
    assert first.p50_ns == pytest.approx(2_000_000, abs=100)
    assert second.p50_ns == pytest.approx(1_000_000, abs=100)
    assert 100_000_000 <= first.duration_ns < 103_000_000
    assert first.queries == 50
    assert len(first.values_ns) == 50
    assert first.sampled_every == 1


def test_a_slow_model_has_an_end(shop: Shop) -> None:
    shop.bench.call_ns[str(_A)] = 200_000_000
    block = shop.measure(_A).blocks[0]
    # Eight answers would take 1.6 s; three times the block is the most there is.
    assert block.queries == 2
    assert block.problem is None


def test_latencies_are_thinned_evenly(shop: Shop) -> None:
    shop.bench.call_ns[str(_A)] = 10_000
    block = shop.measure(_A).blocks[0]
    assert block.queries > 2 * MOST_VALUES
    assert len(block.values_ns) <= MOST_VALUES
    assert len(block.values_ns) == -(-block.queries // block.sampled_every)


def test_each_round_draws_another_order(shop: Shop, tmp_path: Path) -> None:
    shop.bench.call_ns[str(_A)] = [1_000_000, 2_000_000, 3_000_000]
    first = shop.measure(_A).blocks[0]
    later = shop.measure(_A, plan=replace(_PLAN, round=1)).blocks[0]
    assert (first.round, later.round) == (0, 1)


def test_a_busy_machine_is_said_in_the_block(shop: Shop) -> None:
    shop.cores = [CoreTimes(0, 1000, 4), CoreTimes(400, 2000, 4)]
    block = shop.measure(_A).blocks[0]
    assert block.others_percent == 40.0
    assert "background_load" in block.reasons


def test_the_load_of_the_block_before_is_not_held_against_one(shop: Shop) -> None:
    shop.state = replace(shop.state, load_1m=3.9)
    assert "background_load" not in shop.measure(_A).blocks[0].reasons


def _key(folder: Path, **changes: str) -> str:
    tree = raspberry_pi_4(folder)
    for path, text in changes.items():
        file = folder / path.replace("__", "/").replace("_", "-")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    state = read_environment(SystemTree(folder), lambda: True)
    return describe_machine(tree, PI_PLATFORM, {}, state).key


def test_two_boxes_of_a_kind_are_two_machines_and_one_is_itself(tmp_path: Path) -> None:
    one = _key(tmp_path / "a", etc__machine_id="1" * 32)
    again = _key(tmp_path / "b", etc__machine_id="1" * 32)
    twin = _key(tmp_path / "c", etc__machine_id="2" * 32)
    assert one == again
    assert one != twin


def test_an_identity_is_never_told(tmp_path: Path) -> None:
    tree = raspberry_pi_4(tmp_path)
    (tmp_path / "etc" / "machine-id").write_text("5ca1ab1e" * 4)
    state = read_environment(tree, lambda: True)
    assert "5ca1ab1e" not in repr(describe_machine(tree, PI_PLATFORM, {}, state))


def test_fewer_cores_make_another_machine(tmp_path: Path) -> None:
    tree = raspberry_pi_4(tmp_path)
    state = read_environment(tree, lambda: True)
    keys = {
        describe_machine(tree, replace(PI_PLATFORM, cores_allowed=cores), {}, state).key
        for cores in (1, 4)
    }
    assert len(keys) == 2


def test_a_quota_makes_another_machine(tmp_path: Path) -> None:
    tree = raspberry_pi_4(tmp_path)
    state = read_environment(tree, lambda: True)
    limited = replace(state, cgroup_cpu_max="50000 100000")
    keys = {describe_machine(tree, PI_PLATFORM, {}, each).key for each in (state, limited)}
    assert len(keys) == 2
