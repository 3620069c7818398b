"""Keeps weights as 8-bit integers that ONNX Runtime turns into floats once, when it loads them.

Rounding the activations of every call pays where a matrix is large. For a small one it takes
longer than the product itself, and it costs accuracy: such weights are small in the file and
float while they are used. Cast and Mul of constants are computed at load; DequantizeLinear is
not, since the runtime keeps it for its integer kernels.

Runs in a worker; imports onnx. Not aware of how a graph was made. Used by `onnx_variant`.

Source: onnxruntime/core/optimizer/constant_folding.cc, `skip_dequantize_linear`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edgepack.build.convert.onnx_graph import Array, Graph, attribute

#: Smaller constants are not worth two nodes.
LEAST_ELEMENTS: Final = 1024
_MOST: Final = 127
#: The constant inputs of these operators that are weights, by position, and the axis over which a
#: scale holds: there is one for each output of a product, and for each gate's unit.
_WEIGHTS: Final[Mapping[str, Mapping[int, int]]] = {
    "MatMul": {1: -2},
    "Gemm": {1: -2},
    "GRU": {1: -1, 2: -1},
    "LSTM": {1: -1, 2: -1},
}


def pack_weights(model: Any, wanted: Callable[[Any], bool]) -> int:
    """Replaces float weights by 8-bit ones with a scale for each output.

    Args:
        model: An ONNX model, changed in place.
        wanted: Says of a node whether its weights are to be packed.

    Returns:
        How many were. One that another operator reads in another way is left alone.
    """
    graph = Graph(model)
    if graph.has_subgraphs:
        return 0
    uses: dict[str, set[int | None]] = {}
    for node in graph.nodes:
        for place, name in enumerate(node.input):
            axis = _axis(node, place) if wanted(node) else None
            uses.setdefault(name, set()).add(axis)
    packed = 0
    for name, axes in uses.items():
        weights = graph.constant(name)
        axis = next(iter(axes)) if len(axes) == 1 else None
        if weights is None or axis is None or weights.dtype != np.float32:
            continue
        if weights.size >= LEAST_ELEMENTS and weights.ndim > 1 and name not in graph.outputs:
            _pack(graph, name, weights, axis)
            packed += 1
    return packed


def quantise_evenly(weights: Array, axis: int) -> tuple[Array, Array]:
    """Returns int8 values of the same shape, and float32 scales that broadcast against them.

    Args:
        weights: float32, any shape.
        axis: Over which a scale holds.
    """
    scales = np.abs(weights).max(axis=axis, keepdims=True) / _MOST
    scales = np.where(scales == 0, 1.0, scales).astype(np.float32)
    return np.clip(np.rint(weights / scales), -_MOST, _MOST).astype(np.int8), scales


def _axis(node: Any, place: int) -> int | None:
    """Returns over which axis of an input a scale holds; None for what is no weight."""
    axis = _WEIGHTS.get(node.op_type, {}).get(place)
    turned = node.op_type == "Gemm" and attribute(node, "transB", 0)
    return -1 if axis is not None and turned else axis


def _pack(graph: Graph, name: str, weights: Array, axis: int) -> None:
    from onnx import TensorProto, helper

    values, scales = quantise_evenly(weights, axis)
    kept = [each for each in graph.model.graph.initializer if each.name != name]
    del graph.model.graph.initializer[:]
    graph.model.graph.initializer.extend(kept)
    small = graph.add_constant(f"{name}int8_", values)
    scale = graph.add_constant(f"{name}scale_", scales)
    cast = helper.make_node("Cast", [small], [f"{name}cast_"], f"{name}cast", to=TensorProto.FLOAT)
    scaled = helper.make_node("Mul", [f"{name}cast_", scale], [name], f"{name}unpack")
    graph.model.graph.node.insert(0, scaled)
    graph.model.graph.node.insert(0, cast)
