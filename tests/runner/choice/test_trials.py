from __future__ import annotations

import pytest

from edgepack.formats.options import EngineOptions, ExecutionMode, sensible_options
from edgepack.formats.variants import RuntimeName
from edgepack.runner.choice.trials import Trial, plan_trials


@pytest.mark.parametrize(
    ("cores", "threads"), [(0, [1]), (1, [1]), (2, [1, 2]), (3, [1, 2]), (4, [1, 2, 4])]
)
@pytest.mark.parametrize("runtime", [RuntimeName.LITERT, RuntimeName.TFLITE_RUNTIME])
def test_no_more_threads_are_tried_than_there_are_cores(
    runtime: RuntimeName, cores: int, threads: list[int]
) -> None:
    assert [each.threads for each in sensible_options(runtime, cores)] == threads


def test_sixty_four_cores_are_not_tried_one_by_one() -> None:
    assert max(each.threads for each in sensible_options(RuntimeName.ONNXRUNTIME, 64)) == 4


def test_onnx_runtime_is_tried_spinning_and_parallel_where_it_has_workers() -> None:
    assert sensible_options(RuntimeName.ONNXRUNTIME, 1) == (EngineOptions(1),)
    assert sensible_options(RuntimeName.ONNXRUNTIME, 2) == (
        EngineOptions(1),
        EngineOptions(2),
        EngineOptions(2, spinning=True),
        EngineOptions(2, ExecutionMode.PARALLEL),
    )


def test_a_gpu_is_tried_with_binding_and_graphs_and_not_with_threads_of_the_cpu() -> None:
    assert sensible_options(RuntimeName.ONNXRUNTIME_GPU, 8) == (
        EngineOptions(),
        EngineOptions(io_binding=True),
        EngineOptions(io_binding=True, cuda_graph=True),
    )


def test_without_a_gpu_its_runtime_is_tried_as_the_cpus() -> None:
    gpu, cpu = RuntimeName.ONNXRUNTIME_GPU, RuntimeName.ONNXRUNTIME
    assert sensible_options(gpu, 4, on_gpu=False) == sensible_options(cpu, 4)
    assert len(plan_trials(gpu, ["a"], 1, on_gpu=False)) == 1


def test_every_candidate_is_tried_the_simplest_first() -> None:
    trials = plan_trials(RuntimeName.LITERT, ["a", "b"], 2)
    assert [(each.variant, each.options.threads) for each in trials] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
        ("b", 2),
    ]
    assert len(plan_trials(RuntimeName.LITERT, ["a"], None)) == 1


def test_a_trial_reads_as_a_sentence() -> None:
    assert str(Trial("tflite-fp32", EngineOptions())) == "tflite-fp32 with 1 thread"
    busy = EngineOptions(4, ExecutionMode.PARALLEL, spinning=True)
    assert str(busy) == "4 threads, parallel, spinning"
    gpu = EngineOptions(io_binding=True, cuda_graph=True)
    assert str(gpu) == "1 thread, I/O binding, CUDA graph"
