"""How long a TFLite file takes for a call, so that several can be timed in turn.

Imports LiteRT on use. Used by workers only, as a runtime may crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any, Final

import numpy as np
import numpy.typing as npt

#: The inputs of one call at batch 1, in the file's order.
Row = Sequence[npt.NDArray[Any]]
Rows = Sequence[Row]
#: How long a file is timed at a stretch; a longer stretch is more often broken into.
_BURST_NS: Final = 100_000


class TimedFile:
    """A file open in the runtime, on one thread."""

    def __init__(self, data: bytes) -> None:
        """Opens a file.

        Args:
            data: A TFLite file with inputs of batch 1.
        """
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=data, num_threads=1)
        self._interpreter.allocate_tensors()
        self._places = [each["index"] for each in self._interpreter.get_input_details()]
        self._calls = 1

    def settle(self, rows: Rows) -> None:
        """Warms up, and finds how many calls make a burst.

        Args:
            rows: Inputs, at least one.
        """
        for row in rows[:8]:
            self._give(row)
            self._interpreter.invoke()
        started = perf_counter_ns()
        for _ in range(8):
            self._interpreter.invoke()
        each = max((perf_counter_ns() - started) / 8, 1.0)
        self._calls = int(np.clip(_BURST_NS / each, 1, 1000))

    def time(self, row: Row) -> float:
        """Returns nanoseconds of one call, the mean of a burst.

        Args:
            row: Its inputs.
        """
        self._give(row)
        invoke = self._interpreter.invoke
        invoke()
        started = perf_counter_ns()
        for _ in range(self._calls):
            invoke()
        return (perf_counter_ns() - started) / self._calls

    def _give(self, row: Row) -> None:
        for place, value in zip(self._places, row, strict=True):
            self._interpreter.set_tensor(place, value)
