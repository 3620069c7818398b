"""Questions as parameters of an address: what a person shares and the command line sends.

Unknown parameters are left alone, wrong values are refused with their names. It is not aware of
HTTP. Used by the pages, the API and its client.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from edgepack.formats.errors import ConfigError, Problem, did_you_mean
from edgepack.formats.evidence import Limits
from edgepack.formats.report import Grade, Scenario
from edgepack.hub.answers.compare import CompareQuery, Per
from edgepack.hub.answers.fleet import MAX_PAGE_SIZE, FleetQuery
from edgepack.hub.answers.health import Condition
from edgepack.hub.answers.selecting import SelectQuery

#: Names and values in the order of the address; a name may come more than once.
Params = Sequence[tuple[str, str]]

_T = TypeVar("_T")
#: The longest value that is looked at: longer than any name in the store.
_LONGEST: Final = 300
_MOST_DAYS: Final = 36_600
_MOST_OFFSET: Final = 10**9


class ParamReader:
    """Takes parameters one by one and keeps what is wrong with them."""

    def __init__(self, params: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        self._problems: list[Problem] = []
        for name, value in params:
            if len(value) > _LONGEST:
                self._problems.append(Problem(name, f"{len(value)} characters are too many"))
            # An empty field of a form asks for nothing.
            elif value:
                self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str | None:
        """Returns a parameter's last value, or None."""
        return self._values[name][-1] if name in self._values else None

    def texts(self, name: str) -> list[str]:
        """Returns all values of a parameter."""
        return self._values.get(name, [])

    def one_of(self, name: str, known: Iterable[str]) -> str | None:
        """Returns a value of a closed set, or None where there is none."""
        value, words = self.text(name), [str(each) for each in known]
        if value is not None and value not in words:
            hint = did_you_mean(value, words)
            self.wrong(name, f"got '{value}', expected one of {', '.join(words)}{hint}")
        return value if value in words else None

    def number(self, name: str, low: float, high: float) -> float | None:
        """Returns a number within limits, or None where there is none."""
        value = self.text(name)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not low <= number <= high:
            self.wrong(name, f"got '{value}', expected a number from {low:g} to {high:g}")
            return None
        return number

    def integer(self, name: str, low: int, high: int) -> int | None:
        """Returns a whole number within limits, or None where there is none."""
        number = self.number(name, low, high)
        if number is not None and number != int(number):
            self.wrong(name, f"got '{self.text(name)}', expected a whole number")
        return None if number is None else int(number)

    def wrong(self, name: str, message: str) -> None:
        """Keeps a problem."""
        self._problems.append(Problem(name, message))

    def checked(self, value: _T) -> _T:
        """Returns a value, unless something was wrong.

        Raises:
            ConfigError: Every parameter that was wrong.
        """
        if self._problems:
            raise ConfigError.from_problems("the question", self._problems)
        return value


def fleet_query(params: Iterable[tuple[str, str]]) -> FleetQuery:
    """Reads `target`, `release`, `condition`, `grade`, `box`, `text`, `offset`, `limit`.

    Raises:
        ConfigError: A value is wrong.
    """
    read = ParamReader(params)
    plain = FleetQuery()
    query = FleetQuery(
        target=read.text("target"),
        release=read.text("release"),
        condition=read.one_of("condition", Condition),
        grade=read.one_of("grade", Grade),
        box=read.text("box"),
        text=read.text("text") or "",
        offset=read.integer("offset", 0, _MOST_OFFSET) or 0,
        limit=read.integer("limit", 1, MAX_PAGE_SIZE) or plain.limit,
    )
    return read.checked(query)


def device_days(params: Iterable[tuple[str, str]]) -> int | None:
    """Reads `days`, how far back a device is shown; None: everything.

    Raises:
        ConfigError: It is no whole number of days.
    """
    read = ParamReader(params)
    return read.checked(read.integer("days", 1, _MOST_DAYS))


def compare_query(params: Iterable[tuple[str, str]]) -> CompareQuery:
    """Reads the fields of a `CompareQuery`; `fact` may come more than once, as `PATH=VALUE`.

    Raises:
        ConfigError: A value is wrong.
    """
    read = ParamReader(params)
    facts = []
    for text in read.texts("fact"):
        path, mark, value = text.partition("=")
        if mark:
            facts.append((path, value))
        else:
            read.wrong("fact", f"got '{text}', expected PATH=VALUE")
    query = CompareQuery(
        model=read.text("model"),
        scenario=read.one_of("scenario", Scenario),
        box=read.text("box"),
        context=read.text("context"),
        facts=tuple(facts),
        target=read.text("target"),
        runtime=read.text("runtime"),
        precision=read.text("precision"),
        release=read.text("release"),
        per=Per(read.one_of("per", Per) or Per.VARIANT),
    )
    return read.checked(query)


def select_query(params: Iterable[tuple[str, str]]) -> SelectQuery:
    """Reads `target`, `model`, `box`, `scenario`, `max_p99_ms`, `max_size_mb`, `min_quality`.

    Raises:
        ConfigError: A value is wrong, or there is no target.
    """
    read = ParamReader(params)
    target = read.text("target")
    if target is None:
        read.wrong("target", "missing")
    p99_ms = read.number("max_p99_ms", 0, 1e9)
    size_mb = read.number("max_size_mb", 0, 1e9)
    query = SelectQuery(
        target=target or "",
        model=read.text("model"),
        box=read.text("box"),
        scenario=read.one_of("scenario", Scenario) or Scenario.SINGLE_STREAM,
        limits=Limits(
            max_p99_ns=None if p99_ms is None else round(p99_ms * 1e6),
            max_size_bytes=None if size_mb is None else round(size_mb * 1e6),
            min_quality=read.number("min_quality", 0, 1),
        ),
    )
    return read.checked(query)


def params_of(query: FleetQuery | CompareQuery | SelectQuery) -> list[tuple[str, str]]:
    """Returns the parameters that ask a question; what has its plain value is left out."""
    if isinstance(query, SelectQuery):
        return _select_params(query)
    params: list[tuple[str, str]] = []
    for each in dataclasses.fields(query):
        value = getattr(query, each.name)
        if each.name == "facts":
            params += [("fact", f"{path}={text}") for path, text in value]
        elif value is not None and value != each.default:
            params.append((each.name, str(value)))
    return params


def _select_params(query: SelectQuery) -> list[tuple[str, str]]:
    limits = query.limits
    values = {
        "target": query.target,
        "model": query.model,
        "box": query.box,
        "scenario": None if query.scenario == Scenario.SINGLE_STREAM else query.scenario,
        "max_p99_ms": _plain(limits.max_p99_ns, 1e6),
        "max_size_mb": _plain(limits.max_size_bytes, 1e6),
        "min_quality": None if limits.min_quality is None else repr(limits.min_quality),
    }
    return [(name, str(value)) for name, value in values.items() if value is not None]


def _plain(value: int | None, unit: float) -> str | None:
    return None if value is None else repr(value / unit)
