"""The engine on a real card: what it promises, each way of running, and falling back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Precision
from edgepack.runner.engines.contract import Array
from edgepack.runner.engines.onnxruntime_gpu import GpuRequest, OnnxRuntimeGpuEngine
from edgepack.runner.gpu.fit import Verdict
from edgepack.runner.gpu.needs import CPU, CUDA
from tests.gpu.models import LENGTH, TOP_K, expected_scores, histories, table_of, write_ranker

_ITEMS = 2000
_TABLE = table_of(_ITEMS, 32)
_WAYS = {
    "plain": EngineOptions(),
    "binding": EngineOptions(io_binding=True),
    "graph": EngineOptions(io_binding=True, cuda_graph=True),
}
#: float32 sums of 32 products in another order; scores are around 50.
_TOLERANCE = 1e-3
#: float16 has 10 bits of fraction: one part in a thousand of sums around 50, twice.
_HALF_TOLERANCE = 0.25

Opener = Callable[..., OnnxRuntimeGpuEngine]


@pytest.fixture
def open_on_cuda(verdict: Verdict) -> Iterator[Opener]:
    """Opens engines on CUDA alone, whatever else the machine has, and closes them."""
    opened: list[OnnxRuntimeGpuEngine] = []

    def open_one(
        path: Path,
        options: EngineOptions,
        memory_limit: int | None = None,
        told: list[str] | None = None,
    ) -> OnnxRuntimeGpuEngine:
        cuda = Verdict((CUDA, CPU), {}, verdict.card, verdict.look, verdict.found)
        tell = ([] if told is None else told).append
        request = GpuRequest(cuda, memory_limit=memory_limit, tell=tell)
        opened.append(OnnxRuntimeGpuEngine(path, options, request))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture(scope="module")
def ranker(models: Path) -> Path:
    return write_ranker(models / "fp32.onnx", _TABLE)


def _check(
    answers: list[Array],
    history: NDArray[np.int32],
    table: NDArray[np.float32] = _TABLE,
    tolerance: float = _TOLERANCE,
) -> None:
    """Holds an answer against numpy: order may differ only between scores that close."""
    scores, items = answers
    wanted = expected_scores(table, history)
    best = -np.sort(-wanted, axis=1)[:, :TOP_K]
    np.testing.assert_allclose(np.asarray(scores, np.float64), best, atol=tolerance, rtol=0)
    places = np.asarray(items, np.int64) - 1
    ranked = np.take_along_axis(wanted, places, axis=1)
    np.testing.assert_allclose(ranked, best, atol=2 * tolerance, rtol=0)


@pytest.mark.parametrize("way", _WAYS)
def test_each_way_of_running_gives_the_golden_answers_for_every_batch(
    way: str, ranker: Path, open_on_cuda: Opener
) -> None:
    engine = open_on_cuda(ranker, _WAYS[way])
    assert (engine.provider, engine.fallback) == (CUDA, None)
    assert engine.options == _WAYS[way]
    for seed, rows in enumerate((1, 16, 1, 3, 16, 64, 1)):
        history = histories(rows, _ITEMS, seed)
        _check(engine.run([history]), history)


def test_a_recorded_graph_reads_its_input_anew_each_time(
    ranker: Path, open_on_cuda: Opener
) -> None:
    engine = open_on_cuda(ranker, _WAYS["graph"])
    for seed in range(50):
        history = histories(1, _ITEMS, seed)
        _check(engine.run([history]), history)


@pytest.mark.parametrize("way", _WAYS)
def test_half_precision_ranks_as_well_as_its_rounding_lets_it(
    way: str, models: Path, open_on_cuda: Opener
) -> None:
    path = write_ranker(models / f"fp16-{way}.onnx", _TABLE, half=True)
    engine = open_on_cuda(path, _WAYS[way])
    assert engine.provider == CUDA
    history = histories(4, _ITEMS)
    rounded = _TABLE.astype(np.float16).astype(np.float32)
    _check(engine.run([history]), history, rounded, _HALF_TOLERANCE)


@pytest.mark.parametrize("way", _WAYS)
def test_the_contract_of_engines_holds(way: str, ranker: Path, open_on_cuda: Opener) -> None:
    engine = open_on_cuda(ranker, _WAYS[way])
    assert engine.inputs == (TensorSpec("history", "int32", (-1, LENGTH)),)
    assert [each.shape for each in engine.outputs] == [(-1, TOP_K)] * 2
    assert (engine.name, engine.threads) == ("onnxruntime-gpu", 1)
    history = histories(2, _ITEMS)
    first = engine.run([history])
    kept = [each.copy() for each in first]
    engine.run([histories(2, _ITEMS, seed=99)])
    for before, after in zip(kept, first, strict=True):
        np.testing.assert_array_equal(before, after)
    for wrong in ([], [history.astype(np.int64)], [history[:, :3]], [history] * 2):
        with pytest.raises(DeviceError):
            engine.run(wrong)
    assert engine.provider == CUDA, "a bad request costs nobody the card"
    engine.close()
    engine.close()
    with pytest.raises(DeviceError, match="closed"):
        engine.run([history])


def test_too_little_memory_at_loading_leaves_the_model_to_the_cpu(
    models: Path, open_on_cuda: Opener
) -> None:
    table = table_of(100_000, 64)
    path = write_ranker(models / "large.onnx", table)
    told: list[str] = []
    engine = open_on_cuda(path, _WAYS["binding"], memory_limit=2**20, told=told)
    assert engine.provider == CPU
    assert told == [engine.fallback]
    assert "cannot load the model" in told[0]
    history = histories(2, 100_000)
    _check(engine.run([history]), history, table)


@pytest.mark.parametrize("way", ["plain", "binding"])
def test_too_little_memory_for_a_batch_is_answered_by_the_cpu(
    way: str, models: Path, open_on_cuda: Opener
) -> None:
    items = 20_000
    table = table_of(items, 16)
    path = write_ranker(models / f"batches-{way}.onnx", table)
    told: list[str] = []
    # The tables are 2.6 MB; the scores of 2,000 rows are 160 MB.
    engine = open_on_cuda(path, _WAYS[way], memory_limit=64 * 2**20, told=told)
    small = histories(1, items)
    _check(engine.run([small]), small, table)
    assert engine.provider == CUDA
    large = histories(2000, items)
    _check(engine.run([large]), large, table)
    assert engine.provider == CPU
    assert told == [engine.fallback]
    assert "failed while it ran" in told[0]
    _check(engine.run([small]), small, table)


def test_tensorrt_is_used_where_it_is_installed_and_else_refused_with_a_name(
    verdict: Verdict, models: Path, tmp_path: Path
) -> None:
    from edgepack.runner.gpu.needs import TENSORRT

    if TENSORRT not in verdict.usable:
        assert "TensorRT 10" in str(verdict.refused[TENSORRT][0])
        return
    path = write_ranker(models / "tensorrt.onnx", _TABLE)
    specs = (TensorSpec("history", "int32", (-1, LENGTH)),)
    engine = OnnxRuntimeGpuEngine(
        path, EngineOptions(), GpuRequest(verdict, Precision.FP32, tmp_path, specs)
    )
    assert engine.provider in (TENSORRT, CUDA)
    history = histories(4, _ITEMS)
    _check(engine.run([history]), history)
    if engine.provider == TENSORRT:
        assert list(tmp_path.iterdir()), "what was built is kept"
    engine.close()
