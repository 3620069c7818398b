"""A mask that comes again before rows meet leaves the graph; what it answers stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgepack.build.convert.onnx_masks import drop_repeated_masks
from tests.build.convert.onnx_models import (
    FLOAT,
    INT32,
    copy_of,
    graph_of,
    normal,
    operators,
    run,
)

STEPS, WIDTH = 6, 8


def _block(batch: int | str | None = None, end: str = "masked", first: str = "Cast") -> Any:
    """A block of a padded history: masked, normalised, added to itself, masked again."""
    make = helper.make_node
    front: list[int | str] = [] if batch is None else [batch]
    nodes = [
        make("Cast", ["history"], ["there"], to=9),
        make("Cast", ["there" if first == "Cast" else "history"], ["present"], to=FLOAT),
        make("Mul", ["x", "present"], ["state"]),
        make("LayerNormalization", ["state", "gamma", "beta"], ["normal"], axis=-1),
        make("MatMul", ["normal", "w"], ["wide"]),
        make("Add", ["wide", "b"], ["biased"]),
        make("Relu", ["biased"], ["positive"]),
        make("Add", ["state", "positive"], ["sum"]),
        make("Mul", ["sum", "present"], ["masked"]),
        make(
            "Transpose",
            ["masked"],
            ["t"],
            perm=[*range(len(front)), *(n + len(front) for n in (1, 0))],
        ),
        make("MatMul", ["t", end], ["y"]),
    ]
    constants = {
        "gamma": normal(WIDTH, seed=1),
        "beta": normal(WIDTH, seed=2),
        "w": normal(WIDTH, WIDTH, seed=3),
        "b": normal(WIDTH, seed=4),
    }
    shapes = {"history": (INT32, [*front, STEPS, 1]), "x": (FLOAT, [*front, STEPS, WIDTH])}
    return graph_of(nodes, shapes, {"y": (FLOAT, [*front, WIDTH, WIDTH])}, constants)


@pytest.mark.parametrize("batch", [None, 1, "batch"])
@pytest.mark.parametrize("empty", [0, 2, STEPS])
def test_the_first_of_two_masks_leaves(batch: int | str | None, empty: int) -> None:
    model = _block(batch)
    front = [] if batch is None else [1 if batch == 1 else 3]
    history = np.ones((*front, STEPS, 1), dtype=np.int32)
    history[..., :empty, :] = 0
    x = normal(*front, STEPS, WIDTH, seed=7)
    before = run(copy_of(model), history=history, x=x)
    assert drop_repeated_masks(model) == 1
    assert operators(model).count("Mul") == 1
    np.testing.assert_array_equal(run(model, history=history, x=x)[0], before[0])


@pytest.mark.parametrize("batch", [None, 1, "batch"])
def test_a_mask_stays_where_rows_meet_before_the_next(batch: int | str | None) -> None:
    model = _block(batch, end="state")
    same = copy_of(model)
    assert drop_repeated_masks(model) == 0
    assert model == same


def test_a_factor_that_is_no_truth_stays() -> None:
    assert drop_repeated_masks(_block(first="number")) == 0


def test_a_masked_value_that_is_an_output_stays() -> None:
    model = _block()
    model.graph.output.append(helper.make_tensor_value_info("state", FLOAT, [STEPS, WIDTH]))
    assert drop_repeated_masks(model) == 0
