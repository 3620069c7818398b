"""Checks JSON values against dataclasses: the annotations are the schema.

Known fields are strict in type and range; unknown fields are left alone, as a newer writer may
have more to say. It is not aware of what the fields mean. Used by `edgepack.formats.report`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from typing import Annotated, Any

from edgepack.formats.errors import Problem, did_you_mean


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The limits of a number or of a text's length; put into `Annotated`."""

    low: float | None = None
    high: float | None = None


#: A whole number of at least 0: a count, nanoseconds, bytes.
Count = Annotated[int, Range(low=0)]
#: Short enough for a name or a version; nothing longer belongs in a report.
Name = Annotated[str, Range(low=1, high=200)]
#: A sentence for people.
Sentence = Annotated[str, Range(high=1000)]
#: A share, a rate or a load.
Ratio = Annotated[float, Range(low=0)]
#: Why a value beside it is null, by the value's field name.
Missing = Mapping[str, Sentence]
#: More elements than any list or map of a report has.
_MAX_ELEMENTS = 5000


def check_value(kind: Any, value: object, where: str) -> list[Problem]:
    """Checks a JSON value against a type.

    Args:
        kind: A dataclass, a scalar, a StrEnum, `X | None`, `tuple[X, ...]`, `tuple[X, Y]`,
            `Mapping[str, X]`, or one of these in `Annotated` with a `Range`.
        value: What was parsed from JSON.
        where: Its place, for the problems.

    Returns:
        Everything that is wrong with it; empty when nothing is.
    """
    limits = None
    if typing.get_origin(kind) is Annotated:
        kind, limits = typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _check_object(kind, value, where)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(each for each in typing.get_args(kind) if each is not type(None))
        return [] if value is None else check_value(inner, value, where)
    if origin is tuple:
        return _check_list(typing.get_args(kind), value, where)
    if origin is not None and issubclass(origin, Mapping):
        return _check_map(typing.get_args(kind)[1], value, where)
    return _check_scalar(kind, value, where, limits)


def to_plain(value: Any) -> Any:
    """Turns dataclasses, tuples and enums into what JSON has.

    Args:
        value: A dataclass or one of its fields' values.

    Returns:
        Dicts, lists, strings, numbers, booleans and None.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: to_plain(getattr(value, each.name)) for each in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(each) for each in value]
    return str(value) if isinstance(value, str) else value


def from_plain(kind: Any, value: Any) -> Any:
    """Builds a value from JSON that `check_value` found nothing wrong with.

    Args:
        kind: As for `check_value`.
        value: The checked JSON value.

    Returns:
        The dataclass or scalar; unknown fields are dropped.
    """
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    if dataclasses.is_dataclass(kind):
        hints = _hints(typing.cast("Hashable", kind))
        known = {name: from_plain(hints[name], value[name]) for name in hints if name in value}
        return typing.cast("Callable[..., Any]", kind)(**known)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(each for each in typing.get_args(kind) if each is not type(None))
        return None if value is None else from_plain(inner, value)
    if origin is tuple:
        kinds = typing.get_args(kind)
        if kinds[-1] is Ellipsis:
            return tuple(from_plain(kinds[0], each) for each in value)
        return tuple(from_plain(k, each) for k, each in zip(kinds, value, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {key: from_plain(typing.get_args(kind)[1], each) for key, each in value.items()}
    return kind(value)


def _check_object(kind: Any, value: object, where: str) -> list[Problem]:
    if not isinstance(value, Mapping):
        return [_mismatch(where, value, "an object")]
    problems: list[Problem] = []
    hints = _hints(kind)
    for each in _fields(kind):
        place = f"{where}.{each.name}" if where else each.name
        if each.name in value:
            problems += check_value(hints[each.name], value[each.name], place)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            problems.append(Problem(place, "missing"))
    return problems


def _check_list(kinds: tuple[Any, ...], value: object, where: str) -> list[Problem]:
    if not isinstance(value, (list, tuple)):
        return [_mismatch(where, value, "a list")]
    if len(value) > _MAX_ELEMENTS:
        return [Problem(where, f"{len(value)} elements; at most {_MAX_ELEMENTS} are taken")]
    repeated = kinds[-1] is Ellipsis
    if not repeated and len(value) != len(kinds):
        return [Problem(where, f"{len(value)} elements, expected {len(kinds)}")]
    problems: list[Problem] = []
    for i, each in enumerate(value):
        problems += check_value(kinds[0] if repeated else kinds[i], each, f"{where}[{i}]")
    return problems


def _check_map(kind: Any, value: object, where: str) -> list[Problem]:
    if not isinstance(value, Mapping):
        return [_mismatch(where, value, "an object")]
    if len(value) > _MAX_ELEMENTS:
        return [Problem(where, f"{len(value)} entries; at most {_MAX_ELEMENTS} are taken")]
    problems: list[Problem] = []
    for key, each in value.items():
        problems += check_value(kind, each, f"{where}.{key}")
    return problems


def _check_scalar(kind: Any, value: object, where: str, limits: Range | None) -> list[Problem]:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        known = [str(member) for member in kind]
        if value in known:
            return []
        closest = did_you_mean(value, known) if isinstance(value, str) else ""
        return [Problem(where, f"got {value!r:.80}, expected one of {', '.join(known)}{closest}")]
    wanted = (int, float) if kind is float else kind
    # bool is a subclass of int in Python, never in JSON.
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        return [_mismatch(where, value, _NAMES[kind])]
    if isinstance(value, float) and not math.isfinite(value):
        return [Problem(where, f"{value} is not a number JSON has")]
    return _check_range(value, where, limits)


def _check_range(value: object, where: str, limits: Range | None) -> list[Problem]:
    if limits is None:
        return []
    size = len(value) if isinstance(value, str) else typing.cast("float", value)
    what = "length " if isinstance(value, str) else ""
    if limits.low is not None and size < limits.low:
        return [Problem(where, f"{what}{size} is below {limits.low}")]
    if limits.high is not None and size > limits.high:
        return [Problem(where, f"{what}{size} is above {limits.high}")]
    return []


def _mismatch(where: str, value: object, expected: str) -> Problem:
    got = "null" if value is None else _NAMES.get(type(value), type(value).__name__)
    return Problem(where, f"got {got}, expected {expected}")


_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


@functools.cache
def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)
