"""One way to rank a catalogue in a process of its own, asked over standard input.

Each line `run` is answered with the nanoseconds of one call (wall, then this thread's own), and
`memory` with resident and proportional bytes. Only numpy and the way's own library are imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

UNITS = 64
TOP = 10
_SEED = 2026


def _random(items: int) -> tuple[Any, Any]:
    order = np.random.default_rng(_SEED)
    table = order.standard_normal((items, UNITS), dtype=np.float32)
    return table, order.standard_normal((1, UNITS), dtype=np.float32)


def _read(items: int) -> Callable[[], Any]:
    """Adds an int8 table up as 64-bit numbers: numpy's quickest way to touch every byte."""
    order = np.random.default_rng(_SEED)
    table = order.integers(-127, 128, items * UNITS, dtype=np.int8).view(np.int64)
    return table.sum


def _numpy(items: int) -> Callable[[], Any]:
    table, state = _random(items)

    def call() -> Any:
        scores = table @ state[0]
        best = np.argpartition(scores, -TOP)[-TOP:]
        return best[np.argsort(-scores[best])]

    return call


def _faiss(items: int, bits: int) -> Callable[[], Any]:
    import faiss  # type: ignore[import-not-found]  # only in a benchmark's own Python

    faiss.omp_set_num_threads(1)
    table, state = _random(items)
    if bits == 8:
        index = faiss.IndexScalarQuantizer(
            UNITS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        index.train(table[:100_000])
    else:
        index = faiss.IndexFlatIP(UNITS)
    index.add(table)
    return lambda: index.search(state, TOP)


def _engine(file: Path, items: int) -> Callable[[], Any]:
    from edgepack.formats.options import EngineOptions
    from edgepack.runner.engines.interpreter import InterpreterEngine
    from edgepack.runner.engines.litert import LiteRtEngine
    from edgepack.runner.engines.onnxruntime import OnnxRuntimeEngine

    options = EngineOptions(threads=1)
    engine: InterpreterEngine | OnnxRuntimeEngine
    engine = LiteRtEngine(file, options) if file.suffix == ".tflite" else _onnx(file, options)
    order = np.random.default_rng(_SEED)
    shape = engine.inputs[0].shape
    history = order.integers(1, items + 1, [abs(n) for n in shape], dtype=np.int32)
    return lambda: engine.run([history])


def _onnx(file: Path, options: Any) -> Any:
    from edgepack.runner.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(file, options)


def _way(name: str, items: int) -> Callable[[], Any]:
    if name == "read":
        return _read(items)
    if name == "numpy":
        return _numpy(items)
    if name.startswith("faiss"):
        return _faiss(items, 8 if name == "faiss-8bit" else 32)
    return _engine(Path(name), items)


def _memory() -> str:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return f"{kilobytes['Rss'] * 1024} {kilobytes['Pss'] * 1024}"


def main(argv: list[str]) -> None:
    """Serves one way until standard input ends."""
    call = _way(argv[0], int(argv[1]))
    call()
    for line in sys.stdin:
        if line.strip() == "memory":
            print(_memory(), flush=True)
            continue
        wall, own = time.perf_counter_ns(), time.thread_time_ns()
        call()
        print(time.perf_counter_ns() - wall, time.thread_time_ns() - own, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
