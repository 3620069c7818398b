"""Row filters of the form `COLUMN OP VALUE`, as in `Quantity > 0`.

Not aware of files. May be imported by `edgepack.build` and `edgepack.cli`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_PATTERN = re.compile(r"^\s*(?P<column>.+?)\s*(?P<op>==|!=|>=|<=|>|<)\s*(?P<value>.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Condition:
    """A row is kept when `column op value` holds.

    Attributes:
        column: Name of the column.
        op: One of `== != >= <= > <`.
        value: What to compare with, as text.
        number: The same as a number; None when it is no number, then text is compared.
    """

    column: str
    op: str
    value: str
    number: float | None

    def holds(self, cell: str) -> bool:
        """Whether a cell passes. Not a number where one is expected: passes only `!=`.

        Args:
            cell: The text of the row's cell in this column.
        """
        if self.number is None:
            same = cell.strip() == self.value
            return same if self.op == "==" else not same
        try:
            return _OPERATORS[self.op](float(cell), self.number)
        except ValueError:
            return self.op == "!="

    def __str__(self) -> str:
        shown = self.value if self.number is not None else f"'{self.value}'"
        return f"{self.column} {self.op} {shown}"


def parse_condition(text: str) -> Condition:
    """Reads `COLUMN OP VALUE`; VALUE is a number, or text with or without quotes.

    Args:
        text: For example `Quantity > 0` or `CustomerID != ''`.

    Raises:
        ValueError: It is not of that form, or text is compared by size. The message says which.
    """
    match = _PATTERN.match(text)
    if match is None:
        raise ValueError(f"'{text}' is not COLUMN OP VALUE with OP one of {' '.join(_OPERATORS)}")
    column, op, value = match["column"], match["op"], match["value"]
    quoted = value[:1] in ("'", '"') and value.endswith(value[:1]) and value != value[:1]
    if quoted:
        value = value[1:-1]
    number = None if quoted else _number(value)
    if number is None and op not in ("==", "!="):
        raise ValueError(f"'{text}': {op} needs a number, got '{value}'")
    return Condition(column.strip("'\""), op, value, number)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
