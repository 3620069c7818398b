"""Small rankers made with nothing but the package onnx, and what numpy says they answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LENGTH = 8
TOP_K = 10


def table_of(items: int, width: int, seed: int = 7) -> NDArray[np.float32]:
    """An item table; row 0 is the padding's and all zeros."""
    table = np.random.default_rng(seed).normal(0, 1, (items + 1, width)).astype(np.float32)
    table[0] = 0
    return table


def write_ranker(path: Path, table: NDArray[np.float32], *, half: bool = False) -> Path:
    """Writes a model that ranks the table's rows against the sum of a history's rows.

    Input `history` int32[rows, LENGTH]; outputs `scores` float32[rows, TOP_K] and `items`
    int64[rows, TOP_K]. The rows vary.

    Args:
        path: The file.
        table: float32[items + 1, width].
        half: Whether weights and products are float16; the scores that are ranked stay float32.
    """
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    weights = table.astype(np.float16) if half else table
    nodes = [
        helper.make_node("Gather", ["table", "history"], ["rows"], axis=0),
        helper.make_node("ReduceSum", ["rows", "axis"], ["sum"], keepdims=0),
        helper.make_node("MatMul", ["sum", "items_t"], ["products"]),
        helper.make_node("Cast", ["products"], ["all_scores"], to=TensorProto.FLOAT),
        helper.make_node("TopK", ["all_scores", "k"], ["scores", "places"], axis=1),
        helper.make_node("Add", ["places", "one"], ["items"]),
    ]
    constants = {
        "table": weights,
        "items_t": np.ascontiguousarray(weights[1:].T),
        "axis": np.array([1], np.int64),
        "k": np.array([TOP_K], np.int64),
        "one": np.array(1, np.int64),
    }
    assert helper.tensor_dtype_to_np_dtype(kind) == weights.dtype
    graph = helper.make_graph(
        nodes,
        "ranker",
        [helper.make_tensor_value_info("history", TensorProto.INT32, ["rows", LENGTH])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", TOP_K]),
            helper.make_tensor_value_info("items", TensorProto.INT64, ["rows", TOP_K]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def histories(rows: int, items: int, seed: int = 3) -> NDArray[np.int32]:
    """Random histories, int32[rows, LENGTH]."""
    return np.random.default_rng(seed).integers(1, items + 1, (rows, LENGTH)).astype(np.int32)


def expected_scores(table: NDArray[np.float32], history: NDArray[np.int32]) -> NDArray[np.float64]:
    """All scores in double precision, float64[rows, items]."""
    wide = table.astype(np.float64)
    scores: NDArray[np.float64] = wide[history].sum(axis=1) @ wide[1:].T
    return scores
