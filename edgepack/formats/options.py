"""How a runtime is opened: the options a box may choose between by measuring.

A word that a runtime does not know is left alone by its engine. It is not aware of runtimes.
Part of `edgepack.formats.report` and `choice`; anyone may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from edgepack.formats.typed import Range


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
