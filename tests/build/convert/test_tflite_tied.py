"""A table that a look-up and a product hold in two ways is kept once, with the finer scales."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepack.build.convert.tflite_file import operator_name, tflite_bytes
from edgepack.build.convert.tflite_tied import read_table_once
from tests.build.convert.tflite_graphs import TfliteGraph

ROWS, WIDTH = 40, 8
_F, _I, _B = schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.INT8
_HISTORY = np.array([[3, 0, 39]], np.int32)


def _table() -> npt.NDArray[np.float32]:
    # Rows of very different size, as of popular and of rare items.
    random = np.random.default_rng(1)
    sizes = np.geomspace(0.05, 2, ROWS)[:, None]
    return (random.normal(size=(ROWS, WIDTH)) * sizes).astype(np.float32)


def _ranker(
    looked_up: npt.NDArray[np.float32], multiplied: npt.NDArray[np.float32], *, zero: int = 0
) -> Any:
    """A history's rows, and their products with every row: both are answers."""
    made = TfliteGraph()
    history = made.tensor((1, 3), _I)
    one = np.abs(looked_up).max() / 127
    table = made.tensor(looked_up.shape, _B, np.rint(looked_up / one).astype(np.int8))
    each = np.abs(multiplied).max(axis=1) / 127
    weights = made.tensor(multiplied.shape, _B, np.rint(multiplied / each[:, None]).astype(np.int8))
    found = made.tensor((1, 3, WIDTH), _B)
    rows = made.tensor((1, 3, WIDTH), _F)
    scores = made.tensor((3, len(multiplied)), _F)
    for place, scales in ((table, [one]), (weights, each), (found, [one])):
        quantisation = made.graph.tensors[place].quantization
        quantisation.scale = np.array(scales, np.float32)
        quantisation.zeroPoint = np.full(len(scales), zero, np.int64)
        quantisation.quantizedDimension = 0
    made.add("GATHER", 2, [table, history], [found], schema.GatherOptionsT())
    made.add("DEQUANTIZE", 2, [found], [rows], schema.DequantizeOptionsT())
    options = schema.FullyConnectedOptionsT()
    options.asymmetricQuantizeInputs = True
    made.add("FULLY_CONNECTED", 12, [rows, weights, -1], [scores], options)
    made.graph.inputs, made.graph.outputs = [history], [rows, scores]
    return made.model


def _names(model: Any) -> list[str]:
    return [operator_name(model, each) for each in model.subgraphs[0].operators]


def _run(model: Any, place: int) -> Any:
    interpreter = Interpreter(model_content=tflite_bytes(model))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], _HISTORY)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[place]["index"])


@pytest.mark.parametrize("more", [0, 24], ids=["as long", "filled up"])
def test_rows_are_read_from_the_product_s_table_with_its_scales(more: int) -> None:
    table = _table()
    longer = np.pad(table, ((0, more), (0, 0)), constant_values=0.5)
    before = _run(_ranker(table, longer), 0)
    model = _ranker(table, longer)
    assert read_table_once(model) == 1
    assert "GATHER" not in _names(model)
    assert "DEQUANTIZE" not in _names(model)
    after = _run(model, 0)
    wanted = table[_HISTORY]
    steps = np.abs(table).max(axis=1)[_HISTORY][..., None] / 127
    assert np.all(np.abs(after - wanted) <= steps * 0.5001)
    # One scale for all rows keeps next to nothing of the small ones.
    assert np.abs(after - wanted)[0, 1].max() < np.abs(before - wanted)[0, 1].max() / 4


def test_the_products_get_nearer_to_the_float_table_s() -> None:
    table, model = _table(), _ranker(_table(), _table())
    read_table_once(model)
    wanted = table[_HISTORY[0]] @ table.T
    before, after = (np.abs(_run(m, 1) - wanted).max() for m in (_ranker(table, table), model))
    assert after <= before


def test_two_tables_stay_two() -> None:
    other = _table()
    other[5, 2] += 0.2
    model = _ranker(_table(), other)
    assert read_table_once(model) == 0
    assert _names(model) == ["GATHER", "DEQUANTIZE", "FULLY_CONNECTED"]


def test_a_shorter_table_is_not_read() -> None:
    assert read_table_once(_ranker(_table(), _table()[:-1])) == 0


def test_scales_around_another_zero_are_left_alone() -> None:
    assert read_table_once(_ranker(_table(), _table(), zero=3)) == 0


def test_rows_that_are_read_as_int8_too_stay() -> None:
    model = _ranker(_table(), _table())
    graph = model.subgraphs[0]
    graph.outputs = np.array([*graph.outputs, graph.operators[0].outputs[0]], np.int32)
    assert read_table_once(model) == 0
