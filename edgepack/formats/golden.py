"""Golden sequences: known inputs and the answers this very model file gave on the host.

A box replays them before it serves and after every change. It is not aware of how answers are
made. Anyone may import it; standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.errors import BundleError
from edgepack.formats.fields import FieldReader

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class GoldenSequence:
    """A history and its ranked answer.

    Attributes:
        history: External item ids, most recent last.
        items: The answer's item ids, best first.
        scores: Their scores, same length, descending.
    """

    history: tuple[str, ...]
    items: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TensorValue:
    """A tensor written out: `data` is row-major and has the shape's product of elements."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GoldenTensors:
    """One call of a model without a vocabulary: inputs and outputs in file order."""

    inputs: tuple[TensorValue, ...]
    outputs: tuple[TensorValue, ...]


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The golden answers of one candidate.

    Attributes:
        tolerance: How far a score or an output element may lie from the recorded one, in
            the score's own unit.
        sequences: A recommender's; empty for a tensor model.
        tensors: A tensor model's; empty for a recommender.
    """

    tolerance: float
    sequences: tuple[GoldenSequence, ...] = ()
    tensors: tuple[GoldenTensors, ...] = ()

    def to_bytes(self) -> bytes:
        """Returns the canonical JSON of a golden file."""
        return canonical_json(
            {
                "format": _FORMAT,
                "tolerance": self.tolerance,
                "sequences": [
                    {"history": each.history, "items": each.items, "scores": each.scores}
                    for each in self.sequences
                ],
                "tensors": [
                    {
                        "inputs": [_tensor_json(value) for value in each.inputs],
                        "outputs": [_tensor_json(value) for value in each.outputs],
                    }
                    for each in self.tensors
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> GoldenSet:
        """Parses a golden file.

        Raises:
            BundleError: Not a golden file, of a newer format, or with lengths that disagree.
        """
        read = FieldReader(parse_json(data, what="golden file"), "golden")
        found = read.integer("format", minimum=1)
        if found > _FORMAT:
            raise BundleError(
                f"golden file has format {found}; this edgepack reads up to {_FORMAT}",
                hint="install a newer edgepack",
            )
        return cls(
            tolerance=read.number("tolerance"),
            sequences=read.items("sequences", _read_sequence),
            tensors=read.items("tensors", _read_tensors),
        )


def check_ranking(
    expected: GoldenSequence, items: Sequence[str], scores: Sequence[float], tolerance: float
) -> list[str]:
    """Compares a ranked answer with the golden one.

    Two items may change places only where their golden scores are closer than the tolerance,
    and an item may be replaced only by one whose score is that close to the last golden score:
    a different CPU adds up in a different order, which may not change anything else.

    Args:
        expected: The golden sequence.
        items: The answer's item ids, best first; at least as many as are expected.
        scores: Their scores.
        tolerance: See `GoldenSet.tolerance`.

    Returns:
        What is wrong, one sentence for each rank; empty when the answers agree.
    """
    wanted = len(expected.items)
    if len(items) < wanted or len(scores) < wanted:
        return [f"{len(items)} items came back, {wanted} expected"]
    golden = dict(zip(expected.items, expected.scores, strict=True))
    problems = []
    for rank in range(wanted):
        if not abs(scores[rank] - expected.scores[rank]) <= tolerance:
            problems.append(
                f"rank {rank + 1}: score {scores[rank]:.6g}, expected "
                f"{expected.scores[rank]:.6g} ± {tolerance:.2g}"
            )
        elif items[rank] != expected.items[rank]:
            # An item beyond the golden list can only have tied with its end.
            own = golden.get(items[rank], expected.scores[-1])
            # Each of the two may have moved by the tolerance.
            if abs(own - expected.scores[rank]) > 2 * tolerance:
                problems.append(
                    f"rank {rank + 1}: item '{items[rank]}', expected '{expected.items[rank]}'"
                )
    if len(set(items[:wanted])) != wanted:
        problems.append("an item came back twice")
    return problems


def check_tensor(expected: TensorValue, data: Sequence[float], tolerance: float) -> list[str]:
    """Compares one output, element by element.

    Args:
        expected: The golden output.
        data: The output's elements, row-major.
        tolerance: See `GoldenSet.tolerance`.

    Returns:
        What is wrong; empty when the outputs agree.
    """
    if len(data) != len(expected.data):
        return [f"output {expected.name}: {len(data)} elements, expected {len(expected.data)}"]
    for i, (got, want) in enumerate(zip(data, expected.data, strict=True)):
        if not abs(got - want) <= tolerance:
            expectation = f"expected {want:.6g} ± {tolerance:.2g}"
            return [f"output {expected.name}[{i}]: {got:.6g}, {expectation}"]
    return []


def _tensor_json(value: TensorValue) -> dict[str, Any]:
    return {
        "name": value.name,
        "dtype": value.dtype,
        "shape": value.shape,
        "data": value.data,
    }


def _read_sequence(value: Mapping[str, Any], where: str) -> GoldenSequence:
    read = FieldReader(value, where)
    sequence = GoldenSequence(read.texts("history"), read.texts("items"), read.numbers("scores"))
    if len(sequence.items) != len(sequence.scores):
        raise BundleError(f"{where}: {len(sequence.items)} items but {len(sequence.scores)} scores")
    return sequence


def _read_tensors(value: Mapping[str, Any], where: str) -> GoldenTensors:
    read = FieldReader(value, where)
    return GoldenTensors(read.items("inputs", _read_tensor), read.items("outputs", _read_tensor))


def _read_tensor(value: Mapping[str, Any], where: str) -> TensorValue:
    read = FieldReader(value, where)
    tensor = TensorValue(
        read.text("name"), read.text("dtype"), read.integers("shape"), read.numbers("data")
    )
    elements = 1
    for extent in tensor.shape:
        elements *= extent
    if elements != len(tensor.data):
        raise BundleError(f"{where}: shape {tensor.shape} but {len(tensor.data)} elements")
    return tensor
