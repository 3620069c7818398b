"""Keeps a table once that is read by index and multiplied, where its scales differ by row.

The converter gives the table of a `GATHER` one scale and the same table in a product one for each
row, so the file holds it twice. `EMBEDDING_LOOKUP` reads the product's: int8 rows with a scale
each, and floats come out, so the `DEQUANTIZE` goes too. Runs in a worker; used by `tflite`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgepack.build.convert.tflite_edit import TfliteEditor
from edgepack.build.convert.tflite_file import constant, operator_name

#: The version that knows a scale for each row. A runtime that has FULLY_CONNECTED 12, which the
#: product needs, has it too. Source: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc.
_LOOKUP_VERSION: Final = 4
#: Rows compared at a time: a million items in floats would be 256 MB.
_COMPARED_ROWS: Final = 65_536
_MATRIX: Final = 2


def read_table_once(model: Any) -> int:
    """Makes look-ups read the table of a product that has a scale for each row, in place.

    Args:
        model: A ModelT.

    Returns:
        How many look-ups were changed.
    """
    graph = model.subgraphs[0]
    found = 0
    for operator in list(graph.operators):
        if operator_name(model, operator) != "GATHER":
            continue
        dequantised = _only_dequantised(model, graph, operator)
        place = _same_table(model, graph, operator) if dequantised is not None else None
        if dequantised is None or place is None:
            continue
        _replace(model, graph, operator, dequantised, place)
        found += 1
    return found


def _only_dequantised(model: Any, graph: Any, operator: Any) -> Any | None:
    """Returns the one reader of a look-up's rows if it makes floats of them."""
    place = operator.outputs[0]
    readers = [each for each in graph.operators if place in each.inputs]
    whole = len(readers) == 1 and place not in graph.outputs
    first = operator.builtinOptions is None or operator.builtinOptions.axis == 0
    known = graph.tensors[operator.inputs[1]].type == schema.TensorType.INT32
    named = whole and operator_name(model, readers[0]) == "DEQUANTIZE"
    return readers[0] if named and first and known else None


def _same_table(model: Any, graph: Any, operator: Any) -> int | None:
    """Returns the table of a product that begins with the rows of a look-up's."""
    tensor = graph.tensors[operator.inputs[0]]
    table = constant(model, tensor) if tensor.type == schema.TensorType.INT8 else None
    if table is None or table.ndim != _MATRIX or len(_scales(tensor)) != 1:
        return None
    for product in graph.operators:
        if operator_name(model, product) != "FULLY_CONNECTED":
            continue
        place = int(product.inputs[1])
        weights = graph.tensors[place]
        values = constant(model, weights) if weights.type == schema.TensorType.INT8 else None
        if values is None or len(_scales(weights)) != len(values) or len(values) < len(table):
            continue
        if values.shape[1] == table.shape[1] and _agree(table, tensor, values, weights):
            return place
    return None


def _scales(tensor: Any) -> npt.NDArray[np.float32]:
    given = None if tensor.quantization is None else tensor.quantization.scale
    return np.zeros(0, np.float32) if given is None else np.asarray(given, np.float32)


def _agree(table: Any, tensor: Any, values: Any, weights: Any) -> bool:
    """Whether both are one table, each rounded with its own scales."""
    if np.any(tensor.quantization.zeroPoint) or np.any(weights.quantization.zeroPoint):
        return False
    one, scales = float(_scales(tensor)[0]), _scales(weights)
    for start in range(0, len(table), _COMPARED_ROWS):
        rows = slice(start, min(start + _COMPARED_ROWS, len(table)))
        each = scales[rows, None]
        apart = np.abs(table[rows] * one - values[rows] * each)
        # Half a step of either is rounding.
        if np.any(apart > (one + each) * 0.5001):
            return False
    return True


def _replace(model: Any, graph: Any, operator: Any, dequantised: Any, place: int) -> None:
    edit = TfliteEditor(model, graph)
    indices, out = int(operator.inputs[1]), int(dequantised.outputs[0])
    width, count = int(graph.tensors[place].shape[1]), int(np.prod(graph.tensors[indices].shape))
    # The operator takes a list of indices and gives a matrix.
    listed = edit.tensor([count], schema.TensorType.INT32)
    rows = edit.tensor([count, width], schema.TensorType.FLOAT32)
    look_up = edit.operator("EMBEDDING_LOOKUP", [listed, place], [rows], version=_LOOKUP_VERSION)
    graph.operators.remove(dequantised)
    position = graph.operators.index(operator)
    new = [edit.reshape(indices, listed), look_up, edit.reshape(rows, out)]
    graph.operators[position : position + 1] = new
