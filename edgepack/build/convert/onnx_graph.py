"""Looks things up in an ONNX graph that is being rewritten. Runs in a worker.

It is not aware of what is rewritten. Imports onnx; used by the passes `onnx_flat`, `onnx_tidy`
and `onnx_weights`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
#: A shape of which some extents are not known, such as the batch.
Extents = tuple[int | None, ...]


class Graph:
    """A model's main graph with its constants, makers, reader counts and static shapes.

    It shows the graph as it was when this was made; `replace_nodes` changes the model.

    Args:
        model: An ONNX model.
    """

    def __init__(self, model: Any) -> None:
        import onnx

        self.model = model
        self.nodes = list(model.graph.node)
        self.outputs = {each.name for each in model.graph.output}
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.readers = Counter(name for node in self.nodes for name in node.input if name)
        self.readers.update(self.outputs)
        self._constants = {each.name: each for each in model.graph.initializer}
        self._arrays: dict[str, Array] = {}
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        constants = {each.name: tuple(each.dims) for each in model.graph.initializer}
        self.extents: dict[str, Extents] = {
            each.name: _extents(each) for each in values if each.type.tensor_type.HasField("shape")
        }
        self.extents.update(constants)
        self.shapes: dict[str, Shape] = {
            name: tuple(n for n in extents if n is not None)
            for name, extents in self.extents.items()
            if None not in extents
        }
        self.types = {each.name: each.type.tensor_type.elem_type for each in values}
        self.types.update({each.name: each.data_type for each in model.graph.initializer})

    @property
    def has_subgraphs(self) -> bool:
        """Whether a node holds a graph of its own, which may read any name of this one."""
        return any(each.HasField("g") for node in self.nodes for each in node.attribute)

    def constant(self, name: str) -> Array | None:
        """Returns a constant's value; None where it is computed."""
        from onnx import numpy_helper

        if name not in self._constants:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self._constants[name])
        return self._arrays[name]

    def add_constant(self, name: str, value: Array) -> str:
        """Adds a constant under a free name made of the one given; returns that name."""
        from onnx import numpy_helper

        taken = {*self._constants, *self.makers, *(each.name for each in self.model.graph.input)}
        free, number = name, 0
        while free in taken:
            number += 1
            free = f"{name}_{number}_"
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), free)
        self.model.graph.initializer.append(tensor)
        self._constants[free] = tensor
        self.shapes[free] = tuple(value.shape)
        self.extents[free] = self.shapes[free]
        self.types[free] = tensor.data_type
        return free

    def maker(self, name: str, *operators: str) -> Any | None:
        """Returns the node that computes a value; None if it is not one of these operators."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type in operators else None

    def read_once(self, name: str) -> bool:
        """Whether a value has one reader and is no output."""
        return self.readers[name] == 1 and name not in self.outputs

    def replace_nodes(self, nodes: Sequence[Any]) -> None:
        """Gives the model these nodes, in this order."""
        kept = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Returns an attribute's value, or a default where the node does not say."""
    from onnx import helper

    found = [each for each in node.attribute if each.name == name]
    return helper.get_attribute_value(found[0]) if found else default


def _extents(value: Any) -> Extents:
    shape = value.type.tensor_type.shape
    return tuple(int(d.dim_value) if d.HasField("dim_value") else None for d in shape.dim)
