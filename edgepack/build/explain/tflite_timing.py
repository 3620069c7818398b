"""Times the layers of a TFLite file: cuts it behind each, and takes differences.

The runtime's Python package has no profiler of operators, and XNNPACK runs most of a graph as
one operator anyway. So the file is cut behind each layer, all pieces are timed in turn, and a
layer is what its piece takes longer than the one before. What the runtime would do across a cut
(share memory, keep a value in a register) is lost in it. Runs in a worker; imports LiteRT.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any, Final

import numpy as np

from edgepack.build.convert.tflite_file import tflite_bytes
from edgepack.build.explain.subject import Rows
from edgepack.build.explain.timing import Timing, median_span, runs, shared_out
from edgepack.build.quality.timed_file import TimedFile

#: More cuts are more precise in place and less in time, which is shared among them.
MOST_CUTS: Final = 48
METHOD: Final = (
    "LiteRT, one thread: the file cut behind each layer, the pieces timed in turn, medians of "
    "the differences; a cut costs what the runtime does across it"
)
#: All pieces are open at once, each with its own copy of the weights it uses.
_MOST_BYTES: Final = 1_500_000_000
_LEAST_ROUNDS: Final = 15
_MOST_ROUNDS: Final = 1001


def time_layers(model: Any, layers: Sequence[str], rows: Rows, *, seconds: float) -> Timing:
    """Times a file's layers on one thread.

    Args:
        model: The variant's ModelT.
        layers: The layer of each of its operators.
        rows: Inputs, given in turn.
        seconds: About how long to measure.
    """
    size = len(tflite_bytes(model))
    ends = runs(layers, max(2, min(MOST_CUTS, _MOST_BYTES // max(2 * size, 1))))
    pieces = [TimedFile(prefix(model, end)) for end in ends]
    deadline = perf_counter_ns() + round(seconds * 1e9)
    for piece in pieces:
        piece.settle(rows)
    times: list[list[float]] = []
    while len(times) < _MOST_ROUNDS:
        if len(times) >= _LEAST_ROUNDS and perf_counter_ns() > deadline:
            break
        row = rows[len(times) % len(rows)]
        times.append([piece.time(row) for piece in pieces])
    table = np.asarray(times)
    steps = np.diff(table, axis=1, prepend=0.0)
    spans = [median_span(column.tolist()) for column in steps.T]
    whole = median_span(table[:, -1].tolist())
    found = shared_out(layers, ends, spans)
    explained = sum(span.ns for span in found.values()) / whole.ns
    return Timing(METHOD, whole, found, explained, len(times))


def prefix(model: Any, count: int) -> bytes:
    """Returns the first operators of a file as a file; its outputs are what the rest would read."""
    cut = copy.copy(model)
    graph = copy.copy(model.subgraphs[0])
    graph.operators = list(graph.operators[:count])
    made = {int(i) for operator in graph.operators for i in operator.outputs}
    later = {int(i) for op in model.subgraphs[0].operators[count:] for i in op.inputs}
    later |= {int(i) for i in model.subgraphs[0].outputs}
    graph.outputs = np.array(sorted(made & later), dtype=np.int32)
    used = made | {int(i) for i in graph.inputs}
    used |= {int(i) for operator in graph.operators for i in operator.inputs if i >= 0}
    graph.tensors = [
        each if place in used else _without_data(each) for place, each in enumerate(graph.tensors)
    ]
    cut.subgraphs = [graph, *model.subgraphs[1:]]
    cut.signatureDefs = []
    cut.buffers = _used_buffers(cut)
    return tflite_bytes(cut)


def _without_data(tensor: Any) -> Any:
    empty = copy.copy(tensor)
    empty.buffer = 0
    return empty


def _used_buffers(model: Any) -> list[Any]:
    from ai_edge_litert import schema_py_generated as schema

    used = {int(each.buffer) for graph in model.subgraphs for each in graph.tensors}
    used |= {int(each.buffer) for each in model.metadata or []}
    return [each if i in used else schema.BufferT() for i, each in enumerate(model.buffers)]
