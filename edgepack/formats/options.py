"""How a runtime is opened: the options a box may choose between by measuring.

A word that a runtime does not know is left alone by its engine. It is not aware of runtimes.
Part of `edgepack.formats.report` and `choice`; anyone may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, assert_never

from edgepack.formats.typed import Range
from edgepack.formats.variants import RuntimeName

#: More threads than four have never paid for a model that answers in under a millisecond.
THREADS: Final = (1, 2, 4)


class ExecutionMode(StrEnum):
    """Whether independent nodes of a graph run one after the other or at the same time.

    Source: ONNX Runtime's `ExecutionMode`.
    """

    SEQUENTIAL = "sequential"
    PARALLEL = "parallel"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine is opened.

    Attributes:
        threads: Threads inside one call.
        execution_mode: ONNX Runtime only.
        spinning: Whether idle worker threads spin, which wins microseconds and keeps a box's
            cores hot between two requests. ONNX Runtime only.
        io_binding: Whether inputs and outputs have buffers of their own on the GPU, bound once for
            each shape, instead of being made for each call. onnxruntime-gpu only.
        cuda_graph: Whether the GPU's work is recorded once for each shape and replayed as one
            piece; needs `io_binding`. onnxruntime-gpu only.
    """

    threads: Annotated[int, Range(low=1, high=1024)] = 1
    execution_mode: ExecutionMode = ExecutionMode.SEQUENTIAL
    spinning: bool = False
    io_binding: bool = False
    cuda_graph: bool = False

    def __str__(self) -> str:
        words = ["1 thread" if self.threads == 1 else f"{self.threads} threads"]
        if self.execution_mode is ExecutionMode.PARALLEL:
            words.append("parallel")
        if self.spinning:
            words.append("spinning")
        if self.io_binding:
            words.append("I/O binding")
        if self.cuda_graph:
            words.append("CUDA graph")
        return ", ".join(words)

    @property
    def complexity(self) -> tuple[int, bool, bool, bool, bool]:
        """What a box pays for these options, in an order: the lower, the simpler."""
        parallel = self.execution_mode is ExecutionMode.PARALLEL
        return self.threads, parallel, self.spinning, self.cuda_graph, self.io_binding


def sensible_options(
    runtime: RuntimeName,
    cores: int,
    *,
    on_gpu: bool = True,
    counts: tuple[int, ...] = THREADS,
) -> tuple[EngineOptions, ...]:
    """Returns the options worth trying in a runtime on so many cores, the simplest first.

    Args:
        runtime: The runtime.
        cores: Cores the process may run on.
        on_gpu: Whether a runtime for GPUs has one to use.
        counts: Numbers of threads; those beyond the cores are left out.
    """
    if runtime is RuntimeName.ONNXRUNTIME_GPU and not on_gpu:
        runtime = RuntimeName.ONNXRUNTIME
    threads = [count for count in counts if count <= max(cores, 1)]
    match runtime:
        case RuntimeName.LITERT | RuntimeName.TFLITE_RUNTIME:
            return tuple(EngineOptions(count) for count in threads)
        case RuntimeName.ONNXRUNTIME:
            found = []
            for count in threads:
                found.append(EngineOptions(count))
                if count > 1:
                    # Both only say what workers do, and one thread has none.
                    found.append(EngineOptions(count, spinning=True))
                    found.append(EngineOptions(count, ExecutionMode.PARALLEL))
            return tuple(found)
        case RuntimeName.ONNXRUNTIME_GPU:
            # The GPU computes; the CPU's threads only hand over.
            return (
                EngineOptions(),
                EngineOptions(io_binding=True),
                EngineOptions(io_binding=True, cuda_graph=True),
            )
        case _:
            assert_never(runtime)
