"""Reads, mends and writes ONNX files. Runs in a worker.

It is not aware of how a model was made or quantised. Imports onnx, not TensorFlow; used by
`onnx_export` and `onnx_variant`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgepack.formats.tensors import TensorSpec

#: Smaller matrices are not worth a node.
_TIED_LEAST_BYTES: Final = 4096
#: What may stand between the scoring product and an output.
_BEHIND: Final = frozenset(
    {
        *("Add", "Slice", "Softmax", "LogSoftmax", "Sigmoid", "TopK", "Reshape", "Squeeze"),
        *("Cast", "Identity", "Unsqueeze", "Mul"),
    }
)


def save_onnx(model: Any, path: Path) -> None:
    """Writes a model without what depends on the host; the same model is the same bytes.

    What each value was called before goes into `NAME.names.json` beside the file, so that a
    person can be told which layer it belongs to.
    """
    names = _number_names(model.graph)
    before = {new: old for old, new in names.items()}
    path.with_suffix(".names.json").write_text(json.dumps(before))
    del model.metadata_props[:]
    model.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    path.write_bytes(model.SerializeToString(deterministic=True))


def file_specs(model: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Returns inputs (initialisers left out) and outputs in file order."""
    constants = {each.name for each in model.graph.initializer}
    return (
        tuple(_spec(each) for each in model.graph.input if each.name not in constants),
        tuple(_spec(each) for each in model.graph.output),
    )


def tie_tables(model: Any) -> int:
    """Replaces each matrix that is another one transposed by a Transpose of that one.

    A table that embeds items and scores them is so kept once. ONNX Runtime computes the
    Transpose when it loads the file, not when it runs.

    Returns:
        How many matrices were dropped.
    """
    from onnx import helper, numpy_helper

    tables = {
        each.name: numpy_helper.to_array(each)
        for each in model.graph.initializer
        if len(each.dims) == 2  # noqa: PLR2004 - a matrix
    }
    tables = {name: each for name, each in tables.items() if each.nbytes >= _TIED_LEAST_BYTES}
    # The embedding's own layout is kept: gathering rows needs it, transposing is for free.
    embedded = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    names = sorted(tables, key=lambda name: (not _is_embedded(model, name, embedded), name))
    dropped = []
    for position, kept in enumerate(names):
        for other in names[position + 1 :]:
            if kept in dropped or other in dropped:
                continue
            one, two = tables[kept], tables[other]
            if one.dtype != two.dtype or one.shape != two.shape[::-1]:
                continue
            if np.array_equal(one.T, two):
                node = helper.make_node("Transpose", [kept], [other], f"{other}_tied", perm=[1, 0])
                model.graph.node.insert(0, node)
                dropped.append(other)
    _drop_initializers(model, set(dropped))
    return len(dropped)


def merge_initializers(model: Any) -> None:
    """Keeps constants that are equal in type, shape and bytes once.

    An unrolled layer and a quantiser repeat small constants for every use. Only the main
    graph's are touched.
    """
    first: dict[Any, str] = {}
    renamed: dict[str, str] = {}
    for each in model.graph.initializer:
        identity = (each.data_type, tuple(each.dims), _content(each))
        kept = first.setdefault(identity, each.name)
        if kept != each.name:
            renamed[each.name] = kept
    outputs = {each.name for each in model.graph.output}
    renamed = {old: new for old, new in renamed.items() if old not in outputs}
    for node in model.graph.node:
        if any(attribute.HasField("g") for attribute in node.attribute):
            # A subgraph may read any name of the main graph.
            return
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    _drop_initializers(model, set(renamed))


def sort_nodes(model: Any) -> None:
    """Puts every node of the main graph behind those it reads from, as the format asks for.

    ONNX Runtime's converter to half precision puts its casts at the end.
    """
    makers = {name: node for node in model.graph.node for name in node.output if name}
    placed: set[int] = set()
    order: list[Any] = []
    # Not by recursion: an unrolled graph is thousands of nodes deep.
    waiting = list(reversed(model.graph.node))
    while waiting:
        node = waiting[-1]
        if id(node) in placed:
            waiting.pop()
            continue
        read = [makers[name] for name in _outer_names(node, outputs=False) if name in makers]
        missing = [each for each in read if id(each) not in placed]
        if missing:
            waiting += missing
            continue
        placed.add(id(node))
        order.append(waiting.pop())
    kept = [type(node).FromString(node.SerializeToString()) for node in order]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def drop_unused(model: Any) -> None:
    """Drops the nodes and constants of the main graph whose values nobody reads."""
    nodes = list(model.graph.node)
    while True:
        read = {each.name for each in model.graph.output}
        read |= {name for node in nodes for name in _outer_names(node, outputs=False)}
        kept = [node for node in nodes if read.intersection(node.output)]
        if len(kept) == len(nodes):
            break
        nodes = kept
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _drop_initializers(model, {each.name for each in model.graph.initializer} - read)


