"""What is asked of a variant beside its fp32 twin, whatever their format. Values only.

Used by the worker and by the two modules that fill it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgepack.build.explain.errors import ErrorFigures

#: Inputs of one call each, at batch 1, in the file's order.
Rows = Sequence[Sequence[npt.NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the graph.

    Attributes:
        name: From the names that the exporter gave.
        operators: Its operators' kinds, in the graph's order.
        quantised: Whether the variant computes any of them in other numbers than fp32.
        unmatched: How many of them the variant has in another form.
    """

    name: str
    operators: tuple[str, ...]
    quantised: bool
    unmatched: int


@dataclass(frozen=True, slots=True)
class SeenTensor:
    """One tensor with what it loses.

    Attributes:
        name: As the exporter called it.
        layer: The layer that makes it, or reads it where it is a constant.
        role: `activation` or `weights`.
        dtype: The variant's type.
        shape: Of one row.
        figures: What it loses.
    """

    name: str
    layer: str
    role: str
    dtype: str
    shape: tuple[int, ...]
    figures: ErrorFigures


class Subject(Protocol):
    """A variant beside its twin."""

    def layers(self) -> list[Layer]:
        """Returns the layers in the graph's order."""

    def tensors(self, rows: Rows) -> list[SeenTensor]:
        """Runs both and returns what each tensor of the variant loses."""

    def mixed(self, quantised: Collection[str]) -> bytes:
        """Returns a file with these layers as the variant has them and the rest in fp32.

        Raises:
            ConversionError: The layers cannot be taken apart like this.
        """

    def run(self, data: bytes, rows: Rows) -> list[npt.NDArray[Any]]:
        """Returns the outputs [rows, ...] of a file, on one thread."""


def rows_of(samples: dict[str, npt.NDArray[Any]], specs: Sequence[Any], most: int) -> Rows:
    """Returns held-out inputs at batch 1, evenly picked.

    Args:
        samples: A recommender's `histories`, or one array for each input.
        specs: The file's inputs.
        most: The most rows.
    """
    if "histories" in samples and len(specs) == 1:
        columns = [samples["histories"]]
    elif len(specs) == 1 and len(samples) == 1:
        columns = list(samples.values())
    else:
        columns = [samples[_bare(spec.name, samples)] for spec in specs]
    count = min(len(each) for each in columns)
    places = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
    return [
        [each[i : i + 1].astype(spec.dtype) for each, spec in zip(columns, specs, strict=True)]
        for i in places
    ]


def _bare(name: str, samples: Collection[str]) -> str:
    return name if name in samples else name.removeprefix("serving_default_").partition(":")[0]
