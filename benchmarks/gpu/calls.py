"""Times calls of an engine on the card: the whole graph, and the part that reads the item table."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.grow import random_histories
from benchmarks.gpu.parts import scoring_part
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines import open_engine
from edgepack.runner.engines.contract import Array, Engine

_WARMUP = 20


def time_model(
    model: Path,
    runtime: RuntimeName,
    options: Sequence[EngineOptions],
    batches: Sequence[int],
    items: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Times the whole graph with each set of options and each batch size."""
    rows = []
    for each in options:
        engine = open_engine(runtime, model, each)
        length = engine.inputs[0].shape[1]
        for batch in batches:
            if engine.inputs[0].shape[0] not in (-1, batch):
                continue
            histories = random_histories(batch * 64, length, items).reshape(64, batch, length)
            p50_us = _median_us(engine, [[one] for one in histories], seconds)
            rows.append(
                {
                    "options": str(getattr(engine, "options", each)),
                    "batch": batch,
                    "p50_us": p50_us,
                    "rows_per_s": batch * 1e6 / p50_us,
                    "provider": engine.provider,
                }
            )
        engine.close()
    return rows


def time_scoring(
    model: bytes,
    runtime: RuntimeName,
    options: Sequence[EngineOptions],
    peak_bytes_per_s: float,
    seconds: float,
) -> list[dict[str, Any]]:
    """Times scoring and top-k alone, at batch 1, and says the share of the bandwidth it reaches."""
    part, table_bytes = scoring_part(model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scoring.onnx"
        path.write_bytes(part)
        for each in options:
            engine = open_engine(runtime, path, each)
            spec = engine.inputs[0]
            order = np.random.default_rng(3)
            states: list[list[Array]] = [
                [order.standard_normal(spec.shape).astype(spec.dtype)] for _ in range(64)
            ]
            p50_us = _median_us(engine, states, seconds)
            rows.append(
                {
                    "options": str(getattr(engine, "options", each)),
                    "p50_us": p50_us,
                    "table_bytes": table_bytes,
                    "bandwidth_share": table_bytes / (p50_us / 1e6) / peak_bytes_per_s,
                    "provider": engine.provider,
                }
            )
            engine.close()
    return rows


def time_torch(
    items: int, length: int, k: int, batches: Sequence[int], seconds: float, *, half: bool
) -> list[dict[str, Any]]:
    """Times the same architecture in eager PyTorch, the copies to the card and back included."""
    import torch

    from benchmarks.gpu.torch_sasrec import open_model

    model = open_model(items, length, half=half)
    device = next(model.parameters()).device
    rows = []
    for batch in batches:
        histories = random_histories(batch * 64, length, items).reshape(64, batch, length)

        def call(number: int, histories: Any = histories) -> None:
            with torch.inference_mode():
                scores, found = model(torch.from_numpy(histories[number % 64]).to(device).long(), k)
            scores.cpu(), found.cpu()

        p50_us = _median(call, seconds)
        rows.append({"batch": batch, "p50_us": p50_us, "rows_per_s": batch * 1e6 / p50_us})
    return rows


def _median_us(engine: Engine, inputs: Sequence[list[Array]], seconds: float) -> float:
    return _median(lambda number: engine.run(inputs[number % len(inputs)]), seconds)


def _median(call: Callable[[int], object], seconds: float) -> float:
    for number in range(_WARMUP):
        call(number)
    durations: list[int] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start_ns = time.perf_counter_ns()
        call(len(durations))
        durations.append(time.perf_counter_ns() - start_ns)
    return statistics.median(durations) / 1e3
