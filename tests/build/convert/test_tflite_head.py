"""A scoring product made hybrid shares the table that the look-up reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgepack.build.convert.tflite_file import constant
from edgepack.build.convert.tflite_head import make_hybrid
from tests.build.convert.tflite_graphs import TfliteGraph

ROWS, WIDTH = 100, 8
_F, _I, _B = schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.INT8


def _calibrated(table: Any, largest: float) -> Any:
    """A look-up of 8-bit rows, calibrated to a range, and a product with the float table."""
    made = TfliteGraph()
    history, state = made.tensor((1, 3), _I), made.tensor((1, WIDTH), _F)
    step = largest / 127
    rounded = np.clip(np.rint(table / step) + 1, -128, 127).astype(np.int8)
    looked_up = made.tensor(table.shape, _B, rounded)
    rows, scores = made.tensor((1, 3, WIDTH), _B), made.tensor((1, len(table)), _F)
    for place in (looked_up, rows):
        quantisation = made.graph.tensors[place].quantization
        quantisation.scale = np.array([step], np.float32)
        quantisation.zeroPoint = np.array([1], np.int64)
    weights = made.tensor(table.shape, _F, table)
    made.graph.tensors[scores].name = b"scores"
    made.add("GATHER", 2, [looked_up, history], [rows], schema.GatherOptionsT())
    made.add("FULLY_CONNECTED", 1, [state, weights, -1], [scores], schema.FullyConnectedOptionsT())
    made.graph.inputs, made.graph.outputs = [history, state], [rows, scores]
    return made.model


def _shares(model: Any) -> bool:
    make_hybrid(model, {"scores"})
    look_up, product = model.subgraphs[0].operators
    return bool(look_up.inputs[0] == product.inputs[1])


def _table() -> Any:
    table = np.random.default_rng(3).uniform(-1, 1, (ROWS, WIDTH)).astype(np.float32)
    # Items that no calibration row held, with numbers beyond all others'.
    table[7, :3], table[50, 4] = 1.6, -1.8
    return table


@pytest.mark.parametrize("largest", [1.8, 1.0], ids=["whole", "cut"])
def test_a_table_is_kept_once_also_where_calibration_cut_its_range(largest: float) -> None:
    table = _table()
    model = _calibrated(table, largest)
    assert _shares(model)
    kept = model.subgraphs[0].tensors[model.subgraphs[0].operators[0].inputs[0]]
    values = constant(model, kept)
    assert values is not None
    # The look-up reads what was cut off before, too.
    step = float(kept.quantization.scale[0])
    assert np.abs(values * step - table).max() <= step * 0.5001


def test_a_table_of_which_much_was_cut_is_another_one() -> None:
    assert not _shares(_calibrated(_table(), 0.5))


def test_another_table_is_not_shared() -> None:
    model = _calibrated(_table(), 1.8)
    other = _table()
    other[20, 2] += 0.2
    weights = model.subgraphs[0].tensors[5]
    model.buffers[weights.buffer].data = np.frombuffer(other.tobytes(), np.uint8)
    assert not _shares(model)
