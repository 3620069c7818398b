"""Shapes become constants only where nothing but the number of rows decides them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.build.convert.onnx_batch import settle_reshapes

_INT = TensorProto.INT64
#: Five rows whose first values differ.
_HISTORIES = np.array([[2, 1, 1, 1], [2, 3, 3, 3], [6, 5, 5, 5], [3, 7, 7, 7], [1, 9, 9, 9]])


def _constant(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def _model(extents: tuple[str, ...], nodes: list[Any], *constants: Any) -> Any:
    """A model whose nodes compute `shape`, by which the histories are reshaped."""
    graph = helper.make_graph(
        [*nodes, helper.make_node("Reshape", ["history", "shape"], ["y"])],
        "g",
        [helper.make_tensor_value_info("history", _INT, ["batch", 4])],
        [helper.make_tensor_value_info("y", _INT, extents)],
        list(constants),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _shape_of_the_batch() -> Any:
    """(rows, 2, 2), as an exporter computes it from the shape of what comes in."""
    return _model(
        ("batch", "two", "also"),
        [
            helper.make_node("Shape", ["history"], ["rows"], start=0, end=1),
            helper.make_node("Concat", ["rows", "rest"], ["shape"], axis=0),
        ],
        _constant("rest", 2, 2),
    )


def _shape_of_the_first_row() -> Any:
    """(the first value of the first row, whatever is left)."""
    return _model(
        ("first", "left"),
        [
            helper.make_node("Slice", ["history", "from", "to"], ["corner"]),
            helper.make_node("Reshape", ["corner", "one"], ["first"]),
            helper.make_node("Concat", ["first", "open"], ["shape"], axis=0),
        ],
        *(_constant("from", 0, 0), _constant("to", 1, 1)),
        *(_constant("one", 1), _constant("open", -1)),
    )


def _run(model: Any, histories: npt.NDArray[np.int64]) -> Any:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"history": histories})[0]


@pytest.mark.parametrize("kept", [5, 1])
def test_a_shape_that_only_the_batch_leaves_open_becomes_a_constant(
    tmp_path: Path, kept: int
) -> None:
    np.savez(tmp_path / "samples.npz", histories=_HISTORIES[:kept])
    model = _shape_of_the_batch()
    settle_reshapes(model, tmp_path / "samples.npz")
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Reshape"]
    for rows in (1, 4):
        expected = _HISTORIES[:rows].reshape(rows, 2, 2)
        np.testing.assert_array_equal(_run(model, _HISTORIES[:rows]), expected)


def test_a_shape_that_the_first_rows_values_decide_stays_computed(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", histories=_HISTORIES)
    model = _shape_of_the_first_row()
    settle_reshapes(model, tmp_path / "samples.npz")
    # Of the calls that settling makes, one begins with a 2 and one with a 6.
    assert _run(model, _HISTORIES[:2]).shape == (2, 4)
    assert _run(model, _HISTORIES[2:5]).shape == (6, 2)
    assert _run(model, _HISTORIES[4:]).shape == (1, 4)
