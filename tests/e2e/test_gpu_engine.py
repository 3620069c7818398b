"""The GPU engine over ONNX Runtime: real sessions and binding on the CPU, a simulated card."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgepack.formats.errors import DeviceError
from edgepack.formats.options import EngineOptions
from edgepack.formats.tensors import TensorSpec
from edgepack.formats.variants import Precision
from edgepack.runner.engines.binding import MAX_SHAPES, BoundSession
from edgepack.runner.engines.onnxruntime_gpu import (
    GpuRequest,
    OnnxRuntimeGpuEngine,
    cuda_options,
    tensorrt_options,
)
from edgepack.runner.gpu.fit import Verdict
from edgepack.runner.gpu.needs import CPU, CUDA, TENSORRT
from tests.e2e.simulated_cuda import OUT_OF_MEMORY, SimulatedCuda

_BOUND = EngineOptions(io_binding=True)
_GRAPH = EngineOptions(io_binding=True, cuda_graph=True)
_WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4)


def _write(path: Path, batch: str | int | None = "rows", out: str | int | None = "same") -> Path:
    """A model that multiplies rows of three by a matrix and says which column is the largest."""
    out = batch if out == "same" else out
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["best"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [out, 4]),
            helper.make_tensor_value_info("best", TensorProto.INT64, [out]),
        ],
        [helper.make_tensor("w", TensorProto.FLOAT, _WEIGHTS.shape, _WEIGHTS)],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return _write(tmp_path / "model.onnx")


class Told(list[str]):
    """Collects what the engine tells."""


def _open(
    model: Path,
    card: SimulatedCuda,
    options: EngineOptions = _BOUND,
    usable: tuple[str, ...] = (CUDA, CPU),
    told: Told | None = None,
) -> OnnxRuntimeGpuEngine:
    tell = (Told() if told is None else told).append
    return OnnxRuntimeGpuEngine(model, options, GpuRequest(Verdict(usable, {}), tell=tell), card)


def _rows(count: int, start: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return (np.arange(count * 3, dtype=np.float32) + np.float32(start)).reshape(count, 3)


def _check(engine: OnnxRuntimeGpuEngine, count: int, start: float = 0.0) -> None:
    rows = _rows(count, start)
    y, best = engine.run([rows])
    np.testing.assert_array_equal(y, rows @ _WEIGHTS)
    np.testing.assert_array_equal(best, np.argmax(rows @ _WEIGHTS, axis=1))


def test_each_way_of_running_gives_the_same_answers_for_every_batch(model: Path) -> None:
    for options in (EngineOptions(), _BOUND, _GRAPH):
        engine = _open(model, SimulatedCuda(), options)
        assert (engine.provider, engine.fallback, engine.options) == (CUDA, None, options)
        for count in (1, 4, 1, 9, 4):
            _check(engine, count, start=count)


def test_a_graph_implies_binding(model: Path) -> None:
    engine = _open(model, SimulatedCuda(), EngineOptions(cuda_graph=True))
    assert engine.options == _GRAPH


def test_a_recorded_graph_is_run_by_one_thread_whoever_asks(model: Path) -> None:
    card = SimulatedCuda()
    engine = _open(model, card, _GRAPH)
    _check(engine, 2)
    with ThreadPoolExecutor(1) as other:
        other.submit(_check, engine, 2).result()
    assert len(card.threads) == 1
    assert card.threads != {threading.get_ident()}
    engine.close()
    with pytest.raises(DeviceError, match="closed"):
        engine.run([_rows(1)])


def test_buffers_are_made_once_for_each_shape_and_a_graph_has_a_number_of_its_own(
    model: Path,
) -> None:
    card = SimulatedCuda()
    engine = _open(model, card, _GRAPH)
    for count in (1, 4, 1, 4, 1):
        _check(engine, count)
    assert card.bound == [(1, 3), (1, 4), (1,), (4, 3), (4, 4), (4,)]
    assert card.graph_ids == ["1", "2", "1", "2", "1"]
    assert card.plain_runs == 0


def test_beyond_the_most_shapes_nothing_is_recorded_and_answers_stay_right(model: Path) -> None:
    card = SimulatedCuda()
    engine = _open(model, card, _GRAPH)
    for count in range(1, MAX_SHAPES + 4):
        _check(engine, count)
    assert card.graph_ids[MAX_SHAPES:] == ["-1"] * 3
    _check(engine, 1)
    assert card.graph_ids[-1] == "1", "what was recorded first is still there"


def test_answers_belong_to_the_caller_though_buffers_are_used_again(model: Path) -> None:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    bound = BoundSession(onnxruntime, session, "cpu")
    kept = bound.run([_rows(2)])
    first = [each.copy() for each in kept]
    bound.run([_rows(2, start=50)])
    for before, after in zip(first, kept, strict=True):
        np.testing.assert_array_equal(before, after)


def test_an_input_that_is_not_contiguous_is_bound_as_well(model: Path) -> None:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    rows = np.asfortranarray(_rows(5))
    (y, _) = BoundSession(onnxruntime, session, "cpu").run([rows])
    np.testing.assert_array_equal(y, rows @ _WEIGHTS)


def test_an_output_whose_shape_is_not_known_before_is_run_without_binding(tmp_path: Path) -> None:
    model = _write(tmp_path / "model.onnx", out="elsewhere")
    card = SimulatedCuda()
    engine = _open(model, card, _BOUND)
    assert engine.options == EngineOptions()
    _check(engine, 3)
    assert (card.bound, card.plain_runs) == ([], 1)
    assert _open(model, SimulatedCuda(), _GRAPH).options == EngineOptions()


def test_a_model_that_cannot_be_recorded_is_run_without_a_graph(model: Path) -> None:
    card = SimulatedCuda(refuses_graphs=True)
    engine = _open(model, card, _GRAPH)
    assert (engine.provider, engine.options) == (CUDA, _BOUND)
    _check(engine, 2)


def test_the_second_provider_is_tried_where_the_first_cannot_load(model: Path) -> None:
    card = SimulatedCuda(load_errors={TENSORRT: "TensorRT EP failed to create engine"})
    told = Told()
    engine = _open(model, card, EngineOptions(), (TENSORRT, CUDA, CPU), told)
    assert (engine.provider, engine.fallback) == (CUDA, None)
    assert [[name for name, _ in each] for each in card.opened] == [
        [TENSORRT, CUDA, CPU],
        [CUDA, CPU],
    ]
    assert told == []


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (SimulatedCuda(load_errors={CUDA: OUT_OF_MEMORY}), "Failed to allocate memory"),
        (SimulatedCuda(ignores=frozenset({CUDA})), "took CPUExecutionProvider instead"),
    ],
)
def test_a_card_that_cannot_load_the_model_leaves_it_to_the_cpu(
    model: Path, card: SimulatedCuda, words: str
) -> None:
    told = Told()
    engine = _open(model, card, _GRAPH, told=told)
    assert (engine.provider, engine.options) == (CPU, EngineOptions())
    assert told == [engine.fallback]
    assert "CUDAExecutionProvider cannot load the model: " in told[0]
    assert words in told[0]
    _check(engine, 3)


def test_a_request_during_which_the_card_fails_is_answered_and_the_reason_told_once(
    model: Path,
) -> None:
    card, told = SimulatedCuda(), Told()
    engine = _open(model, card, told=told)
    _check(engine, 2)
    card.run_error = OUT_OF_MEMORY
    for count in (2, 3, 2):
        _check(engine, count)
    assert engine.provider == CPU
    assert engine.fallback is not None
    assert told == [engine.fallback]
    assert engine.fallback.startswith("CUDAExecutionProvider failed while it ran: ")
    assert "bfc_arena.cc" in engine.fallback
    assert "/onnxruntime_src" not in engine.fallback, "paths stay on the box"


def test_the_box_keeps_its_name_to_itself_when_cuda_fails(model: Path) -> None:
    card = SimulatedCuda()
    engine = _open(model, card)
    card.run_error = (
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=till-17.shop.example ; "
        "file=/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_allocator.cc ; line=37"
    )
    _check(engine, 2)
    assert engine.fallback is not None
    assert "out of memory ; GPU=0 ; file=cuda_allocator.cc" in engine.fallback
    assert "till-17" not in engine.fallback


def test_a_request_that_the_cpu_refuses_too_does_not_cost_the_card(tmp_path: Path) -> None:
    path = tmp_path / "gather.onnx"
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "i"], ["y"])],
        "model",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor("w", TensorProto.FLOAT, _WEIGHTS.shape, _WEIGHTS)],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    engine = _open(path, SimulatedCuda())
    for _ in range(2):
        with pytest.raises(DeviceError, match="out of data bounds"):
            engine.run([np.array([99], np.int64)])
    assert (engine.provider, engine.fallback) == (CUDA, None)
    np.testing.assert_array_equal(engine.run([np.array([1], np.int64)])[0], _WEIGHTS[1:2])


def test_only_where_each_number_of_rows_costs_something_are_they_few(model: Path) -> None:
    def sizes(options: EngineOptions, usable: tuple[str, ...] = (CUDA, CPU)) -> object:
        request = GpuRequest(Verdict(usable, {}), batch_sizes=(1, 2, 4))
        return OnnxRuntimeGpuEngine(model, options, request, SimulatedCuda()).batch_sizes

    assert sizes(_GRAPH) == sizes(_BOUND) == (1, 2, 4)
    assert sizes(EngineOptions(), (TENSORRT, CUDA, CPU)) == (1, 2, 4)
    assert sizes(EngineOptions()) is None
    assert sizes(_GRAPH, (CPU,)) is None


def test_a_verdict_against_the_card_opens_nothing_on_it(model: Path) -> None:
    card = SimulatedCuda()
    engine = _open(model, card, usable=(CPU,))
    assert (engine.provider, card.opened) == (CPU, [])
    _check(engine, 1)
    engine.close()
    with pytest.raises(DeviceError, match="closed"):
        engine.run([_rows(1)])


def test_tensorrt_is_told_the_precision_the_shapes_and_where_to_keep_its_engines() -> None:
    specs = (TensorSpec("history", "int32", (-1, 20)), TensorSpec("k", "int32", (1,)))
    request = GpuRequest(
        *(Verdict((CPU,), {}), Precision.FP16, Path("/state/gpu/ab"), specs),
        batch_sizes=(1, 2, 4, 8, 16, 32),
    )
    options = tensorrt_options(_GRAPH, request)
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("1", "0")
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/state/gpu/ab"
    assert options["trt_profile_min_shapes"] == "history:1x20"
    assert options["trt_profile_max_shapes"] == "history:32x20"
    bare = tensorrt_options(EngineOptions(), GpuRequest(Verdict((CPU,), {}), Precision.STATIC_INT8))
    assert (bare["trt_int8_enable"], "trt_engine_cache_path" in bare) == ("1", False)
    odd = GpuRequest(Verdict((CPU,), {}), inputs=(TensorSpec("x", "float32", (-1, -1)),))
    assert not [name for name in tensorrt_options(_GRAPH, odd) if "profile" in name]


def test_tensorrt_records_a_graph_only_of_shapes_that_stay() -> None:
    def graph(options: EngineOptions, *specs: TensorSpec) -> str:
        request = GpuRequest(Verdict((CPU,), {}), inputs=specs, batch_sizes=(1, 2, 4))
        return tensorrt_options(options, request)["trt_cuda_graph_enable"]

    fixed, varying = (TensorSpec("history", "int32", (batch, 20)) for batch in (1, -1))
    assert graph(_GRAPH, fixed) == "1"
    assert graph(_GRAPH, fixed, varying) == graph(_GRAPH, varying) == graph(_GRAPH) == "0"
    assert graph(_BOUND, fixed) == "0"


@pytest.mark.parametrize(("batch", "recorded"), [(2, True), (-1, False)])
def test_with_tensorrt_a_model_whose_batch_varies_is_bound_and_not_recorded(
    tmp_path: Path, batch: int, *, recorded: bool
) -> None:
    path = _write(tmp_path / "model.onnx", "rows" if batch == -1 else batch)
    card = SimulatedCuda()
    specs = (TensorSpec("x", "float32", (batch, 3)),)
    request = GpuRequest(Verdict((TENSORRT, CUDA, CPU), {}), inputs=specs, batch_sizes=(1, 2))
    engine = OnnxRuntimeGpuEngine(path, _GRAPH, request, card)
    assert engine.provider == TENSORRT
    assert engine.options == (_GRAPH if recorded else _BOUND)
    _check(engine, 2)
    assert bool(card.graph_ids) == recorded
    ((_, of_tensorrt), (_, of_cuda), _) = card.opened[0]
    flags = (of_tensorrt["trt_cuda_graph_enable"], of_cuda["enable_cuda_graph"])
    assert flags == (("1", "1") if recorded else ("0", "0"))
    assert len(card.opened) == 1


def test_where_tensorrt_cannot_load_the_model_cuda_records_the_varying_batch(model: Path) -> None:
    card = SimulatedCuda(load_errors={TENSORRT: "TensorRT EP failed to create engine"})
    specs = (TensorSpec("x", "float32", (-1, 3)),)
    request = GpuRequest(Verdict((TENSORRT, CUDA, CPU), {}), inputs=specs)
    engine = OnnxRuntimeGpuEngine(model, _GRAPH, request, card)
    assert (engine.provider, engine.options) == (CUDA, _GRAPH)
    assert len(card.opened) == 2
    _check(engine, 3)


def test_cuda_is_told_to_round_nothing_and_to_grow_by_what_is_needed() -> None:
    options = cuda_options(_BOUND, 10**9)
    assert (options["use_tf32"], options["enable_cuda_graph"]) == ("0", "0")
    assert options["gpu_mem_limit"] == "1000000000"
    assert cuda_options(_GRAPH)["enable_cuda_graph"] == "1"
    assert "gpu_mem_limit" not in cuda_options(_GRAPH)
