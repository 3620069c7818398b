"""Small ONNX graphs for the tests of what is done to one, and running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]


def graph_of(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, tuple[int, Sequence[int | str]]],
    constants: Mapping[str, Array],
) -> Any:
    """Makes a model; inputs and outputs are an element type and a shape by name."""
    values = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in each.items()]
        for each in (inputs, outputs)
    ]
    arrays = [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()]
    graph = helper.make_graph(list(nodes), "g", *values, arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: Any, **inputs: Array) -> list[Array]:
    """Runs a model in ONNX Runtime, after ONNX's own checks."""
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return [np.asarray(each) for each in session.run(None, inputs)]


def operators(model: Any) -> list[str]:
    """Returns the operators in the graph's order."""
    return [str(node.op_type) for node in model.graph.node]


def copy_of(model: Any) -> Any:
    """Returns a model of its own with the same graph."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    return other


def normal(*shape: int, seed: int = 0) -> Array:
    """Returns float32 numbers around zero."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


FLOAT, INT32, INT64 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64
