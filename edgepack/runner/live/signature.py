"""What a live model takes and gives, in the words of tensors: names, element types, shapes, rows.

Runtimes rename tensors and settle on batch 1; clients see neither. It is not aware of HTTP or
of how tensors travel. Used by the routes of both tensor protocols.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgepack.formats.errors import DeviceError
from edgepack.formats.manifest import ModelKind
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.engines.contract import Array, Engine
from edgepack.runner.recommender import find_outputs
from edgepack.runner.rows import CallSizes, run_rows

#: Rows of one request; a night's mailing is sent in several.
MAX_ROWS = 256
#: Numbers of one answer, where one row alone has fewer: 4 MB of float32, 10 to 20 MB as JSON.
MAX_ANSWER_ELEMENTS = 2**20
#: What a recommender's tensors are called, whatever the converter made of their names.
HISTORY, SCORES, ITEMS = "history", "scores", "items"
#: numpy has no name for it; item ids travel as UTF-8.
TEXT = "bytes"

Observe = Callable[[int, int], None]


class Batching(enum.Enum):
    """How several rows get through the graph."""

    #: The graph's batch is fixed at 1: one call a row, and the answers are stacked.
    ROW_BY_ROW = enum.auto()
    #: The graph takes any number of rows in one call.
    WHOLE = enum.auto()
    #: The first extent is no batch, or one of another fixed size: tensors go in as they are.
    NONE = enum.auto()


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a live model.

    Attributes:
        inputs: In the engine's order; the first extent is -1 where there is a batch.
        outputs: In the order that clients see.
        positions: Where each output is in the engine's answer.
        batching: How rows get through.
        catalogue: Items of the vocabulary, so that an index can be checked; None for a tensor
            model.
        answer_elements: The numbers of one row's answer, as far as the shapes tell.
        max_rows: The most rows of one request; 1 where there is no batch.
        sizes: How many rows one call may have where they go through whole; None: any number.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    positions: tuple[int, ...]
    batching: Batching
    catalogue: int | None
    answer_elements: int
    max_rows: int
    sizes: CallSizes | None = None

    def input_named(self, name: str) -> TensorSpec | None:
        """Returns an input, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output_at(self, name: str) -> int | None:
        """Returns the place of an output among `outputs`, or None."""
        return next((i for i, spec in enumerate(self.outputs) if spec.name == name), None)

    def rows(self, arrays: Sequence[Array]) -> int:
        """Returns how many rows checked inputs have."""
        return 1 if self.batching is Batching.NONE else int(arrays[0].shape[0])

    def run(
        self, engine: Engine, arrays: Sequence[Array], now_ns: Callable[[], int], observe: Observe
    ) -> list[Array]:
        """Runs the model over every row.

        Args:
            engine: The loaded model.
            arrays: One array for each input, of its dtype and shape, all with the same rows.
            now_ns: The clock that times the calls.
            observe: Gets the rows and the nanoseconds of each call.

        Returns:
            One array for each of `outputs`, rows first.

        Raises:
            DeviceError: The runtime failed, or rows gave answers of different shapes.
        """
        if self.batching is Batching.WHOLE and self.sizes is not None:
            outputs, calls = run_rows(engine, arrays, self.sizes, now_ns)
            for call in calls:
                observe(*call)
            return [outputs[i] for i in self.positions]
        if self.batching is not Batching.ROW_BY_ROW:
            start_ns = now_ns()
            answer = engine.run(arrays)
            observe(self.rows(arrays), now_ns() - start_ns)
            return [answer[i] for i in self.positions]
        answers = []
        for row in range(self.rows(arrays)):
            start_ns = now_ns()
            answers.append(engine.run([array[row : row + 1] for array in arrays]))
            observe(1, now_ns() - start_ns)
        if len(answers) == 1:
            return [answers[0][i] for i in self.positions]
        return [_stack([answer[i] for answer in answers]) for i in self.positions]


def make_signature(
    kind: ModelKind,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    names: tuple[Sequence[TensorSpec], Sequence[TensorSpec]] | None = None,
    catalogue: int | None = None,
    sizes: CallSizes | None = None,
) -> Signature:
    """Makes a model's signature.

    Args:
        kind: A recommender's tensors have fixed names and order.
        inputs: The engine's inputs in file order.
        outputs: The engine's outputs in file order.
        names: The same tensors as the manifest names them; the engine's names by default.
        catalogue: Items of the vocabulary.
        sizes: How many rows one call may have; None: any number.

    Raises:
        BundleError: A recommender's graph has not one output of scores and one of items.
    """
    if kind == "recommender":
        positions: tuple[int, ...] = find_outputs(outputs)
        called: list[TensorSpec] = [replace(inputs[0], name=HISTORY)]
        given = [
            replace(outputs[i], name=name)
            for i, name in zip(positions, (SCORES, ITEMS), strict=True)
        ]
    else:
        positions = tuple(range(len(outputs)))
        named = names or (inputs, outputs)
        called = _renamed(inputs, named[0])
        given = _renamed(outputs, named[1])
    batching = _batching(inputs, outputs)
    if batching is not Batching.NONE:
        called, given = ([_batch_first(spec) for spec in specs] for specs in (called, given))
    elements = _elements(given, batching)
    rows = 1 if batching is Batching.NONE else _rows_within(elements)
    return Signature(
        tuple(called), tuple(given), positions, batching, catalogue, elements, rows, sizes
    )


def fits(spec: TensorSpec, shape: Sequence[int]) -> bool:
    """Whether an input may have a shape."""
    return len(shape) == len(spec.shape) and all(
        want in (-1, got) for want, got in zip(spec.shape, shape, strict=True)
    )


def _batching(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Batching:
    first = [spec.shape[0] if spec.shape else 0 for spec in (*inputs, *outputs)]
    if not inputs or not set(first) <= {1, -1}:
        return Batching.NONE
    return Batching.WHOLE if set(first) == {-1} else Batching.ROW_BY_ROW


def _batch_first(spec: TensorSpec) -> TensorSpec:
    return replace(spec, shape=(-1, *spec.shape[1:]))


def _elements(outputs: Sequence[TensorSpec], batching: Batching) -> int:
    first = 0 if batching is Batching.NONE else 1
    return sum(math.prod(max(n, 1) for n in spec.shape[first:]) for spec in outputs)


def _rows_within(elements: int) -> int:
    return max(1, min(MAX_ROWS, MAX_ANSWER_ELEMENTS // max(elements, 1)))


def _renamed(specs: Sequence[TensorSpec], named: Sequence[TensorSpec]) -> list[TensorSpec]:
    raw = [each.name for each in named]
    # TensorFlow's exporter writes `serving_default_x:0` for the input that its signature calls x.
    plain = [name.removeprefix("serving_default_").partition(":")[0] for name in raw]
    chosen = plain if len({*plain, ""}) == len(raw) + 1 else raw
    return [replace(spec, name=name) for spec, name in zip(specs, chosen, strict=True)]


def _stack(rows: Sequence[Array]) -> Array:
    if len({row.shape for row in rows}) != 1:
        shapes = ", ".join(str(list(row.shape)) for row in rows[:3])
        raise DeviceError(f"the model gave rows of different shapes: {shapes}")
    return np.concatenate(rows)
