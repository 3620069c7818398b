from __future__ import annotations

import numpy as np
import pytest

from edgepack.build.models.ranker import Architecture
from edgepack.build.training.optimise.importance import importance, most_important
from edgepack.build.training.optimise.joints import cut_blocks, cut_units, joints, unit_sums

RANDOM = np.random.default_rng(0)


def array(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def gru(units: int, width: int = 3) -> dict[str, np.ndarray]:
    cell = "gru_every_position/gru_cell"
    return {
        f"{cell}/kernel": array(width, 3 * units),
        f"{cell}/recurrent_kernel": array(units, 3 * units),
        f"{cell}/bias": array(2, 3 * units),
        "to_item_space/kernel": array(units, width),
        "to_item_space/bias": array(width),
    }


def run_gru(weights: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """The last state in item space: float[steps, width] in, float[width] out."""
    kernel, recurrent, bias = list(weights.values())[:3]
    units = recurrent.shape[0]
    state = np.zeros(units)
    for step in inputs:
        given, kept = step @ kernel + bias[0], state @ recurrent + bias[1]
        update, reset = (
            1 / (1 + np.exp(-(given[i : i + units] + kept[i : i + units]))) for i in (0, units)
        )
        new = np.tanh(given[2 * units :] + reset * kept[2 * units :])
        state = update * state + (1 - update) * new
    return np.asarray(state @ weights["to_item_space/kernel"] + weights["to_item_space/bias"])


def test_cutting_units_that_nobody_reads_changes_no_answer_of_a_gated_layer() -> None:
    weights = gru(5)
    keep = np.array([0, 2, 3])
    lost = np.array([1, 4])
    weights["gru_every_position/gru_cell/recurrent_kernel"][lost] = 0
    weights["to_item_space/kernel"][lost] = 0
    small = cut_units(weights, [(joints(Architecture.GRU4REC, 0)[0], keep)])
    assert small["gru_every_position/gru_cell/recurrent_kernel"].shape == (3, 9)
    inputs = array(4, 3)
    assert run_gru(small, inputs) == pytest.approx(run_gru(weights, inputs), abs=1e-6)


def test_each_direction_of_a_bidirectional_layer_loses_its_own_units() -> None:
    weights = {"classes/kernel": np.arange(8, dtype=np.float32)[:, None], "classes/bias": array(1)}
    for way in ("forward", "backward"):
        cell = f"bilstm/{way}_lstm/lstm_cell"
        weights |= {
            f"{cell}/kernel": array(2, 16),
            f"{cell}/recurrent_kernel": array(4, 16),
            f"{cell}/bias": array(16),
        }
    forward, backward = joints(Architecture.BILSTM, 0)
    small = cut_units(weights, [(forward, np.array([0, 3])), (backward, np.array([1, 2]))])
    assert small["classes/kernel"][:, 0].tolist() == [0, 3, 5, 6]
    for way, keep in (("forward", [0, 3]), ("backward", [1, 2])):
        name = f"bilstm/{way}_lstm/lstm_cell/bias"
        gates = weights[name].reshape(4, 4)
        assert small[name].tolist() == gates[:, keep].reshape(-1).tolist()


def test_blocks_that_are_left_are_numbered_anew() -> None:
    weights = {f"block{i}_wide/kernel": array(2, 2) for i in range(3)} | {
        "items/embeddings": array(1)
    }
    found = cut_blocks(weights, [0, 2])
    assert list(found) == ["block0_wide/kernel", "block1_wide/kernel", "items/embeddings"]
    assert found["block1_wide/kernel"] is weights["block2_wide/kernel"]


def test_a_unit_is_worth_what_the_loss_would_change_by_in_all_batches() -> None:
    joint = joints(Architecture.SASREC, 1)[0]
    batches = [
        {"block0_wide/kernel": np.array([[1.0, -2.0, 0.1]]), "block0_wide/bias": np.zeros(3)},
        {"block0_wide/kernel": np.array([[-1.0, 0.5, 0.1]]), "block0_wide/bias": np.ones(3) * 0.5},
    ]
    found = importance(batches, lambda products: unit_sums(joint, products))
    # Opposite signs in two batches do not cancel; within a batch the unit's weights are one sum.
    assert found.tolist() == pytest.approx([1.25, 5.0, 0.01 + 0.36])
    assert most_important(found, 2).tolist() == [0, 1]


def test_of_equal_units_the_first_are_kept() -> None:
    assert most_important(np.ones(4), 2).tolist() == [0, 1]
