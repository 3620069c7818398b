"""Checks and builds JSON values of one type at once, by a function that is written for the type.

`edgepack.formats.typed` says what is right and what is wrong with a value; this here is only
quick. It takes nothing that has a problem there, and what it does not take may be right all the
same. As `dataclasses` does, it writes Python for each class once and runs that from then on. It is
not aware of what the fields mean. Used where very many values come: by the hub.
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
from typing import Any

from edgepack.formats.typed import MAX_ELEMENTS, Range, hints_of, without_limits

_T = typing.TypeVar("_T")
_REFUSE = "raise Unsound"
#: Two levels of a function: its body begins within `try`.
_BODY = 2


class Unsound(Exception):  # noqa: N818 - it says what a value is, and nobody but us sees it
    """The value is not plainly sound."""


def build_if_sound(kind: type[_T], value: object) -> _T | None:
    """Builds a value from JSON.

    Args:
        kind: A dataclass, of the types that `check_value` knows.
        value: What was parsed from JSON.

    Returns:
        What `from_plain` builds; None where `check_value` finds a problem, or where only
        that can tell.
    """
    try:
        return typing.cast("_T", _builder(typing.cast("Hashable", kind))(value))
    except Unsound:
        return None


def prepare(kind: type[Any]) -> None:
    """Writes a type's function now, which takes some hundredths of a second, not at first use."""
    _builder(typing.cast("Hashable", kind))


@functools.cache
def _builder(key: Hashable) -> Callable[[Any], Any]:
    source, kind = _Source(), typing.cast("type[Any]", key)
    source.add(0, "def build(given):")
    source.add(1, f"if type(given) is not dict: {_REFUSE}")
    source.add(1, "try:")
    arguments = [_write_field(source, kind, each) for each in dataclasses.fields(kind)]
    source.add(_BODY, f"return {source.named(kind)}({', '.join(arguments)})")
    source.add(1, "except KeyError: raise Unsound from None")
    # Of the field names and types of our own classes; nothing that was sent is part of it.
    exec(compile(source.text, f"<{kind.__qualname__}>", "exec"), source.names)  # noqa: S102
    return typing.cast("Callable[[Any], Any]", source.names["build"])


