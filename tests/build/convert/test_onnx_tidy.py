"""What computes nothing new leaves the graph; what it answers stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from edgepack.build.convert.onnx_file import drop_unused
from edgepack.build.convert.onnx_tidy import (
    ask_for_numbers,
    fold_scales,
    look_up_positions,
    rank_without_padding,
    tidy,
    unwrap_indices,
)
from tests.build.convert.onnx_models import (
    FLOAT,
    INT32,
    INT64,
    Array,
    copy_of,
    graph_of,
    normal,
    operators,
    run,
)

ROWS, WIDTH, K = 30, 8, 5
#: A factor that went into the weights is rounded there: the last bits of float32 may differ.
CLOSE = 1e-5


def _lookup(rows: int) -> Any:
    """An embedding as tf2onnx writes Keras's: an index below zero counts from the end."""
    make = helper.make_node
    nodes = [
        make("Add", ["i", "rows"], ["moved"]),
        make("Cast", ["i"], ["f"], to=FLOAT),
        make("Less", ["f", "zero"], ["below"]),
        make("Not", ["below"], ["above"]),
        make("Cast", ["above"], ["above_i"], to=INT32),
        make("Mul", ["i", "above_i"], ["kept"]),
        make("Cast", ["below"], ["below_i"], to=INT32),
        make("Mul", ["below_i", "moved"], ["taken"]),
        make("Add", ["taken", "kept"], ["index"]),
        make("Gather", ["table", "index"], ["y"]),
    ]
    constants = {
        "rows": np.array(rows, dtype=np.int32),
        "zero": np.array(0, dtype=np.float32),
        "table": normal(ROWS, WIDTH),
    }
    return graph_of(nodes, {"i": (INT32, [1, 4])}, {"y": (FLOAT, [1, 4, WIDTH])}, constants)


def test_a_look_up_takes_its_index_as_it_comes() -> None:
    model = _lookup(ROWS)
    index = np.array([[0, 7, -1, ROWS - 1]], dtype=np.int32)
    before = run(copy_of(model), i=index)
    assert unwrap_indices(model) == 1
    drop_unused(model)
    assert operators(model) == ["Gather"]
    np.testing.assert_array_equal(run(model, i=index)[0], before[0])


def test_an_index_moved_by_something_else_than_the_tables_length_stays() -> None:
    model = _lookup(ROWS - 3)
    assert unwrap_indices(model) == 0


@pytest.mark.parametrize("between", [[], ["Relu"]], ids=["an input", "computed otherwise"])
def test_a_plain_look_up_stays_as_it_is(between: list[str]) -> None:
    nodes = [helper.make_node(each, ["i"], ["index"]) for each in between]
    nodes.append(helper.make_node("Gather", ["table", "index" if between else "i"], ["y"]))
    model = graph_of(
        nodes, {"i": (INT32, [1, 4])}, {"y": (FLOAT, [1, 4, WIDTH])}, {"table": normal(ROWS, WIDTH)}
    )
    same = copy_of(model)
    assert unwrap_indices(model) == 0
    assert model == same


def _scaled(scale: Array, *, shared: bool = False) -> Any:
    make = helper.make_node
    nodes = [
        make("MatMul", ["x", "w"], ["p"]),
        make("Mul", ["p", "scale"], ["y"]),
        *([make("MatMul", ["x", "w"], ["z"])] if shared else []),
    ]
    outputs = {"y": (FLOAT, [3, 4]), **({"z": (FLOAT, [3, 4])} if shared else {})}
    return graph_of(
        nodes, {"x": (FLOAT, [3, WIDTH])}, outputs, {"w": normal(WIDTH, 4), "scale": scale}
    )


def test_a_products_scale_goes_into_its_weights() -> None:
    model = _scaled(np.array(0.125, dtype=np.float32))
    x = normal(3, WIDTH, seed=1)
    before = run(copy_of(model), x=x)
    assert fold_scales(model) == 1
    drop_unused(model)
    assert operators(model) == ["MatMul"]
    np.testing.assert_allclose(run(model, x=x)[0], before[0], rtol=CLOSE)


def test_a_scale_for_each_column_stays() -> None:
    assert fold_scales(_scaled(normal(4))) == 0


def test_weights_that_another_product_reads_are_not_scaled() -> None:
    assert fold_scales(_scaled(np.array(0.5, dtype=np.float32), shared=True)) == 0


def _ranking(first: int = 1, moved: int = 1, k: int = K, largest: int = 1) -> Any:
    """Scores of a catalogue behind a column of padding, and its best as items."""
    make = helper.make_node
    nodes = [
        make("MatMul", ["x", "w"], ["product"]),
        make("Add", ["product", "bias"], ["scores"]),
        make("Slice", ["scores", "starts", "ends"], ["items_only"]),
        make("TopK", ["items_only", "k"], ["best", "at"], largest=largest),
        make("Cast", ["at"], ["place"], to=INT32),
        make("Add", ["place", "moved"], ["items"]),
    ]
    constants = {
        "w": normal(WIDTH, ROWS),
        # Padding would win, were it ranked.
        "bias": np.where(np.arange(ROWS) < first, 50, normal(ROWS, seed=3)).astype(np.float32),
        "starts": np.array([0, first], dtype=np.int64),
        "ends": np.array([1, ROWS], dtype=np.int64),
        "k": np.array([k], dtype=np.int64),
        "moved": np.array(moved, dtype=np.int32),
    }
    return graph_of(
        nodes,
        {"x": (FLOAT, [1, WIDTH])},
        {"best": (FLOAT, [1, k]), "items": (INT32, [1, k])},
        constants,
    )


