"""Measures how far a quantised tensor is from the fp32 one, a row at a time. Pure numbers.

It is not aware of files or runtimes. Used by the modules that run a variant beside its twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: What is written where there is no error at all, in decibels.
EXACT_DB: Final = 200.0


@dataclass(frozen=True, slots=True)
class Grid:
    """The values an integer tensor can have.

    Attributes:
        scale: float64[1], or one for each slice along `axis`.
        zero_point: The same shape.
        least: The smallest integer.
        most: The largest integer.
        axis: Along which scales differ; 0 for one scale.
    """

    scale: Floats
    zero_point: Floats
    least: int
    most: int
    axis: int = 0

    def places(self, values: npt.NDArray[Any]) -> Floats:
        """Returns where values lie on the grid, before they are held to its ends."""
        scale, zero = self._fitted(values.ndim)
        return np.asarray(np.rint(values.astype(np.float64) / scale) + zero)

    def rounded(self, values: npt.NDArray[Any]) -> Floats:
        """Returns the values the grid has for these."""
        held = np.clip(self.places(values), self.least, self.most)
        return self.dequantised(held)

    def dequantised(self, integers: npt.NDArray[Any]) -> Floats:
        """Returns the numbers that integers of this grid stand for."""
        scale, zero = self._fitted(integers.ndim)
        return np.asarray((integers.astype(np.float64) - zero) * scale)

    @property
    def levels(self) -> int:
        """How many values it has."""
        return self.most - self.least + 1

    def _fitted(self, dimensions: int) -> tuple[Floats, Floats]:
        shape = [1] * dimensions
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


@dataclass(frozen=True, slots=True)
class ErrorFigures:
    """What one tensor loses.

    Attributes:
        sqnr_db: Signal to quantisation noise as the tensor arrives in the variant, with what
            earlier layers did to it; None where it was not seen.
        own_sqnr_db: The same for its own rounding alone: fp32's values put on its grid; None
            where it has no grid.
        mean_error: Mean distance as a share of fp32's range, as it arrives.
        saturated: Share of fp32's values beyond the ends of its grid.
        levels: Different values of its grid that fp32's values fall on.
        levels_possible: Values of its grid.
    """

    sqnr_db: float | None
    own_sqnr_db: float | None
    mean_error: float | None
    saturated: float | None
    levels: int | None
    levels_possible: int | None


class ErrorSums:
    """Adds up one tensor's rows; keeps none of them."""

    def __init__(self, grid: Grid | None = None) -> None:
        self._grid = grid
        self._elements = 0
        self._power = 0.0
        self._noise = 0.0
        self._distance = 0.0
        self._own_noise = 0.0
        self._beyond = 0
        self._arrived = False
        self._least, self._most = np.inf, -np.inf
        self._used = np.zeros(grid.levels if grid else 0, dtype=bool)

    def add(self, expected: npt.NDArray[Any], found: npt.NDArray[Any] | None) -> None:
        """Takes one row.

        Args:
            expected: fp32's values, any shape.
            found: The variant's, as numbers, in the same shape; None where they are not seen.
        """
        values = expected.astype(np.float64)
        self._elements += values.size
        self._power += float(np.square(values).sum())
        if values.size:
            self._least = min(self._least, float(values.min()))
            self._most = max(self._most, float(values.max()))
        if found is not None:
            self._arrived = True
            distance = np.nan_to_num(found.astype(np.float64) - values, nan=1e30)
            self._noise += float(np.square(distance).sum())
            self._distance += float(np.abs(distance).sum())
        if self._grid is not None:
            places = self._grid.places(values)
            least, most = self._grid.least, self._grid.most
            self._beyond += int(((places < least) | (places > most)).sum())
            held = np.clip(places, least, most)
            self._used[(held - least).astype(np.int64).reshape(-1)] = True
            rounding = self._grid.dequantised(held) - values
            self._own_noise += float(np.square(rounding).sum())

    def figures(self) -> ErrorFigures:
        """Returns what all rows come to."""
        span = self._most - self._least if self._elements else 0.0
        # A constant tensor has no range; its own size stands in for it.
        span = span or max(abs(self._most), 1e-30) if self._elements else 1.0
        count = max(self._elements, 1)
        gridded = self._grid is not None
        return ErrorFigures(
            sqnr_db=decibels(self._power, self._noise) if self._arrived else None,
            own_sqnr_db=decibels(self._power, self._own_noise) if gridded else None,
            mean_error=self._distance / count / span if self._arrived else None,
            saturated=self._beyond / count if gridded else None,
            levels=int(self._used.sum()) if gridded else None,
            levels_possible=self._grid.levels if self._grid is not None else None,
        )


def decibels(power: float, noise: float) -> float:
    """Returns a signal-to-noise ratio in dB, within ±`EXACT_DB`."""
    if noise <= 0.0:
        return EXACT_DB
    if power <= 0.0:
        return -EXACT_DB
    return float(np.clip(10.0 * np.log10(power / noise), -EXACT_DB, EXACT_DB))
