"""Leaves a mask out of an ONNX graph where the same mask follows before rows meet.

A model for padded histories silences padding wherever that might matter, and again at the end of
a block. Multiplying by 1 changes nothing, and what is multiplied by 0 in the end may be any
number before. Runs in a worker; imports onnx. Not aware of precisions. Used by `onnx_export`.
"""

from __future__ import annotations

from typing import Any, Final

from edgepack.build.convert.onnx_graph import Graph, attribute

#: Compute each row of their first input from that row alone, along its last axis.
_BY_ROWS: Final = ("LayerNormalization", "Relu", "Sigmoid", "Tanh", "Erf")
_SUMS: Final = ("Add", "Sub")
_VIEWS: Final = ("Reshape", "Unsqueeze", "Squeeze")
#: Rows and one column.
_MATRIX: Final = 2


def drop_repeated_masks(model: Any) -> int:
    """Takes out products by a row mask that is applied again before rows meet.

    Args:
        model: An ONNX model, changed in place. Its values are finite: infinity times 0 is not 0.

    Returns:
        How many were taken out.
    """
    graph = Graph(model)
    if graph.has_subgraphs:
        return 0
    found = 0
    for node in graph.nodes:
        if node.op_type != "Mul":
            continue
        value, mask = _masked(graph, node)
        if mask and _masked_again(graph, node.output[0], mask):
            for other in graph.nodes:
                for place, name in enumerate(other.input):
                    if name == node.output[0]:
                        other.input[place] = value
            graph.model.graph.node.remove(node)
            found += 1
    return found


def _masked(graph: Graph, node: Any) -> tuple[str, str]:
    """Returns what a product masks and its mask of 0 and 1 for each row; empty for another."""
    for value, mask in (tuple(node.input), tuple(node.input)[::-1]):
        rows, column = graph.extents.get(value, ()), graph.extents.get(mask, ())
        fits = len(rows) == len(column) >= _MATRIX and column[-1] == 1 and rows[-1] != 1
        if fits and rows[-_MATRIX] == column[-_MATRIX] and _is_truth(graph, mask):
            return value, mask
    return "", ""


def _is_truth(graph: Graph, name: str) -> bool:
    """Whether a value was cast from a truth, so that it is 0 or 1."""
    from onnx import TensorProto

    node = graph.makers.get(name)
    while node is not None and node.op_type in _VIEWS:
        node = graph.makers.get(node.input[0])
    source = graph.types.get(node.input[0]) if node is not None else None
    return node is not None and node.op_type == "Cast" and source == TensorProto.BOOL


def _masked_again(graph: Graph, name: str, mask: str) -> bool:
    """Whether every way on from a value goes through a mask before its rows meet."""
    waiting, seen = [name], {name}
    while waiting:
        value = waiting.pop()
        if value in graph.outputs:
            return False
        for node in graph.nodes:
            if value not in node.input or (node.op_type == "Mul" and mask in node.input):
                continue
            if not _keeps_rows(graph, node, value):
                return False
            waiting += [each for each in node.output if each not in seen]
            seen.update(node.output)
    return True


def _keeps_rows(graph: Graph, node: Any, value: str) -> bool:
    """Whether each row of a node's answer is computed from that row of its inputs alone."""
    before, after = graph.extents.get(value, ()), graph.extents.get(node.output[0], ())
    if len(node.output) != 1 or len(before) != len(after) or before[1:-1] != after[1:-1]:
        return False
    # In a matrix the first extent is the rows', in front of one it is the batch's.
    if len(before) == _MATRIX and before[0] != after[0]:
        return False
    if node.op_type in _BY_ROWS:
        last = attribute(node, "axis", -1) in (-1, len(before) - 1)
        return bool(node.input[0] == value and last)
    if node.op_type == "MatMul":
        weights = graph.constant(node.input[1])
        return bool(node.input[0] == value and weights is not None and weights.ndim == _MATRIX)
    if node.op_type not in _SUMS:
        return False
    others = [graph.extents.get(each, ()) for each in node.input if each != value]
    return all(len(each) < _MATRIX or each[-_MATRIX:] == after[-_MATRIX:] for each in others)
