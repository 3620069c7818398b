from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.golden import GoldenSet
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.engines.contract import Array
from edgepack.runner.replay import check_engine, replay_golden
from tests.runner.simulators import (
    HISTORIES,
    HandClock,
    SimulatedEngine,
    SimulatedTensorEngine,
    golden_of,
    golden_tensors,
    simulated_release,
)


def test_other_scores_than_the_hosts_are_found(tmp_path: Path) -> None:
    release = simulated_release(tmp_path)
    golden = release.golden
    first = golden.sequences[0]
    wrong = replace(first, scores=(first.scores[0] + 1, *first.scores[1:]))
    altered = replace(release, golden=replace(golden, sequences=(wrong, *golden.sequences[1:])))
    outcome = replay_golden(altered, SimulatedEngine(), HandClock())
    assert not outcome.ok
    assert outcome.problems[0].startswith("golden sequence 0: rank 1")


def test_another_item_than_the_hosts_is_found(tmp_path: Path) -> None:
    release = simulated_release(tmp_path)
    golden = release.golden
    first = golden.sequences[0]
    wrong = replace(
        first, items=(first.items[5], *first.items[1:5], first.items[0], *first.items[6:])
    )
    altered = replace(release, golden=replace(golden, sequences=(wrong,)))
    assert not replay_golden(altered, SimulatedEngine(), HandClock()).ok


def test_no_golden_answers_are_no_proof(tmp_path: Path) -> None:
    release = replace(simulated_release(tmp_path), golden=GoldenSet(tolerance=1e-3))
    with pytest.raises(BundleError, match="no golden answers"):
        replay_golden(release, SimulatedEngine(), HandClock())


def test_a_runtime_that_fails_is_not_a_wrong_answer(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    engine.failing = "illegal argument"
    with pytest.raises(DeviceError, match="illegal argument"):
        replay_golden(simulated_release(tmp_path), engine, HandClock())


def test_a_model_of_another_shape_than_the_manifests_is_found(tmp_path: Path) -> None:
    outcome = replay_golden(simulated_release(tmp_path), SimulatedEngine(length=7), HandClock())
    assert "inputs[0]" in outcome.problems[0]


def test_another_number_of_outputs_is_found(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    engine.outputs = (*engine.outputs, TensorSpec("more", "float32", (1,)))
    assert "outputs: the model has 3" in check_engine(simulated_release(tmp_path), engine)[0]


def test_a_variable_extent_agrees_with_any(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    engine.inputs = (TensorSpec("history", "int32", (-1, -1)),)
    assert check_engine(simulated_release(tmp_path), engine) == []


def test_right_answers_are_counted(tmp_path: Path) -> None:
    outcome = replay_golden(simulated_release(tmp_path), SimulatedEngine(), HandClock())
    assert (outcome.ok, outcome.cases) == (True, len(HISTORIES))


def test_a_tensor_models_answers_are_compared_too(tmp_path: Path) -> None:
    release = simulated_release(tmp_path, kind_tensor=True)
    assert replay_golden(release, SimulatedTensorEngine(), HandClock()).ok
    case = golden_tensors().tensors[0]
    wrong = replace(case, outputs=(replace(case.outputs[0], data=(2.0, 4.0, 7.0)),))
    altered = replace(release, golden=GoldenSet(tolerance=1e-3, tensors=(wrong,)))
    assert (
        "golden tensors 0"
        in replay_golden(altered, SimulatedTensorEngine(), HandClock()).problems[0]
    )


def test_a_candidate_for_several_rows_answers_them_together_as_well(tmp_path: Path) -> None:
    engine = SimulatedEngine(batched=True)
    release = simulated_release(tmp_path, max_batch=8)
    assert replay_golden(release, engine, HandClock()).ok
    cases = len(HISTORIES)
    assert engine.called == [1] * cases + [2, 2] + [8]


def test_a_graph_that_mixes_rows_is_found(tmp_path: Path) -> None:
    engine = SimulatedEngine(batched=True)
    release = simulated_release(tmp_path, max_batch=8)
    golden = golden_of(engine)
    engine.mixes = True
    shifted = tuple(
        replace(each, scores=tuple(score + 1 for score in each.scores)) for each in golden.sequences
    )
    # Alone every row is right: the score that is added is the number of rows.
    release = replace(release, golden=replace(golden, sequences=shifted))
    outcome = replay_golden(release, engine, HandClock())
    assert outcome.problems[0].startswith("golden case 0 in a call of 2 rows: rank 1")


def test_a_tensor_model_for_several_rows_answers_them_together_as_well(tmp_path: Path) -> None:
    release = simulated_release(tmp_path, kind_tensor=True, max_batch=4)
    assert replay_golden(release, SimulatedTensorEngine(batched=True), HandClock()).ok

    class Mixing(SimulatedTensorEngine):
        def run(self, inputs: Sequence[Array]) -> list[Array]:
            return [(inputs[0] * 2 * len(inputs[0])).astype(np.float32)]

    outcome = replay_golden(release, Mixing(batched=True), HandClock())
    assert "golden case 0 in a call of 2 rows" in outcome.problems[0]


def test_a_fixed_batch_under_a_manifest_that_promises_rows_is_found(tmp_path: Path) -> None:
    release = simulated_release(tmp_path, max_batch=8)
    (problem,) = check_engine(release, SimulatedEngine())
    assert "8 rows go through in one call" in problem
    assert "first extent of history" in problem
    assert check_engine(release, SimulatedEngine(batched=True)) == []