def head_product(model: Any) -> list[str]:
    """Returns the names of the matrix products that the outputs come from; may be empty."""
    makers = {name: node for node in model.graph.node for name in node.output}
    constants = {each.name for each in model.graph.initializer}
    found: list[str] = []
    for output in model.graph.output:
        place = output.name
        while place in makers:
            node = makers[place]
            if node.op_type in ("MatMul", "Gemm"):
                if node.name not in found:
                    found.append(node.name)
                break
            if node.op_type not in _BEHIND:
                break
            computed = [name for name in node.input if name not in constants]
            place = computed[0] if computed else ""
    return found


def _number_names(graph: Any) -> dict[str, str]:
    """Names everything but inputs and outputs by its place; returns new name by old.

    The exporter's names hold counters that differ from run to run. Constants are put in the
    order of their use, which differs for the same reason.
    """
    # ONNX Runtime's quantiser makes names by adding digits, so a name must not end in one.
    kept = {each.name for each in [*graph.input, *graph.output]}
    names: dict[str, str] = {}
    for i, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{i}"
        for name in _outer_names(node):
            if name and name not in kept:
                names.setdefault(name, f"t{len(names)}_")
    used = [each for each in graph.initializer if each.name in names or each.name in kept]
    order = {name: place for place, name in enumerate(names)}
    used.sort(key=lambda each: order.get(each.name, -1))
    for node in graph.node:
        _rename(node, names)
    for each in [*used, *graph.value_info]:
        each.name = names.get(each.name, each.name)
    del graph.initializer[:]
    graph.initializer.extend(used)
    return names


def _outer_names(node: Any, *, outputs: bool = True) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            inner = {name for each in attribute.g.node for name in each.output}
            inner |= {each.name for each in [*attribute.g.input, *attribute.g.initializer]}
            for each in attribute.g.node:
                yield from (name for name in _outer_names(each) if name not in inner)
            if not outputs:
                yield from (each.name for each in attribute.g.output if each.name not in inner)
    if outputs:
        yield from node.output


def _rename(node: Any, names: Mapping[str, str]) -> None:
    for places in (node.input, node.output):
        for i, name in enumerate(places):
            places[i] = names.get(name, name)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            inner = {name for each in attribute.g.node for name in each.output}
            inner |= {each.name for each in [*attribute.g.input, *attribute.g.initializer]}
            outer = {old: new for old, new in names.items() if old not in inner}
            for each in attribute.g.node:
                _rename(each, outer)
            for each in attribute.g.output:
                each.name = outer.get(each.name, each.name)


def _is_embedded(model: Any, name: str, embedded: set[str]) -> bool:
    if name in embedded:
        return True
    # A quantised table is read through its DequantizeLinear, or dequantised after the rows
    # are gathered; both start with the table's own name.
    readers = [node for node in model.graph.node if name in node.input]
    return any(output in embedded for node in readers for output in node.output)


def _drop_initializers(model: Any, names: set[str]) -> None:
    kept = [each for each in model.graph.initializer if each.name not in names]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    described = [each for each in model.graph.input if each.name not in names]
    del model.graph.input[:]
    model.graph.input.extend(described)


def _content(tensor: Any) -> bytes:
    from onnx import numpy_helper

    return bytes(numpy_helper.to_array(tensor).tobytes())


def _spec(value: Any) -> TensorSpec:
    from onnx.helper import tensor_dtype_to_np_dtype

    kind = value.type.tensor_type
    shape = tuple(each.dim_value if each.HasField("dim_value") else -1 for each in kind.shape.dim)
    return TensorSpec(value.name, str(tensor_dtype_to_np_dtype(kind.elem_type)), shape)
