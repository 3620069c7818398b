"""Projections of a one-headed attention are multiplied once; what it answers stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgepack.build.convert.onnx_attention import merge_projections
from tests.build.convert.onnx_models import (
    FLOAT,
    Array,
    copy_of,
    graph_of,
    normal,
    operators,
    run,
)

STEPS, WIDTH = 6, 8
#: The matrices are multiplied in another order: the last bits of float32 may differ.
CLOSE = 1e-5


def _attention(asked: int = STEPS, units: int = WIDTH, shared: str = "") -> Any:
    """The last positions of a history ask all of it; no batch, as `drop_batch_of_one` leaves it."""
    make = helper.make_node
    nodes = [
        make("Slice", ["x", "first", "end", "rows"], ["asking"]),
        make("MatMul", ["asking", "wq"], ["q"]),
        make("MatMul", ["x", "wk"], ["k"]),
        make("Transpose", ["k"], ["kt"], perm=[1, 0]),
        make("MatMul", ["q", "kt"], ["scores"]),
        make("Add", ["scores", "mask"], ["masked"]),
        make("Softmax", ["masked"], ["shares"], axis=-1),
        make("MatMul", ["x", "wv"], ["v"]),
        make("MatMul", ["shares", "v"], ["seen"]),
        make("MatMul", ["seen", "wo"], ["out"]),
        make("Add", ["out", "bo"], ["y"]),
    ]
    outputs = {"y": (FLOAT, [asked, WIDTH])}
    if shared:
        outputs[shared] = (FLOAT, [asked if shared in ("q", "seen") else STEPS, units])
    return graph_of(nodes, {"x": (FLOAT, [STEPS, WIDTH])}, outputs, _weights(units, (asked, STEPS)))


def _weights(units: int, mask: tuple[int, ...]) -> dict[str, Array]:
    return {
        "first": np.array([STEPS - mask[-2]], dtype=np.int64),
        "end": np.array([STEPS], dtype=np.int64),
        "rows": np.array([0], dtype=np.int64),
        "wq": normal(WIDTH, units, seed=1),
        "wk": normal(WIDTH, units, seed=2),
        "wv": normal(WIDTH, units, seed=3),
        "wo": normal(units, WIDTH, seed=4),
        "bo": normal(WIDTH, seed=5),
        "mask": np.triu(np.full(mask, -20, dtype=np.float32), 1 + STEPS - mask[-2]),
    }


def _in_rows() -> Any:
    """The same for any number of histories, with the reshapes an exporter puts around products."""
    make = helper.make_node
    nodes = [make("Reshape", ["x", "matrix"], ["flat"])]
    for name in ("q", "k", "v"):
        nodes += [
            make("MatMul", ["flat", f"w{name}"], [f"{name}2"]),
            make("Reshape", [f"{name}2", "whole"], [name]),
        ]
    nodes += [
        make("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        make("MatMul", ["q", "kt"], ["scores"]),
        make("Add", ["scores", "mask"], ["masked"]),
        make("Softmax", ["masked"], ["shares"], axis=-1),
        make("MatMul", ["shares", "v"], ["seen"]),
        make("Reshape", ["seen", "matrix"], ["seen2"]),
        make("MatMul", ["seen2", "wo"], ["out2"]),
        make("Reshape", ["out2", "whole"], ["out"]),
        make("Add", ["out", "bo"], ["y"]),
    ]
    constants = {
        **_weights(WIDTH, (STEPS, STEPS)),
        "matrix": np.array([-1, WIDTH], dtype=np.int64),
        "whole": np.array([-1, STEPS, WIDTH], dtype=np.int64),
    }
    shape: list[int | str] = ["batch", STEPS, WIDTH]
    return graph_of(nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, shape)}, constants)


@pytest.mark.parametrize("asked", [1, STEPS], ids=["the last position", "every position"])
def test_two_products_of_an_attention_are_left(asked: int) -> None:
    model = _attention(asked)
    x = normal(STEPS, WIDTH, seed=9)
    before = run(copy_of(model), x=x)
    assert merge_projections(model) == 2
    assert operators(model).count("MatMul") == 4
    np.testing.assert_allclose(run(model, x=x)[0], before[0], rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_graph_for_any_number_of_rows_is_merged_as_well(rows: int) -> None:
    model = _in_rows()
    x = normal(rows, STEPS, WIDTH, seed=9)
    before = run(copy_of(model), x=x)
    assert merge_projections(model) == 2
    assert operators(model).count("MatMul") == 4
    np.testing.assert_allclose(run(model, x=x)[0], before[0], rtol=CLOSE, atol=CLOSE)


def test_narrow_projections_stay_where_merging_is_more_work() -> None:
    model = _attention(units=2)
    same = copy_of(model)
    assert merge_projections(model) == 0
    assert model == same


@pytest.mark.parametrize("shared", ["q", "k", "v", "seen"])
def test_a_projection_that_something_else_reads_stays(shared: str) -> None:
    model = _attention(shared=shared)
    x = normal(STEPS, WIDTH, seed=9)
    before = run(copy_of(model), x=x)
    assert merge_projections(model) == 1
    for one, other in zip(run(model, x=x), before, strict=True):
        np.testing.assert_allclose(one, other, rtol=CLOSE, atol=CLOSE)


def test_a_projection_with_a_bias_stays() -> None:
    model = _attention()
    for node in model.graph.node:
        if node.output[0] in ("k", "v"):
            node.output[0] += "_plain"
    for place, name in ((3, "k"), (9, "v")):
        bias = helper.make_node("Add", [f"{name}_plain", "bo"], [name])
        model.graph.node.insert(place, bias)
    x = normal(STEPS, WIDTH, seed=9)
    before = run(copy_of(model), x=x)
    assert merge_projections(model) == 0
    np.testing.assert_array_equal(run(model, x=x)[0], before[0])


def test_a_product_of_heads_is_left_alone() -> None:
    make = helper.make_node
    split = np.array([STEPS, 2, WIDTH // 2], dtype=np.int64)
    model = graph_of(
        [
            make("MatMul", ["x", "wq"], ["q2"]),
            make("Reshape", ["q2", "split"], ["q"]),
            make("Transpose", ["q"], ["qt"], perm=[1, 0, 2]),
            make("MatMul", ["x", "wk"], ["k2"]),
            make("Reshape", ["k2", "split"], ["k"]),
            make("Transpose", ["k"], ["kt"], perm=[1, 2, 0]),
            make("MatMul", ["qt", "kt"], ["y"]),
        ],
        {"x": (FLOAT, [STEPS, WIDTH])},
        {"y": (FLOAT, [2, STEPS, STEPS])},
        {"wq": normal(WIDTH, WIDTH), "wk": normal(WIDTH, WIDTH, seed=1), "split": split},
    )
    same = copy_of(model)
    assert merge_projections(model) == 0
    assert model == same
