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
    """

    threads: Annotated[int, Range(low=1, high=1024)] = 1
    execution_mode: ExecutionMode = ExecutionMode.SEQUENTIAL
    spinning: bool = False

    def __str__(self) -> str:
        words = ["1 thread" if self.threads == 1 else f"{self.threads} threads"]
        if self.execution_mode is ExecutionMode.PARALLEL:
            words.append("parallel")
        if self.spinning:
            words.append("spinning")
        return ", ".join(words)
