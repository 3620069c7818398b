"""The batch of one and its reshapes leave the graph; what it answers stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgepack.build.convert.onnx_flat import drop_batch_of_one
from tests.build.convert.onnx_models import (
    FLOAT,
    INT32,
    Array,
    copy_of,
    graph_of,
    normal,
    operators,
    run,
)

STEPS, WIDTH, HEADS = 6, 8, 2
#: The same sums in another order of a product's rows: the last bits of float32 may differ.
CLOSE = 1e-5


def _shape(*extents: int) -> Array:
    return np.array(extents, dtype=np.int64)


def _attention(batch: int | str = 1) -> Any:
    """Self-attention as an exporter writes it: reshapes around every dense layer."""
    make = helper.make_node
    nodes = [
        make("Gather", ["table", "history"], ["rows"]),
        make("Add", ["rows", "positions"], ["state"]),
        make("Reshape", ["state", "matrix"], ["flat"]),
        make("MatMul", ["flat", "wq"], ["q2"]),
        make("Reshape", ["q2", "whole"], ["q"]),
        make("MatMul", ["flat", "wk"], ["k2"]),
        make("Reshape", ["k2", "whole"], ["k"]),
        make("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        make("MatMul", ["q", "kt"], ["scores"]),
        make("Add", ["scores", "mask"], ["masked"]),
        make("Softmax", ["masked"], ["shares"], axis=-1),
        make("MatMul", ["shares", "state"], ["seen"]),
        make("Add", ["state", "seen"], ["sum"]),
        make("LayerNormalization", ["sum", "gamma", "beta"], ["normal"], axis=-1),
        make("Slice", ["normal", "start", "end", "start_axis"], ["last"]),
        make("Squeeze", ["last", "start_axis"], ["answer"]),
    ]
    constants = {
        "table": normal(20, WIDTH),
        "positions": normal(STEPS, WIDTH, seed=1),
        "matrix": _shape(-1, WIDTH),
        "whole": _shape(-1, STEPS, WIDTH),
        "wq": normal(WIDTH, WIDTH, seed=2),
        "wk": normal(WIDTH, WIDTH, seed=3),
        "mask": np.triu(np.full((1, STEPS, STEPS), -20, dtype=np.float32), 1),
        "gamma": normal(WIDTH, seed=4),
        "beta": normal(WIDTH, seed=5),
        "start": _shape(STEPS - 1),
        "end": _shape(STEPS),
        "start_axis": _shape(1),
    }
    shapes: dict[str, tuple[int, list[int | str]]] = {"history": (INT32, [batch, STEPS])}
    return graph_of(nodes, shapes, {"answer": (FLOAT, [batch, WIDTH])}, constants)


def _history(rows: int = 1) -> Array:
    return np.random.default_rng(9).integers(0, 20, (rows, STEPS)).astype(np.int32)


def test_attention_keeps_its_answer_and_loses_its_reshapes() -> None:
    model = _attention()
    before = run(copy_of(model), history=_history())
    assert drop_batch_of_one(model) == 3
    after = run(model, history=_history())
    assert after[0].shape == (1, WIDTH)
    np.testing.assert_allclose(after[0], before[0], atol=CLOSE)
    # One is left: it takes the batch off what comes in.
    assert operators(model).count("Reshape") == 1
    assert "Squeeze" not in operators(model)


def test_a_graph_for_any_number_of_rows_is_left_alone() -> None:
    model = _attention("batch")
    same = copy_of(model)
    assert drop_batch_of_one(model) == 0
    assert model == same


def test_a_graph_with_a_loop_is_left_alone() -> None:
    body = graph_of(
        [helper.make_node("Identity", ["x"], ["y"])], {}, {"y": (FLOAT, [1, 2, 2])}, {}
    ).graph
    model = graph_of(
        [
            helper.make_node("Reshape", ["x", "shape"], ["z"]),
            helper.make_node("If", ["yes"], ["out"], then_branch=body, else_branch=body),
        ],
        {"x": (FLOAT, [1, 2, 2])},
        {"out": (FLOAT, [1, 2, 2])},
        {"shape": _shape(1, 4), "yes": np.array(True)},
    )
    same = copy_of(model)
    assert drop_batch_of_one(model) == 0
    assert model == same


def test_heads_of_an_attention_stay_apart() -> None:
    make = helper.make_node
    model = graph_of(
        [
            make("Reshape", ["x", "split"], ["apart"]),
            make("Transpose", ["apart"], ["heads"], perm=[0, 2, 1, 3]),
            make("Transpose", ["apart"], ["turned"], perm=[0, 2, 3, 1]),
            make("MatMul", ["heads", "turned"], ["scores"]),
            make("Softmax", ["scores"], ["shares"], axis=3),
            make("MatMul", ["shares", "heads"], ["seen"]),
            make("Transpose", ["seen"], ["back"], perm=[0, 2, 1, 3]),
            make("Reshape", ["back", "join"], ["joined"]),
            make("Concat", ["joined", "x"], ["both"], axis=2),
            make("Relu", ["both"], ["y"]),
        ],
        {"x": (FLOAT, [1, STEPS, WIDTH])},
        {"y": (FLOAT, [1, STEPS, 2 * WIDTH])},
        {
            "split": _shape(1, STEPS, HEADS, WIDTH // HEADS),
            "join": _shape(1, STEPS, WIDTH),
        },
    )
    x = normal(1, STEPS, WIDTH, seed=8)
    before = run(copy_of(model), x=x)
    drop_batch_of_one(model)
    np.testing.assert_allclose(run(model, x=x)[0], before[0], atol=CLOSE)


def test_turning_a_batch_of_one_around_is_no_work_before_a_recurrent_layer() -> None:
    units = 4
    make = helper.make_node
    model = graph_of(
        [
            make("Reshape", ["x", "matrix"], ["flat"]),
            make("Relu", ["flat"], ["positive"]),
            make("Reshape", ["positive", "whole"], ["back"]),
            make("Transpose", ["back"], ["turned"], perm=[1, 0, 2]),
            make("GRU", ["turned", "w", "r"], ["", "state"], hidden_size=units),
            make("Squeeze", ["state", "zero"], ["y"]),
        ],
        {"x": (FLOAT, [1, STEPS, WIDTH])},
        {"y": (FLOAT, [1, units])},
        {
            "w": normal(1, 3 * units, WIDTH),
            "r": normal(1, 3 * units, units),
            "zero": _shape(0),
            "matrix": _shape(STEPS, WIDTH),
            "whole": _shape(1, STEPS, WIDTH),
        },
    )
    x = normal(1, STEPS, WIDTH, seed=8)
    before = run(copy_of(model), x=x)
    drop_batch_of_one(model)
    assert "Transpose" not in operators(model)
    np.testing.assert_allclose(run(model, x=x)[0], before[0], atol=CLOSE)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_operator_along_another_axis_keeps_its_shape(axis: int) -> None:
    model = graph_of(
        [
            helper.make_node("Relu", ["x"], ["r"]),
            helper.make_node("Reshape", ["r", "shape"], ["s"]),
            helper.make_node("Reshape", ["s", "back"], ["t"]),
            helper.make_node("Softmax", ["t"], ["y"], axis=axis),
        ],
        {"x": (FLOAT, [1, 3, 4])},
        {"y": (FLOAT, [1, 3, 4])},
        {"shape": _shape(4, 3), "back": _shape(1, 3, 4)},
    )
    x = normal(1, 3, 4)
    before = run(copy_of(model), x=x)
    drop_batch_of_one(model)
    np.testing.assert_allclose(run(model, x=x)[0], before[0], atol=CLOSE)
