"""Leaves half of an attention's projections out of a graph: matrices are multiplied once.

That is done when the file is made. Where an attention has one head, `(x Q) (y K)^T` is
`(x Q K^T) y^T`, and `(P (y V)) O` is `(P y) (V O)`: queries meet what keys are made of, and
shares what values are made of. Two products of four are left, and where the attention is asked
for the last position only, none of the two goes over the whole history. Runs in a worker;
imports onnx. Not aware of precisions, layers or names. Used by `onnx_export`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edgepack.build.convert.merging import merging_keys_saves, merging_values_saves, multiplied
from edgepack.build.convert.onnx_file import drop_unused
from edgepack.build.convert.onnx_graph import Array, Extents, Graph, attribute

#: Extents of a matrix.
_MATRIX: Final = 2


@dataclass(frozen=True, slots=True)
class _Projection:
    """A value that is another one times a constant matrix.

    Attributes:
        source: What is multiplied, `[..., n, width]`.
        product: The node that multiplies.
        weights: The matrix, float32[width, units].
        shaped: The reshape behind the product that gives the value its own extents; None where
            there is none.
    """

    source: str
    product: Any
    weights: Array
    shaped: Any | None = None


def merge_projections(model: Any) -> int:
    """Merges the projections of every one-headed attention where that saves work.

    Args:
        model: An ONNX model, changed in place. A projection with a bias, with computed weights
            or with another reader is left alone.

    Returns:
        How many products were saved.
    """
    found = 0
    for merge in (_merge_keys, _merge_values):
        graph = Graph(model)
        if graph.has_subgraphs:
            return 0
        found += sum(merge(graph, node) for node in graph.nodes if node.op_type == "MatMul")
        drop_unused(model)
    return found


def _merge_keys(graph: Graph, scores: Any) -> bool:
    """Makes `(x Q K^T) y^T` of a product `(x Q) (y K)^T`."""
    turned = graph.maker(scores.input[1], "Transpose")
    if turned is None or not _turns_matrices(turned) or not graph.read_once(turned.output[0]):
        return False
    query, key = (_projection(graph, each) for each in (scores.input[0], turned.input[0]))
    if query is None or key is None:
        return False
    asked, kept = graph.extents[scores.input[0]], graph.extents[key.source]
    positions, others = asked[-2], kept[-2]
    if len(asked) != len(kept) or positions is None or others is None:
        return False
    (width, units), height = query.weights.shape, len(key.weights)
    if not merging_keys_saves(positions, others, width, height, units):
        return False
    _set_weights(graph, query, multiplied(query.weights, key.weights.T))
    turned.input[0] = key.source
    return True


def _merge_values(graph: Graph, output: Any) -> bool:
    """Makes `(P y) (V O)` of a product `(P (y V)) O`."""
    weights = _matrix(graph, output.input[1])
    flat = graph.maker(output.input[0], "Reshape")
    seen = graph.maker(flat.input[0] if flat is not None else output.input[0], "MatMul")
    if weights is None or seen is None or not graph.read_once(seen.output[0]):
        return False
    value = _projection(graph, seen.input[1])
    if value is None or graph.constant(seen.input[0]) is not None:
        return False
    given, shares = graph.extents.get(seen.output[0], ()), graph.extents.get(seen.input[0], ())
    rank = len(graph.extents[value.source])
    if len(given) != rank or len(shares) != rank or None in shares[-2:]:
        return False
    if flat is not None and not _joins_rows(graph, flat, given):
        return False
    positions, others = (n or 0 for n in shares[-2:])
    (height, units), outputs = value.weights.shape, weights.shape[1]
    if not merging_values_saves(positions, others, height, units, outputs):
        return False
    seen.input[1] = value.source
    if flat is not None:
        flat.input[1] = _with_last(graph, flat.input[1], height)
    output.input[1] = graph.add_constant(
        f"{output.input[1]}merged_", multiplied(value.weights, weights)
    )
    return True


def _projection(graph: Graph, name: str) -> _Projection | None:
    """Returns the product that a value is, if nothing else reads it.

    Around a dense layer's product stand two reshapes where its input is no matrix.
    """
    shaped = graph.maker(name, "Reshape")
    product = graph.maker(shaped.input[0] if shaped is not None else name, "MatMul")
    if product is None or not (graph.read_once(name) and graph.read_once(product.output[0])):
        return None
    weights, source = _matrix(graph, product.input[1]), product.input[0]
    if weights is None:
        return None
    if shaped is not None:
        flat = graph.maker(source, "Reshape")
        whole = graph.extents.get(name, ())
        if flat is None or graph.constant(shaped.input[1]) is None:
            return None
        source = flat.input[0]
        if not _joins_rows(graph, flat, graph.extents.get(source, ())):
            return None
        if not _same_rows(graph.extents[source], whole):
            return None
    known = name in graph.extents and len(graph.extents.get(source, ())) >= _MATRIX
    return _Projection(source, product, weights, shaped) if known else None


def _set_weights(graph: Graph, projection: _Projection, weights: Array) -> None:
    product, shaped = projection.product, projection.shaped
    product.input[1] = graph.add_constant(f"{product.input[1]}merged_", weights)
    if shaped is not None:
        shaped.input[1] = _with_last(graph, shaped.input[1], weights.shape[1])


def _matrix(graph: Graph, name: str) -> Array | None:
    """Returns a constant matrix of floats that one node reads: others want it as it is."""
    value = graph.constant(name)
    fits = value is not None and value.ndim == _MATRIX and value.dtype == np.float32
    return value if fits and graph.readers[name] == 1 else None


def _turns_matrices(node: Any) -> bool:
    order = list(attribute(node, "perm") or [])
    rank = len(order)
    return rank >= _MATRIX and order == [*range(rank - _MATRIX), rank - 1, rank - _MATRIX]


def _joins_rows(graph: Graph, node: Any, before: Extents) -> bool:
    """Whether a reshape makes one matrix of all rows of a value."""
    after = graph.extents.get(node.output[0], ())
    same = bool(before) and before[-1] is not None and before[-1] == after[-1]
    return len(after) == _MATRIX and same and graph.constant(node.input[1]) is not None


def _same_rows(one: Extents, two: Extents) -> bool:
    """Whether all extents but the last agree; the first may be any number of rows in both."""
    return len(one) == len(two) and one[:-1] == two[:-1] and None not in one[1:-1]


def _with_last(graph: Graph, name: str, last: int) -> str:
    shape = graph.constant(name)
    if shape is None:
        raise AssertionError(f"{name} is not constant")
    if shape[-1] in (last, -1):
        return name
    return graph.add_constant(f"{name}merged_", np.array([*shape[:-1], last], dtype=shape.dtype))
