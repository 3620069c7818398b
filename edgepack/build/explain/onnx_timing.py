"""Times the layers of an ONNX file with ONNX Runtime's own profiler.

The runtime fuses nodes as it opens a file; the profile is of those it made, which the file it
writes of its optimised graph names. Runs in a worker; imports onnx and ONNX Runtime.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from time import perf_counter_ns
from typing import Any, Final

from edgepack.build.explain.onnx_subject import OnnxSubject, open_session
from edgepack.build.explain.subject import Rows
from edgepack.build.explain.timing import Timing, mean_span, median_span

_WARM_UP: Final = 50
_LEAST_CALLS: Final = 100
_MOST_CALLS: Final = 2000
_KERNEL: Final = "_kernel_time"
_MICROSECOND_NS: Final = 1000.0


def time_layers(
    subject: OnnxSubject, variant: Path, rows: Rows, work: Path, *, seconds: float
) -> Timing:
    """Times a file's layers on one thread.

    Args:
        subject: The variant, for the layers of its nodes.
        variant: Its file.
        rows: Inputs, given in turn.
        work: A folder for what the runtime writes.
        seconds: About how long to measure.
    """
    data = variant.read_bytes()
    optimised = work / "optimised.onnx"
    profiled = open_session(
        data,
        enable_profiling=True,
        profile_file_prefix=str(work / "profile"),
        optimized_model_filepath=str(optimised),
    )
    plain = open_session(data)
    names = [each.name for each in plain.get_inputs()]
    inputs = [dict(zip(names, row, strict=True)) for row in rows]
    calls = _calls(plain, inputs, seconds)
    whole = []
    for number in range(_WARM_UP + calls):
        given = inputs[number % len(inputs)]
        profiled.run(None, given)
        started = perf_counter_ns()
        plain.run(None, given)
        whole.append(float(perf_counter_ns() - started))
    events = json.loads(Path(profiled.end_profiling()).read_text())
    layers = subject.node_layers(_outputs(optimised))
    per_layer, per_call = _sums(events, layers, calls)
    spans = {name: mean_span(values) for name, values in per_layer.items() if name}
    every = sum(mean_span(values).ns for values in per_layer.values()) or 1.0
    call = median_span(whole[_WARM_UP:])
    slowed = mean_span(per_call).ns / call.ns if per_call else 1.0
    method = (
        "ONNX Runtime's profiler, one thread: each node's share of the time in nodes, of a call "
        f"without the profiler, under which a call takes {slowed:.1f} times as long"
    )
    scaled = {name: span.times(call.ns / every) for name, span in spans.items()}
    explained = sum(span.ns for span in spans.values()) / every
    return Timing(method, call, scaled, explained, calls)


def _calls(session: Any, inputs: list[dict[str, Any]], seconds: float) -> int:
    started = perf_counter_ns()
    for given in inputs[:10]:
        session.run(None, given)
    each = (perf_counter_ns() - started) / len(inputs[:10])
    # Each call is made twice, and the profiler about doubles one of them.
    return int(min(_MOST_CALLS, max(_LEAST_CALLS, seconds * 1e9 / (3 * max(each, 1.0)))))


def _outputs(path: Path) -> dict[str, list[str]]:
    import onnx

    graph = onnx.load(str(path)).graph
    return {node.name: [name for name in node.output if name] for node in graph.node}


def _sums(
    events: list[dict[str, Any]], layers: dict[str, str], calls: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Adds up each layer's nodes in each call, the last so many; nanoseconds.

    Nodes of no layer are under an empty name.
    """
    durations: dict[str, list[float]] = defaultdict(list)
    whole: list[float] = []
    for event in events:
        name, time = str(event.get("name", "")), float(event.get("dur", 0)) * _MICROSECOND_NS
        if event.get("cat") == "Node" and name.endswith(_KERNEL):
            durations[name.removesuffix(_KERNEL)].append(time)
        elif name == "model_run":
            whole.append(time)
    found: dict[str, list[float]] = {}
    for node, times in durations.items():
        # A node inside a loop runs several times a call, at any number of steps.
        if len(times) < calls:
            continue
        layer = layers.get(node, "")
        kept = times[-calls:]
        before = found.setdefault(layer, [0.0] * calls)
        found[layer] = [a + b for a, b in zip(before, kept, strict=True)]
    return found, whole[-calls:]
