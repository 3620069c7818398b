"""Rows through an engine that takes several in one call: cut, filled up, run, put together again.

It is not aware of whose rows they are. Used by the server, the replay of golden answers and the
benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.formats.manifest import Candidate
from edgepack.runner.engines.contract import Array, Engine


class Call(NamedTuple):
    """One call of an engine: the rows that were asked for, and the time inside it."""

    rows: int
    duration_ns: int


@dataclass(frozen=True, slots=True)
class CallSizes:
    """How many rows one call may have.

    Attributes:
        most: The most; 1 where rows go through one by one.
        only: The only numbers of rows the engine wants to see, ascending from 1 to `most`; fewer
            are filled up with copies of the first. None: any number.
    """

    most: int = 1
    only: tuple[int, ...] | None = None

    def filled(self, rows: int) -> int:
        """Returns how many rows the call for so many has; at most `most` are asked for."""
        return rows if self.only is None else next(n for n in self.only if n >= rows)

    def parts(self, rows: int) -> list[int]:
        """Returns the calls that so many rows take, each at most `most`."""
        whole, rest = divmod(rows, self.most)
        return [self.most] * whole + [rest] * (rest > 0)


ONE_BY_ONE = CallSizes()


def powers_of_two(most: int) -> tuple[int, ...]:
    """Returns 1, 2, 4 … up to a number, and the number itself."""
    return tuple(sorted({*(1 << i for i in range(most.bit_length())), most}))


def sizes_of(engine: Engine, most: int) -> CallSizes:
    """Tells which calls an engine gets.

    Args:
        engine: Has a `batch_sizes` where every new number of rows costs it something, as CUDA
            graphs do: the only ones it wants to see, or None.
        most: The most rows of one call.
    """
    asked: Sequence[int] | None = getattr(engine, "batch_sizes", None)
    if asked is None or most == 1:
        return CallSizes(most)
    only = tuple(sorted({1, *(n for n in asked if 1 <= n <= most)}))
    return CallSizes(only[-1], only)


def check_batch_size(candidate: Candidate, batch_size: int | None) -> int:
    """Returns the most rows of one call.

    Args:
        candidate: What is run.
        batch_size: What was asked for; None: as many as the candidate takes.

    Raises:
        ConfigError: The candidate does not take so many.
    """
    if batch_size is None or batch_size <= candidate.max_batch:
        return batch_size or candidate.max_batch
    takes = f"takes at most {candidate.max_batch} rows in one call"
    if candidate.max_batch == 1:
        takes = "was built without a batch dimension and takes one row a call"
    raise ConfigError(
        f"serve.batch_size: got {batch_size}, but {candidate.variant} {takes}",
        hint="leave batch_size out, or build for a target with a larger [variants] max_batch",
    )


def run_rows(
    engine: Engine, arrays: Sequence[Array], sizes: CallSizes, now_ns: Callable[[], int]
) -> tuple[list[Array], list[Call]]:
    """Runs rows through an engine whose graph takes any number of them.

    Args:
        engine: The loaded model.
        arrays: One array for each input in file order, all with the same rows.
        sizes: How many rows one call may have.
        now_ns: The clock that times the calls.

    Returns:
        One array for each output in file order with as many rows, and the calls it took.

    Raises:
        DeviceError: The runtime failed, or gave another number of rows than it got.
    """
    found, calls, begin = [], [], 0
    for rows in sizes.parts(len(arrays[0])):
        part = [_filled(each[begin : begin + rows], sizes.filled(rows)) for each in arrays]
        start_ns = now_ns()
        outputs = engine.run(part)
        calls.append(Call(rows, now_ns() - start_ns))
        found.append([_cut(each, rows, len(part[0])) for each in outputs])
        begin += rows
    if len(found) == 1:
        return found[0], calls
    return [_joined(each) for each in zip(*found, strict=True)], calls


def join_rows(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Puts the inputs of several askers together, each input's rows one after the other."""
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _filled(array: Array, rows: int) -> Array:
    lacking = rows - len(array)
    if not lacking:
        return array
    # A real row: zeros may be a history that the graph has never seen.
    return np.concatenate([array, np.repeat(array[:1], lacking, axis=0)])


def _cut(output: Array, rows: int, called: int) -> Array:
    if output.shape[:1] != (called,):
        raise DeviceError(f"the model gave the shape {list(output.shape)} for {called} rows")
    return output[:rows]


def _joined(parts: Sequence[Array]) -> Array:
    if len({part.shape[1:] for part in parts}) != 1:
        shapes = ", ".join(str(list(part.shape)) for part in parts[:3])
        raise DeviceError(f"the model gave rows of different shapes: {shapes}")
    return np.concatenate(parts)