class _Source:
    """The text of a function, and the objects that it names."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._variables = 0
        self.names: dict[str, Any] = {"Unsound": Unsound}

    def add(self, depth: int, line: str) -> None:
        self._lines.append(f"{'    ' * depth}{line}")

    def named(self, thing: Any) -> str:
        name = f"n{len(self.names)}"
        self.names[name] = thing
        return name

    def variable(self) -> str:
        self._variables += 1
        return f"v{self._variables}"

    @property
    def text(self) -> str:
        return "\n".join(self._lines)


def _write_field(source: _Source, kind: Any, field: dataclasses.Field[Any]) -> str:
    """Writes how a field is read; returns the variable that it is in."""
    name, hint = source.variable(), hints_of(kind)[field.name]
    if field.default is field.default_factory is dataclasses.MISSING:
        source.add(_BODY, f"{name} = given[{field.name!r}]")
        _write(source, _BODY, hint, name)
        return name
    source.add(_BODY, f"if {field.name!r} in given:")
    source.add(_BODY + 1, f"{name} = given[{field.name!r}]")
    _write(source, _BODY + 1, hint, name)
    if field.default_factory is dataclasses.MISSING:
        source.add(_BODY, f"else: {name} = {source.named(field.default)}")
    else:
        source.add(_BODY, f"else: {name} = {source.named(field.default_factory)}()")
    return name


def _write(source: _Source, depth: int, kind: Any, name: str) -> None:
    """Writes how the JSON in a variable is checked and replaced by the value that it is."""
    inner, limits = without_limits(kind)
    origin, arguments = typing.get_origin(inner), typing.get_args(inner)
    if dataclasses.is_dataclass(inner):
        source.add(
            depth, f"{name} = {source.named(_builder(typing.cast('Hashable', inner)))}({name})"
        )
    elif origin in (typing.Union, types.UnionType):
        source.add(depth, f"if {name} is not None:")
        some = next(each for each in arguments if each is not type(None))
        _write(source, depth + 1, some, name)
    elif origin is tuple and arguments[-1] is Ellipsis:
        _write_list(source, depth, arguments[0], name)
    elif origin is tuple:
        _write_tuple(source, depth, arguments, name)
    elif origin is not None and issubclass(origin, Mapping):
        _write_map(source, depth, arguments[1], name)
    else:
        _write_scalar(source, depth, inner, limits, name)


def _write_list(source: _Source, depth: int, kind: Any, name: str) -> None:
    each, built = source.variable(), source.variable()
    source.add(depth, f"if type({name}) is not list or len({name}) > {MAX_ELEMENTS}: {_REFUSE}")
    if _is_kept(kind):
        source.add(depth, f"for {each} in {name}:")
        _write(source, depth + 1, kind, each)
        source.add(depth, f"{name} = tuple({name})")
        return
    source.add(depth, f"{built} = []")
    source.add(depth, f"for {each} in {name}:")
    _write(source, depth + 1, kind, each)
    source.add(depth + 1, f"{built}.append({each})")
    source.add(depth, f"{name} = tuple({built})")


def _write_tuple(source: _Source, depth: int, kinds: tuple[Any, ...], name: str) -> None:
    parts = [source.variable() for _ in kinds]
    source.add(depth, f"if type({name}) is not list or len({name}) != {len(kinds)}: {_REFUSE}")
    source.add(depth, f"{', '.join(parts)}, = {name}")
    for part, kind in zip(parts, kinds, strict=True):
        _write(source, depth, kind, part)
    source.add(depth, f"{name} = ({', '.join(parts)},)")


def _write_map(source: _Source, depth: int, kind: Any, name: str) -> None:
    key, each, built = source.variable(), source.variable(), source.variable()
    source.add(depth, f"if type({name}) is not dict or len({name}) > {MAX_ELEMENTS}: {_REFUSE}")
    source.add(depth, f"{built} = {{}}")
    source.add(depth, f"for {key}, {each} in {name}.items():")
    _write(source, depth + 1, kind, each)
    source.add(depth + 1, f"{built}[{key}] = {each}")
    source.add(depth, f"{name} = {built}")


def _write_scalar(source: _Source, depth: int, kind: Any, limits: Range | None, name: str) -> None:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        members = source.named({str(member): member for member in kind})
        source.add(depth, f"if type({name}) is not str or {name} not in {members}: {_REFUSE}")
        source.add(depth, f"{name} = {members}[{name}]")
        return
    low, high = (None, None) if limits is None else (limits.low, limits.high)
    if kind is bool:
        source.add(depth, f"if type({name}) is not bool: {_REFUSE}")
    elif kind is int:
        source.add(depth, f"if type({name}) is not int{_outside(name, low, high)}: {_REFUSE}")
    elif kind is str:
        size = _outside(f"len({name})", low, high)
        source.add(depth, f"if type({name}) is not str{size}: {_REFUSE}")
    elif kind is float:
        # Within these is no infinity, and what is no number is within nothing.
        least = -sys.float_info.max if low is None else low
        most = sys.float_info.max if high is None or math.isinf(high) else high
        wrong = f"not {least!r} <= {name} <= {most!r}"
        source.add(depth, f"if type({name}) is int:")
        source.add(depth + 1, f"if {wrong}: {_REFUSE}")
        source.add(depth + 1, f"{name} = float({name})")
        source.add(depth, f"elif type({name}) is not float or {wrong}: {_REFUSE}")
    else:
        raise TypeError(f"no JSON is a {kind!r}")


def _outside(value: str, low: float | None, high: float | None) -> str:
    below = "" if low is None else f" or {value} < {low!r}"
    return below + ("" if high is None else f" or {value} > {high!r}")


def _is_kept(kind: Any) -> bool:
    return without_limits(kind)[0] in (int, str, bool)
