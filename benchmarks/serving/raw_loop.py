"""The limit: JSON in, one call of the engine, JSON out, in a loop, without HTTP or a server.

Started by `compare` as a process of its own, with the Python and the packages of an installed
release. Prints one JSON object: the medians of several rounds, and the process's memory.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=2000)
    options = parser.parse_args()
    sys.path[:0] = [str(options.release / "runner"), str(options.release / "site")]
    loop, call = open_loop(options.release)
    rounds = [
        (measure(loop, options.calls), measure(call, options.calls)) for _ in range(options.rounds)
    ]
    loop_us = statistics.median(each for each, _ in rounds)
    found = {
        "requests_per_s": 1e6 / loop_us,
        "loop_us": loop_us,
        "call_us": statistics.median(each for _, each in rounds),
        "pss_mb": pss_mb(),
    }
    print(json.dumps(found))
    return 0


def open_loop(release: Path) -> tuple[Callable[[int], Any], Callable[[int], Any]]:
    """Loads a release's model and its golden histories.

    Args:
        release: An installed release whose runtime is LiteRT or ONNX Runtime.

    Returns:
        The loop's body, from request bytes to answer bytes, and the engine's call alone.
    """
    answer, call, histories = open_body(release)
    bodies = [json.dumps({"history": each}).encode() for each in histories]
    return (
        lambda i: answer(bodies[i % len(bodies)]),
        lambda i: call(histories[i % len(histories)]),
    )


@functools.cache
def open_body(
    release: Path,
) -> tuple[Callable[[bytes], bytes], Callable[[list[str]], Any], list[list[str]]]:
    """Loads a release's model with the runtime's own calls.

    Args:
        release: An installed release whose runtime is LiteRT or ONNX Runtime.

    Returns:
        From a request's body to an answer's, a history's call of the engine, golden histories.
    """
    import numpy as np

    manifest = json.loads((release / "manifest.json").read_text())
    candidate = manifest["candidates"][0]
    items = json.loads((release / "vocabulary.json").read_text())["items"]
    golden = json.loads((release / candidate["golden"]).read_text())["sequences"]
    index = {item: i for i, item in enumerate(items, start=1)}
    length = manifest["model"]["sequence_length"]
    run = open_model(manifest["runtime"]["name"], release / candidate["file"])

    def encode(history: list[str]) -> Any:
        known = [index[item] for item in history if item in index][-length:]
        return np.array([[0] * (length - len(known)) + known], dtype=np.int32)

    def answer_of(body: bytes) -> bytes:
        found, scores = run(encode(json.loads(body)["history"]))
        ranked = zip(found[0, :10].tolist(), scores[0, :10].tolist(), strict=True)
        answer = {"items": [{"id": items[at - 1], "score": score} for at, score in ranked]}
        return json.dumps(answer).encode()

    inputs = {tuple(each["history"]): encode(each["history"]) for each in golden}
    histories = [each["history"] for each in golden]
    return answer_of, lambda history: run(inputs[tuple(history)]), histories


def open_model(runtime: str, path: Path) -> Callable[[Any], tuple[Any, Any]]:
    """Loads a model and returns its call: a history in, items and scores out."""
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options)
        name = session.get_inputs()[0].name
        return lambda array: order(session.run(None, {name: array}))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = [each["index"] for each in interpreter.get_output_details()]

    def call(array: Any) -> tuple[Any, Any]:
        interpreter.set_tensor(into, array)
        interpreter.invoke()
        return order([interpreter.get_tensor(index) for index in out])

    return call


def order(outputs: list[Any]) -> tuple[Any, Any]:
    """Puts the whole numbers, which are the items, before the scores."""
    first, second = outputs
    return (first, second) if first.dtype.kind == "i" else (second, first)


def measure(body: Callable[[int], Any], calls: int) -> float:
    """Returns the mean microseconds of a call over one round."""
    start_ns = time.perf_counter_ns()
    for i in range(calls):
        body(i)
    return (time.perf_counter_ns() - start_ns) / calls / 1000


def pss_mb() -> float:
    """Returns this process's proportional set size in MB."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    raise OSError("the kernel does not tell the PSS")


if __name__ == "__main__":
    sys.exit(main())
