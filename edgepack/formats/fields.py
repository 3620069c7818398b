"""Reads typed fields out of JSON objects that machines wrote, naming what is wrong.

Unknown fields are left alone: a newer writer may have more to say. It is not aware of what the
fields mean. Used by the other modules of `edgepack.formats`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from edgepack.formats.errors import BundleError

_T = TypeVar("_T")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MISSING = object()


class FieldReader:
    """Typed access to one object's fields; every mismatch is a BundleError with its place."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise BundleError(f"{where}: got {type(value).__name__}, expected an object")
        self._value = cast("Mapping[str, Any]", value)
        self._where = where

    def text(self, key: str, default: str | None = None) -> str:
        """Returns a string; the default when the key is absent and one is given."""
        return cast("str", self._typed(key, str, "a string", default))

    def optional_text(self, key: str) -> str | None:
        """Returns a string, or None when the field is absent or null."""
        return None if self._value.get(key) is None else self.text(key)

    def integer(self, key: str, *, minimum: int | None = 0) -> int:
        """Returns an integer not below `minimum` (None: any)."""
        number = cast("int", self._typed(key, int, "an integer", None))
        if minimum is not None and number < minimum:
            raise BundleError(f"{self._where}.{key}: got {number}, expected at least {minimum}")
        return number

    def optional_integer(self, key: str) -> int | None:
        """Returns an integer of at least 0, or None when the field is absent or null."""
        return None if self._value.get(key) is None else self.integer(key)

    def number(self, key: str) -> float:
        """Returns a number as a float."""
        return float(cast("float", self._typed(key, (int, float), "a number", None)))

    def optional_number(self, key: str) -> float | None:
        """Returns a number, or None when the field is absent or null."""
        return None if self._value.get(key) is None else self.number(key)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """Returns true or false."""
        return cast("bool", self._typed(key, bool, "true or false", default))

    def sha256(self, key: str) -> str:
        """Returns a SHA-256 of 64 lower-case hexadecimal digits."""
        text = self.text(key)
        if not _SHA256.fullmatch(text):
            raise BundleError(f"{self._where}.{key}: got '{text[:80]}', expected a SHA-256")
        return text

    def mapping(self, key: str, default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Returns an object as it is."""
        return cast("Mapping[str, Any]", self._typed(key, Mapping, "an object", default))

    def items(self, key: str, read: Callable[[Any, str], _T]) -> tuple[_T, ...]:
        """Returns a list, each element read by `read(element, where)`."""
        values = cast("list[Any]", self._typed(key, list, "a list", None))
        return tuple(read(each, f"{self._where}.{key}[{i}]") for i, each in enumerate(values))

    def texts(self, key: str) -> tuple[str, ...]:
        """Returns a list of strings."""
        return self.items(key, lambda each, where: _checked(each, str, "a string", where))

    def integers(self, key: str) -> tuple[int, ...]:
        """Returns a list of integers."""
        return self.items(key, lambda each, where: _checked(each, int, "an integer", where))

    def numbers(self, key: str) -> tuple[float, ...]:
        """Returns a list of numbers as they were written, integers or floats."""
        return self.items(key, lambda each, where: _checked(each, (int, float), "a number", where))

    def _typed(self, key: str, kind: Any, expected: str, default: object) -> object:
        value = self._value.get(key, _MISSING if default is None else default)
        if value is _MISSING:
            raise BundleError(f"{self._where}.{key}: missing, expected {expected}")
        return _checked(value, kind, expected, f"{self._where}.{key}")


def _checked(value: Any, kind: Any, expected: str, where: str) -> Any:
    # bool is a subclass of int in Python, never in JSON.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BundleError(f"{where}: got {type(value).__name__}, expected {expected}")
    return value
