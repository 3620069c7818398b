"""Leaves out of an ONNX graph what computes nothing new. Runs in a worker; imports onnx.

Each pass looks for a pattern of operators, not for names, and gives the same numbers: what it
multiplies into a weight is rounded once more, in the last digit. Not aware of precisions. Used by
`onnx_export`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from edgepack.build.convert.onnx_file import drop_unused
from edgepack.build.convert.onnx_graph import Graph, attribute

#: Below every score a model gives, and still a number that the runtimes add and compare.
_NEVER: Final = float(np.finfo(np.float32).min) / 2
#: An end as exporters write it where a cut has none: the largest int32 or int64.
_TO_THE_END: Final = 2**31 - 1


def tidy(model: Any) -> None:
    """Runs every pass, each on what the one before left."""
    for each in (unwrap_indices, fold_scales, rank_without_padding, ask_for_numbers):
        each(model)
    drop_unused(model)


def unwrap_indices(model: Any) -> int:
    """Reads a table by the index as it comes, where the graph counts one below zero from the end.

    `Gather` does that by itself.

    Returns:
        How many look-ups were shortened.

    Source: ONNX operator Gather-13: indices in [-s, s-1], as NumPy counts.
    """
    graph = Graph(model)
    found = 0
    for node in graph.nodes:
        if node.op_type != "Gather" or attribute(node, "axis", 0) != 0:
            continue
        rows = graph.shapes.get(node.input[0], (0,))[0]
        index = _wrapped(graph, node.input[1], rows)
        if index is not None:
            node.input[1] = index
            found += 1
    return found


def _wrapped(graph: Graph, name: str, rows: int) -> str | None:
    """Returns x of `(x < 0) * (x + rows) + not(x < 0) * x`, or None."""
    total = graph.maker(name, "Add")
    made = [graph.maker(each, "Mul") for each in total.input] if total is not None else []
    terms = [each for each in made if each is not None]
    if len(terms) != 2:  # noqa: PLR2004 - both ways of the choice
        return None
    for below, above in (terms, terms[::-1]):
        for index in above.input:
            condition = _other_cast(graph, above, index)
            negated = graph.maker(condition, "Not") if condition else None
            if negated is None or not _is_negative(graph, negated.input[0], index):
                continue
            moved = next((n for n in below.input if _adds(graph, n, index, rows)), None)
            if moved is not None and _other_cast(graph, below, moved) == negated.input[0]:
                return str(index)
    return None


def _other_cast(graph: Graph, node: Any, name: str) -> str | None:
    """Returns what is cast to be a product's factor beside the named one."""
    other = [each for each in node.input if each != name]
    cast = graph.maker(other[0], "Cast") if len(other) == 1 else None
    return str(cast.input[0]) if cast is not None else None


def _is_negative(graph: Graph, name: str, index: str) -> bool:
    node = graph.maker(name, "Less")
    if node is None:
        return False
    cast = graph.maker(node.input[0], "Cast")
    compared = cast.input[0] if cast is not None else node.input[0]
    zero = graph.constant(node.input[1])
    return compared == index and zero is not None and bool(np.all(zero == 0))


def _adds(graph: Graph, name: str, index: str, rows: int) -> bool:
    node = graph.maker(name, "Add")
    if node is None or index not in node.input:
        return False
    other = graph.constant(next((each for each in node.input if each != index), ""))
    return other is not None and bool(np.all(other == rows))


def fold_scales(model: Any) -> int:
    """Multiplies a product's weights by the number that its result is multiplied by.

    An attention's query is scaled that way in every call.

    Returns:
        How many multiplications were folded.
    """
    graph = Graph(model)
    found = 0
    for node in graph.nodes:
        if node.op_type != "Mul":
            continue
        for product, number in (tuple(node.input), tuple(node.input)[::-1]):
            made = _product(graph, product)
            scale = graph.constant(number)
            if made is None or scale is None or scale.size != 1 or scale.dtype != np.float32:
                continue
            weights = graph.constant(made.input[1])
            if weights is None or graph.readers[made.input[1]] != 1:
                # Another reader wants the weights as they are: a table is not written twice.
                continue
            scaled = weights * scale.reshape(())
            made.input[1] = graph.add_constant(f"{made.input[1]}scaled_", scaled)
            _skip(graph, node, product)
            found += 1
            break
    return found


def _product(graph: Graph, name: str) -> Any | None:
    """Returns the MatMul a value comes from, through reshapes that nothing else reads."""
    while graph.read_once(name):
        node = graph.makers.get(name)
        if node is None or node.op_type not in ("MatMul", "Reshape"):
            return None
        if node.op_type == "MatMul":
            return node
        name = node.input[0]
    return None


def rank_without_padding(model: Any) -> int:
    """Ranks all columns of the scores where the graph cuts the first ones off before.

    Their bias becomes lower than every score, so they are never among the best, and the places
    that a top-k names are those of the whole table. That saves a copy of the scores and the sum
    that brings places back to items.

    Returns:
        How many cuts were saved.
    """
    graph = Graph(model)
    found = 0
    for node in graph.nodes:
        if node.op_type != "TopK" or attribute(node, "largest", 1) != 1:
            continue
        cut, moved = _first_cut(graph, node), _moved_back(graph, node.output[1])
        if cut is None or moved is None or moved[1] != cut[1]:
            continue
        scores = graph.makers[cut[0].input[0]]
        biased = next((name for name in scores.input if graph.constant(name) is not None), None)
        bias = graph.constant(biased) if biased is not None else None
        columns = graph.shapes.get(scores.output[0], (0,))[-1]
        count = graph.constant(node.input[1])
        if bias is None or count is None or bias.dtype != np.float32 or bias.size != columns:
            continue
        if int(count.reshape(-1)[0]) > columns - cut[1]:
            continue
        silenced = bias.copy()
        silenced[..., : cut[1]] = _NEVER
        place = list(scores.input).index(biased)
        scores.input[place] = graph.add_constant(f"{biased}ranked_", silenced)
        node.input[0] = scores.output[0]
        _skip(graph, moved[0], moved[2])
        found += 1
    return found