@pytest.mark.parametrize("k", [1, K, ROWS - 1])
def test_padding_is_never_among_the_best_and_items_keep_their_numbers(k: int) -> None:
    model = _ranking(k=k)
    x = normal(1, WIDTH, seed=5)
    before = run(copy_of(model), x=x)
    assert rank_without_padding(model) == 1
    drop_unused(model)
    after = run(model, x=x)
    assert operators(model) == ["MatMul", "Add", "TopK", "Cast"]
    np.testing.assert_array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[1], before[1])
    assert after[1].min() >= 1


@pytest.mark.parametrize(
    "model",
    [_ranking(first=2, moved=1), _ranking(largest=0), _ranking(first=0, moved=0)],
    ids=["other numbers", "the lowest", "no cut"],
)
def test_another_ranking_is_left_alone(model: Any) -> None:
    same = copy_of(model)
    assert rank_without_padding(model) == 0
    assert model == same


def test_scores_that_are_an_output_keep_their_padding() -> None:
    model = _ranking()
    model.graph.output.append(helper.make_tensor_value_info("scores", FLOAT, [1, ROWS]))
    assert rank_without_padding(model) == 0


def _question(kind: int, zero: Array) -> Any:
    nodes = [
        helper.make_node("Equal", ["x", "zero"], ["none"]),
        helper.make_node("Not", ["none"], ["there"]),
        helper.make_node("Cast", ["there"], ["y"], to=FLOAT),
    ]
    return graph_of(nodes, {"x": (kind, [1, 4])}, {"y": (FLOAT, [1, 4])}, {"zero": zero})


def test_whether_an_integer_is_not_zero_is_one_cast() -> None:
    model = _question(INT32, np.array(0, dtype=np.int32))
    x = np.array([[0, 1, -7, 2**31 - 1]], dtype=np.int32)
    before = run(copy_of(model), x=x)
    assert ask_for_numbers(model) == 1
    drop_unused(model)
    assert operators(model) == ["Cast", "Cast"]
    np.testing.assert_array_equal(run(model, x=x)[0], before[0])


@pytest.mark.parametrize(
    "model",
    [
        _question(INT32, np.array(3, dtype=np.int32)),
        _question(FLOAT, np.array(0, dtype=np.float32)),
    ],
    ids=["another number", "no integer"],
)
def test_another_question_is_left_alone(model: Any) -> None:
    same = copy_of(model)
    assert ask_for_numbers(model) == 0
    assert model == same


def _cut(starts: list[int], ends: list[int], axes: list[int], steps: list[int] | None) -> Any:
    given = {"starts": starts, "ends": ends, "axes": axes, **({"steps": steps} if steps else {})}
    constants = {name: np.array(each, dtype=np.int64) for name, each in given.items()}
    return graph_of(
        [helper.make_node("Slice", ["x", *constants], ["y"])],
        {"x": (FLOAT, ["batch", 6, WIDTH])},
        {"y": (FLOAT, ["batch", "n", "m"])},
        constants,
    )


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([5], [6], [1], None),
        ([-1], [2**31 - 1], [-2], [1]),
        ([0, 2, 0], [2**63 - 1, 3, 2**31 - 1], [0, 1, 2], [1, 1, 1]),
        ([0], [1], [1], [1]),
    ],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_a_single_position_is_looked_up(
    starts: list[int], ends: list[int], axes: list[int], steps: list[int] | None, rows: int
) -> None:
    model = _cut(starts, ends, axes, steps)
    x = normal(rows, 6, WIDTH)
    before = run(copy_of(model), x=x)
    assert look_up_positions(model) == 1
    assert operators(model) == ["Gather"]
    np.testing.assert_array_equal(run(model, x=x)[0], before[0])


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([4], [6], [1], None),
        ([5, 7], [6, 8], [1, 2], None),
        ([0], [1], [0], None),
        ([5], [4], [1], [-1]),
    ],
    ids=["two positions", "of two axes", "of the rows", "backwards"],
)
def test_another_cut_stays(
    starts: list[int], ends: list[int], axes: list[int], steps: list[int] | None
) -> None:
    model = _cut(starts, ends, axes, steps)
    assert look_up_positions(model) == 0
    assert operators(model) == ["Slice"]


def test_a_graph_with_nothing_to_tidy_stays_as_it_is() -> None:
    model = graph_of(
        [helper.make_node("Relu", ["x"], ["y"])],
        {"x": (INT64, ["batch", 3])},
        {"y": (INT64, ["batch", 3])},
        {},
    )
    same = copy_of(model)
    tidy(model)
    assert model == same
