"""Checks JSON values against dataclasses: the annotations are the schema.

Known fields are strict in type and range; unknown fields are left alone, as a newer writer may
have more to say. It is not aware of what the fields mean. Used by `edgepack.formats.report`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
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
#: A whole number beyond this is no float.
_LARGEST = int(sys.float_info.max)
#: More elements than any list or map of a report has.
MAX_ELEMENTS = 5000
_PAIR = 2
#: What JSON has as Python has it; the last stands for any number of the one before.
_AS_THEY_ARE = (int, str, bool, ...)


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
    if _acceptor(kind)(value):
        return []
    return _find_problems(kind, value, where)


def _find_problems(kind: Any, value: object, where: str) -> list[Problem]:
    limits = None
    if typing.get_origin(kind) is Annotated:
        kind, limits = typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _check_object(kind, value, where)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        inner = next(each for each in typing.get_args(kind) if each is not type(None))
        return [] if value is None else _find_problems(inner, value, where)
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
    return _builder(kind)(value)


def _check_object(kind: Any, value: object, where: str) -> list[Problem]:
    if not isinstance(value, Mapping):
        return [_mismatch(where, value, "an object")]
    problems: list[Problem] = []
    hints = hints_of(kind)
    for each in _fields(kind):
        place = f"{where}.{each.name}" if where else each.name
        if each.name in value:
            problems += _find_problems(hints[each.name], value[each.name], place)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            problems.append(Problem(place, "missing"))
    return problems


def _check_list(kinds: tuple[Any, ...], value: object, where: str) -> list[Problem]:
    if not isinstance(value, (list, tuple)):
        return [_mismatch(where, value, "a list")]
    if len(value) > MAX_ELEMENTS:
        return [Problem(where, f"{len(value)} elements; at most {MAX_ELEMENTS} are taken")]
    repeated = kinds[-1] is Ellipsis
    if not repeated and len(value) != len(kinds):
        return [Problem(where, f"{len(value)} elements, expected {len(kinds)}")]
    problems: list[Problem] = []
    for i, each in enumerate(value):
        problems += _find_problems(kinds[0] if repeated else kinds[i], each, f"{where}[{i}]")
    return problems


def _check_map(kind: Any, value: object, where: str) -> list[Problem]:
    if not isinstance(value, Mapping):
        return [_mismatch(where, value, "an object")]
    if len(value) > MAX_ELEMENTS:
        return [Problem(where, f"{len(value)} entries; at most {MAX_ELEMENTS} are taken")]
    problems: list[Problem] = []
    for key, each in value.items():
        problems += _find_problems(kind, each, f"{where}.{key}")
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
    if kind is float and isinstance(value, int) and abs(value) > _LARGEST:
        return [Problem(where, "a number of more than 308 digits")]
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
def hints_of(kind: Hashable) -> dict[str, Any]:
    """Returns the types of a dataclass's fields, with their limits."""
    return typing.get_type_hints(kind, include_extras=True)


def field_names(kind: Any) -> tuple[str, ...]:
    """Returns the names of a dataclass's fields."""
    return _field_names(kind)


@functools.cache
def _field_names(kind: Hashable) -> tuple[str, ...]:
    return tuple(each.name for each in dataclasses.fields(typing.cast("type[Any]", kind)))


@functools.cache
def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


# A report has thousands of values, and nearly all reports are sound. So a type is turned into
# functions once; only what they do not accept is gone through for its problems.


@functools.cache
def _acceptor(kind: Hashable) -> Callable[[Any], bool]:
    """Returns what says whether a value has no problem."""
    inner, limits = without_limits(kind)
    if dataclasses.is_dataclass(inner):
        return _object_acceptor(inner)
    origin, arguments = typing.get_origin(inner), typing.get_args(inner)
    if origin in (typing.Union, types.UnionType):
        accept = _acceptor(next(each for each in arguments if each is not type(None)))
        return lambda value: value is None or accept(value)
    if origin is tuple:
        return _list_acceptor(arguments)
    if origin is not None and issubclass(origin, Mapping):
        each_one = _acceptor(arguments[1])
        return lambda value: (
            isinstance(value, Mapping)
            and len(value) <= MAX_ELEMENTS
            and all(map(each_one, value.values()))
        )
    return _scalar_acceptor(inner, limits)