def _first_cut(graph: Graph, node: Any) -> tuple[Any, int] | None:
    """Returns the Slice before a top-k that drops the first columns, and how many."""
    cut = graph.maker(node.input[0], "Slice")
    if cut is None or not graph.read_once(node.input[0]) or not graph.read_once(cut.input[0]):
        return None
    whole = graph.shapes.get(cut.input[0], ())
    left = graph.shapes.get(cut.output[0], ())
    if graph.maker(cut.input[0], "Add") is None or not whole or whole[:-1] != left[:-1]:
        return None
    given = [graph.constant(name) for name in cut.input[1:]]
    starts, ends = given[0], given[1]
    steps = given[3] if len(given) > 3 else np.array([1])  # noqa: PLR2004 - the last, optional
    if starts is None or ends is None or steps is None or not np.all(steps == 1):
        return None
    first = whole[-1] - left[-1]
    # Nothing but the first columns: some axis begins there and reaches the end.
    begins = [int(n) for n in starts if int(n) != 0] == [first]
    return (cut, first) if first > 0 and begins and int(ends.max()) >= whole[-1] else None


def _moved_back(graph: Graph, name: str) -> tuple[Any, int, str] | None:
    """Returns the sum that turns a place into an item: node, number, the place's name."""
    casts = graph.readers[name] == 1
    node = next((each for each in graph.nodes if name in each.input), None)
    if node is not None and node.op_type == "Cast":
        name = node.output[0]
        casts = casts and graph.readers[name] == 1
        node = next((each for each in graph.nodes if name in each.input), None)
    if node is None or not casts or node.op_type != "Add":
        return None
    other = graph.constant(next(each for each in node.input if each != name))
    return (
        (node, int(other.reshape(-1)[0]), name) if other is not None and other.size == 1 else None
    )


def ask_for_numbers(model: Any) -> int:
    """Makes one cast of the two operators that ask whether an integer is not zero.

    Returns:
        How many questions were shortened.

    Source: ONNX operator Cast-13: zero becomes false, every other number true.
    """
    from onnx import TensorProto, helper

    graph = Graph(model)
    found = 0
    for node in graph.nodes:
        equal = graph.maker(node.input[0], "Equal") if node.op_type == "Not" else None
        if equal is None:
            continue
        zero = graph.constant(equal.input[1])
        whole = zero is not None and np.issubdtype(zero.dtype, np.integer) and zero.size == 1
        if not whole or zero is None or zero.any():
            continue
        made = [equal.input[0]], [node.output[0]]
        node.CopyFrom(helper.make_node("Cast", *made, node.name, to=TensorProto.BOOL))
        found += 1
    return found


def look_up_positions(model: Any) -> int:
    """Looks a single position up where the graph cuts it out: a cut takes twice as long to start.

    It is for a graph whose shapes are settled.

    Returns:
        How many cuts were replaced.
    """
    from onnx import helper

    graph = Graph(model)
    found = 0
    for node in graph.nodes:
        single = _single_position(graph, node) if node.op_type == "Slice" else None
        if single is None:
            continue
        axis, position = single
        index = graph.add_constant(f"{node.output[0]}at_", np.array([position], dtype=np.int64))
        made = [node.input[0], index], [node.output[0]]
        node.CopyFrom(helper.make_node("Gather", *made, node.name, axis=axis))
        found += 1
    drop_unused(model)
    return found


def _single_position(graph: Graph, node: Any) -> tuple[int, int] | None:
    """Returns the one axis a Slice cuts, and the one position it leaves of it."""
    given = [graph.constant(name) for name in node.input[1:]]
    before, after = (graph.extents.get(name, ()) for name in (node.input[0], node.output[0]))
    if any(each is None for each in given) or not before or len(before) != len(after):
        return None
    starts, ends, *others = ([int(n) for n in each] for each in given if each is not None)
    axes = [axis % len(before) for axis in (others[0] if others else range(len(starts)))]
    if any(step != 1 for step in (others[1] if len(others) > 1 else [])):
        return None
    cut = [
        (axis, start)
        for axis, start, end in zip(axes, starts, ends, strict=True)
        if start != 0 or end < _TO_THE_END
    ]
    if len(cut) != 1:
        return None
    axis, start = cut[0]
    extent = before[axis]
    if extent is None or after[axis] != 1:
        return None
    return axis, start if start >= 0 else start + extent


def _skip(graph: Graph, node: Any, kept: str) -> None:
    """Takes a node out: whoever read its output reads `kept`."""
    dropped = node.output[0]
    if dropped in graph.outputs:
        # An output keeps its name, so it is the value before that is renamed.
        graph.makers[kept].output[:] = [
            dropped if each == kept else each for each in graph.makers[kept].output
        ]
        graph.model.graph.node.remove(node)
        return
    for other in graph.nodes:
        for i, name in enumerate(other.input):
            if name == dropped:
                other.input[i] = kept
    graph.model.graph.node.remove(node)
