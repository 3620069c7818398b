"""Takes the batch of one out of a graph, and every reshape that only put it there or removed it.

A recommender's call is one history. An exporter keeps the batch's extent of 1 through the graph
and, because dense layers are matrices, reshapes around each product: a Transformer of two blocks
has 21 reshapes of 91 nodes, and a node of it takes ONNX Runtime longer to start than to compute.
Without that extent an activation is a matrix, and a product with its bias one `Gemm`.

Runs in a worker; imports onnx. Not aware of precisions. Used by `onnx_export`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from edgepack.build.convert.onnx_graph import Graph, Shape, attribute

#: Give the same elements in another shape.
_VIEWS: Final = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
#: Broadcast from the last extent on, so they do not care how many extents are in front.
_ELEMENTWISE: Final = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "Equal", "Less", "Greater"),
        *("LessOrEqual", "GreaterOrEqual", "And", "Or", "Not", "Cast", "Neg", "Abs", "Exp"),
        *("Sqrt", "Erf", "Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Softplus", "Clip"),
        *("Reciprocal", "Sign", "Log", "HardSigmoid", "Selu", "Softsign"),
    }
)
#: Work along the last axis, whatever is in front.
_LAST_AXIS: Final = ("Softmax", "LogSoftmax", "LayerNormalization")
#: With fewer extents there is no batch beside what the layer computes on.
_LEAST_RANK: Final = 3
#: How the name of a value without its extent of 1 ends.
_FLAT: Final = "flat_"


def drop_batch_of_one(model: Any) -> int:
    """Removes leading extents of 1 inside the graph; inputs and outputs keep their shapes.

    Args:
        model: An ONNX model, changed in place. One with subgraphs is left alone, and so is a
            value of a shape that is not known, such as one with any number of rows.

    Returns:
        How many nodes there are fewer.
    """
    graph = Graph(model)
    if graph.has_subgraphs:
        return 0
    nodes = _Flattening(graph).run()
    before = len(graph.nodes)
    if len(nodes) >= before:
        return 0
    graph.replace_nodes(nodes)
    del model.graph.value_info[:]
    return before - len(nodes)


class _Flattening:
    """One way through the nodes. Every value is a view of what some node computed."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        #: What a value is a view of, and that value's own shape now.
        self._roots: dict[str, tuple[str, Shape]] = {}
        self._made: dict[tuple[str, Shape], str] = {}
        self._nodes: list[Any] = []

    def run(self) -> list[Any]:
        """Returns the new nodes."""
        for node in self._graph.nodes:
            if self._is_view(node):
                self._roots[node.output[0]] = self._root(node.input[0])
            elif not self._flatten(node):
                self._keep(node)
        self._restore_outputs()
        return self._nodes

    def _root(self, name: str) -> tuple[str, Shape]:
        return self._roots.get(name) or (name, self._graph.shapes[name])

    def _is_view(self, node: Any) -> bool:
        shapes = self._graph.shapes
        if not node.input or node.input[0] not in shapes or node.output[0] not in shapes:
            return False
        if self._graph.constant(node.input[0]) is not None:
            return False
        return node.op_type in _VIEWS or (
            node.op_type == "Transpose" and _moves_ones_only(node, shapes[node.input[0]])
        )

    def _keep(self, node: Any) -> None:
        """Keeps a node and gives it every input in the shape it had."""
        kept = type(node).FromString(node.SerializeToString())
        for i, name in enumerate(kept.input):
            if name in self._roots:
                kept.input[i] = self._need(name, self._graph.shapes[name])
        self._nodes.append(kept)

    def _flatten(self, node: Any) -> bool:
        """Writes a node without its leading extent of 1; False where it has to stay."""
        shape = self._graph.shapes.get(node.output[0], ())
        known = all(name in self._graph.shapes for name in node.input if name)
        if not known or len(shape) < _LEAST_RANK or shape[0] != 1 or len(node.output) != 1:
            return False
        made = self._flat_node(node, len(shape))
        if made is None:
            return False
        made.output[0] = f"{node.output[0]}{_FLAT}"
        self._nodes.append(made)
        self._roots[node.output[0]] = (made.output[0], shape[1:])
        return True

    def _flat_node(self, node: Any, rank: int) -> Any | None:
        """Returns a node without its inputs' leading extent of 1; None where that cannot be."""
        made = type(node).FromString(node.SerializeToString())
        operator, axis = node.op_type, attribute(node, "axis")
        if operator == "Gather":
            return self._flat_gather(node, made)
        if operator == "Slice":
            return self._flat_slice(node, made, rank)
        last = (-1 if axis is None else axis) in (-1, rank - 1)
        if operator in _LAST_AXIS and last:
            _set_ints(made, "axis", -1)
        elif operator == "Concat" and axis not in (0, -rank):
            _set_ints(made, "axis", axis - 1 if axis > 0 else axis)
        elif operator == "Transpose" and next(iter(attribute(node, "perm") or [1])) == 0:
            _set_ints(made, "perm", [each - 1 for each in attribute(node, "perm")[1:]])
        elif operator not in _ELEMENTWISE and not self._multiplies_matrices(node):
            return None
        # A normalisation's weights are vectors.
        return self._with_inputs(made, rank, first=1 if operator in _LAST_AXIS else None)

    def _multiplies_matrices(self, node: Any) -> bool:
        ranks = [len(self._graph.shapes[name]) for name in node.input if name]
        return node.op_type == "MatMul" and min(ranks) > 1

    def _with_inputs(self, node: Any, rank: int, first: int | None = None) -> Any:
        for i, name in enumerate(node.input[:first]):
            shape = self._graph.shapes.get(name, ())
            if len(shape) == rank:
                node.input[i] = self._need(name, shape[1:])
            elif name in self._roots:
                node.input[i] = self._broadcast(name, shape, rank - 1)
        return node

    def _broadcast(self, name: str, shape: Shape, rank: int) -> str:
        """Returns a value for an operator that broadcasts to a rank; more 1s in front do."""
        root, own = self._root(name)
        fits = len(own) <= rank and own == (1,) * (len(own) - len(shape)) + shape
        return root if fits else self._need(name, shape)

    def _flat_gather(self, node: Any, made: Any) -> Any | None:
        index = self._graph.shapes[node.input[1]]
        if attribute(node, "axis", 0) != 0 or not index or index[0] != 1:
            return None
        made.input[1] = self._need(node.input[1], index[1:])
        if node.input[0] in self._roots:
            made.input[0] = self._need(node.input[0], self._graph.shapes[node.input[0]])
        return made

    def _flat_slice(self, node: Any, made: Any, rank: int) -> Any | None:
        given = [self._graph.constant(name) for name in node.input[1:]]
        if any(each is None for each in given):
            return None
        starts, ends, *others = ([int(n) for n in each] for each in given if each is not None)
        axes = others[0] if others else list(range(len(starts)))
        steps = others[1] if len(others) > 1 else [1] * len(starts)
        rows = zip(starts, ends, [axis % rank for axis in axes], steps, strict=True)
        kept = [row for row in rows if row[2] != 0]
        whole = len(kept) == len(axes) or self._graph.shapes[node.input[0]][0] == 1
        if not whole or not kept:
            return None
        columns = [*zip(*((s, e, axis - 1, step) for s, e, axis, step in kept), strict=True)]
        names = [
            self._graph.add_constant(f"{node.output[0]}{word}_", np.array(each, dtype=np.int64))
            for word, each in zip(("starts", "ends", "axes", "steps"), columns, strict=True)
        ]
        made.input[:] = [node.input[0], *names]
        return self._with_inputs(made, rank, first=1)

    def _need(self, name: str, shape: Shape) -> str:
        """Returns the value in a shape, as it is there or by a reshape of its root."""
        constant = self._graph.constant(name)
        if constant is not None:
            if constant.shape == shape:
                return name
            return self._graph.add_constant(f"{name}flat_", constant.reshape(shape))
        root, own = self._root(name)
        if own == shape:
            return root
        if (root, shape) not in self._made:
            extents = "x".join(str(n) for n in shape)
            self._made[root, shape] = self._reshape(root, shape, f"{root}{extents}_")
        return self._made[root, shape]

    def _reshape(self, root: str, shape: Shape, output: str) -> str:
        from onnx import helper

        wanted = self._graph.add_constant(f"{output}shape_", np.array(shape, dtype=np.int64))
        self._nodes.append(helper.make_node("Reshape", [root, wanted], [output], f"{output}view"))
        return output

    def _restore_outputs(self) -> None:
        """Gives the graph's own outputs their names and shapes back."""
        for output in self._graph.model.graph.output:
            if output.name not in self._roots:
                continue
            root, own = self._root(output.name)
            shape = self._graph.shapes[output.name]
            if own == shape and root.endswith(_FLAT):
                self._rename(root, output.name)
            else:
                self._reshape(root, shape, output.name)

    def _rename(self, old: str, new: str) -> None:
        for node in self._nodes:
            node.input[:] = [new if each == old else each for each in node.input]
            node.output[:] = [new if each == old else each for each in node.output]
        self._roots = {
            name: (new if root == old else root, shape)
            for name, (root, shape) in self._roots.items()
        }


def _moves_ones_only(node: Any, shape: Shape) -> bool:
    """Whether a transposition leaves the elements in their order."""
    order = list(attribute(node, "perm") or range(len(shape))[::-1])
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _set_ints(node: Any, name: str, value: int | Sequence[int]) -> None:
    from onnx import helper

    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