def _object_acceptor(kind: Any) -> Callable[[Any], bool]:
    hints = hints_of(kind)
    missing = dataclasses.MISSING
    fields = [
        (each.name, _acceptor(hints[each.name]), each.default is each.default_factory is missing)
        for each in _fields(kind)
    ]

    def accept(value: Any) -> bool:
        if not isinstance(value, Mapping):
            return False
        for name, is_sound, required in fields:
            if name in value:
                if not is_sound(value[name]):
                    return False
            elif required:
                return False
        return True

    return accept


def _list_acceptor(kinds: tuple[Any, ...]) -> Callable[[Any], bool]:
    if kinds[-1] is Ellipsis:
        each_one = _acceptor(kinds[0])
        return lambda value: (
            isinstance(value, (list, tuple))
            and len(value) <= MAX_ELEMENTS
            and all(map(each_one, value))
        )
    accepts = [_acceptor(kind) for kind in kinds]
    if len(accepts) == _PAIR:
        # A histogram has a hundred of them.
        first, second = accepts
        return lambda value: (
            isinstance(value, (list, tuple))
            and len(value) == _PAIR
            and first(value[0])
            and second(value[1])
        )
    return lambda value: (
        isinstance(value, (list, tuple))
        and len(value) == len(accepts)
        and all(accept(each) for accept, each in zip(accepts, value, strict=True))
    )


def _scalar_acceptor(kind: Any, limits: Range | None) -> Callable[[Any], bool]:
    low, high = (None, None) if limits is None else (limits.low, limits.high)
    least = -math.inf if low is None else low
    most = math.inf if high is None else high
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        known = frozenset(str(member) for member in kind)
        return lambda value: isinstance(value, str) and value in known
    # The exact types that JSON has; others take the long way.
    if kind is str:
        return lambda value: type(value) is str and least <= len(value) <= most
    if kind is float:
        return lambda value: (
            (
                (type(value) is int and abs(value) <= _LARGEST)
                or (type(value) is float and math.isfinite(value))
            )
            and least <= value <= most
        )
    return lambda value: type(value) is kind and (kind is bool or least <= value <= most)


@functools.cache
def _builder(kind: Hashable) -> Callable[[Any], Any]:
    """Returns what builds a value from sound JSON."""
    inner, _ = without_limits(kind)
    if dataclasses.is_dataclass(inner):
        hints = hints_of(typing.cast("Hashable", inner))
        fields = [(name, _builder(hint)) for name, hint in hints.items()]
        make = typing.cast("Callable[..., Any]", inner)
        return lambda value: make(
            **{name: build(value[name]) for name, build in fields if name in value}
        )
    origin, arguments = typing.get_origin(inner), typing.get_args(inner)
    if origin in (typing.Union, types.UnionType):
        build = _builder(next(each for each in arguments if each is not type(None)))
        return lambda value: None if value is None else build(value)
    if origin is tuple:
        return _tuple_builder(arguments)
    if origin is not None and issubclass(origin, Mapping):
        build = _builder(arguments[1])
        return lambda value: {key: build(each) for key, each in value.items()}
    return typing.cast("Callable[[Any], Any]", inner)


def _tuple_builder(kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    if all(without_limits(each)[0] in _AS_THEY_ARE for each in kinds):
        return tuple
    if kinds[-1] is Ellipsis:
        build = _builder(kinds[0])
        return lambda value: tuple(map(build, value))
    builders = [_builder(each) for each in kinds]
    return lambda value: tuple(build(each) for build, each in zip(builders, value, strict=True))


def without_limits(kind: Any) -> tuple[Any, Range | None]:
    """Returns a type and the limits that `Annotated` puts beside it; None without any."""
    if typing.get_origin(kind) is Annotated:
        inner, limits = typing.get_args(kind)
        return inner, limits
    return kind, None
