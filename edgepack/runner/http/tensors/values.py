"""Numbers that came as JSON, checked and made into arrays.

Whole rows are looked at by their types at once; only a row that does not fit is searched for the
value to complain about. It is not aware of protocols: `v2` and `tfs` say what is wrong in their
own words. Used by both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack.runner.engines.contract import Array
from edgepack.runner.live.signature import TEXT

#: Which JSON values an element type takes, by numpy's kind of type. A bool is an int to Python,
#: so types are compared and not asked for their bases.
_TAKES: dict[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float}),
}
_TEXT_TAKES = frozenset({str})


class UnfitValueError(Exception):
    """A JSON value that an element type does not take.

    Attributes:
        value: The value.
        lossy: Whether it is of the right kind, but out of the type's range.
    """

    def __init__(self, value: Any, *, lossy: bool) -> None:
        super().__init__(repr(value)[:80])
        self.value = value
        self.lossy = lossy


class RaggedError(Exception):
    """Lists of different lengths or depths where a tensor was expected.

    Attributes:
        level: How deep the first odd one is, 0 for the outermost list.
        found: Its length, or None for a value where a list was expected or the other way round.
        expected: The length of the first list of that level, or None as for `found`.
    """

    def __init__(self, level: int, found: int | None, expected: int | None) -> None:
        super().__init__(f"level {level}: {found}, expected {expected}")
        self.level = level
        self.found = found
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Flat:
    """Nested lists, laid flat.

    Attributes:
        shape: The extents of the nesting; empty for a value that is no list.
        values: The values in row-major order.
    """

    shape: tuple[int, ...]
    values: list[Any]


def flatten(nested: Any) -> Flat:
    """Lays nested lists flat.

    Args:
        nested: A value, or lists of lists of values to any depth.

    Raises:
        RaggedError: They are no regular tensor.
    """
    shape: list[int] = []
    level = [nested]
    while level and isinstance(level[0], list):
        expected = len(level[0])
        for each in level:
            if not isinstance(each, list):
                raise RaggedError(len(shape), None, expected)
            if len(each) != expected:
                raise RaggedError(len(shape), len(each), expected)
        shape.append(expected)
        level = level[0] if len(level) == 1 else [value for each in level for value in each]
    if list in set(map(type, level)):
        odd = next(each for each in level if isinstance(each, list))
        raise RaggedError(len(shape), len(odd), None)
    return Flat(tuple(shape), level)


def to_array(values: Sequence[Any], dtype: str) -> Array:
    """Makes JSON values into an array of one dimension.

    Args:
        values: Scalars.
        dtype: numpy's name, not `bytes`.

    Raises:
        UnfitValueError: A value is of another kind or out of range.
    """
    target = np.dtype(dtype)
    check_kinds(values, dtype)
    if target.kind in "iu" and values:
        limits = np.iinfo(target)
        for extreme in (min(values), max(values)):
            if not limits.min <= extreme <= limits.max:
                raise UnfitValueError(extreme, lossy=True)
    if target.kind != "f":
        return np.array(values, dtype=target)
    try:
        exact = np.array(values, dtype=np.float64)
    except OverflowError as error:
        largest = max((each for each in values if isinstance(each, int)), key=abs)
        raise UnfitValueError(largest, lossy=True) from error
    with np.errstate(over="ignore"):
        array: Array = exact.astype(target)
    overflown = np.isinf(array) & np.isfinite(exact)
    if overflown.any():
        raise UnfitValueError(values[int(overflown.argmax())], lossy=True)
    return array


def check_kinds(values: Sequence[Any], dtype: str) -> None:
    """Refuses values of another kind than an element type takes.

    Raises:
        UnfitValueError: Naming the first of them.
    """
    takes = _TEXT_TAKES if dtype == TEXT else _TAKES[np.dtype(dtype).kind]
    if not set(map(type, values)) <= takes:
        odd = next(each for each in values if type(each) not in takes)
        raise UnfitValueError(odd, lossy=False)


def element_count(shape: Sequence[int]) -> int:
    """Returns how many elements a shape has."""
    return math.prod(shape)
