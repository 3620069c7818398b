"""A table of a model.toml: typed values out, every problem collected.

Not aware of what a project is. May be imported by `edgepack.build.projects`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from edgepack.formats.errors import Problem, did_you_mean

_Choice = TypeVar("_Choice", bound=StrEnum)


class Table:
    """One table of the file: hands out typed values, collects problems, knows what was asked."""

    def __init__(self, values: Mapping[str, Any], path: str, problems: list[Problem]) -> None:
        """Starts with nothing asked for.

        Args:
            values: The table.
            path: Where it is, ending in a dot; empty for the file itself.
            problems: Where problems are collected.
        """
        self._values = values
        self._path = path
        self._asked: set[str] = set()
        self.problems = problems

    def names(self) -> tuple[str, ...]:
        """The keys there are."""
        return tuple(self._values)

    def values(self) -> Mapping[str, Any]:
        """What the file says, unchecked."""
        return self._values

    def problem(self, key: str, message: str, hint: str | None = None) -> None:
        """Notes what is wrong with a key."""
        self.problems.append(Problem(f"{self._path}{key}", message, hint))

    def table(self, key: str) -> Table:
        """A table inside this one; empty where there is none."""
        self._asked.add(key)
        values = self._values.get(key, {})
        if not isinstance(values, dict):
            self.problem(key, f"got {_shown(values)}, expected a table [{key}]")
            values = {}
        return Table(values, f"{self._path}{key}.", self.problems)

    def text(
        self,
        key: str,
        default: str | None = None,
        *,
        pattern: re.Pattern[str] | None = None,
        expected: str = "",
    ) -> str:
        """Text; a problem where it is missing without a default, empty, or not of a pattern."""
        value = self._get(key, default)
        if value is None:
            return ""
        if not isinstance(value, str) or not value:
            self.problem(key, f"got {_shown(value)}, expected text")
            return ""
        if pattern is not None and not pattern.fullmatch(value):
            self.problem(key, f"got '{value}', expected {expected}")
        return value

    def optional_text(self, key: str) -> str | None:
        """Text, or None where the key is missing."""
        self._asked.add(key)
        return self.text(key) if key in self._values else None

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty where the key is missing."""
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            self.problem(key, f"got {_shown(value)}, expected a list of texts")
            return ()
        return tuple(value)

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            self.problem(key, f"got {_shown(value)}, expected a whole number")
            return default
        if not low <= value <= high:
            self.problem(key, f"got {value}, expected {low} to {high}")
        return value

    def optional_integer(self, key: str) -> int | None:
        """What may be a whole number, unchecked, or None where the key is missing."""
        self._asked.add(key)
        # Whether it is one, and how large, is seen where it is used.
        value: int | None = self._values.get(key)
        return value

    def number(self, key: str, default: float, *, low: float, high: float) -> float:
        """A number from `low` to `high`, both included."""
        value = self._get(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            self.problem(key, f"got {_shown(value)}, expected a number")
            return default
        # Written this way round, NaN is refused too.
        if not low <= value <= high:
            self.problem(key, f"got {value}, expected {low:g} to {high:g}")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            self.problem(key, f"got {_shown(value)}, expected true or false")
            return default
        return value

    def choice(self, key: str, kind: type[_Choice], default: _Choice | None) -> _Choice:
        """One of a closed set; a problem names them all, and the one that was likely meant."""
        value = self._get(key, default)
        known = [member.value for member in kind]
        if isinstance(value, str) and value in known:
            return kind(value)
        if value is not None:
            guess = did_you_mean(value, known) if isinstance(value, str) else ""
            self.problem(key, f"got {_shown(value)}, expected one of {', '.join(known)}{guess}")
        return default if default is not None else next(iter(kind))

    def refuse_unknown(self) -> None:
        """Notes every key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                self.problem(
                    key,
                    f"unknown key{did_you_mean(key, sorted(self._asked))}",
                    f"known here: {', '.join(sorted(self._asked))}",
                )

    def _get(self, key: str, default: Any) -> Any:
        self._asked.add(key)
        value = self._values.get(key, default)
        if value is None:
            self.problem(key, "is missing")
        return value


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)
