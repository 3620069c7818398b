"""The one kind of table: a page, CSV, JSON and the terminal all show this value.

It is not aware of what a table is about. Anyone in the hub and the command line may import it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

#: What a cell may hold; None: it is not known.
Cell = str | int | float | bool | None

#: A spreadsheet takes a text that begins like this for a formula.
#: Source: OWASP, "CSV Injection".
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Unit(StrEnum):
    """What a column's numbers are counted in."""

    TEXT = "text"
    FLAG = "flag"
    COUNT = "count"
    NS = "ns"
    BYTES = "bytes"
    #: Milliseconds since 1970, UTC.
    MOMENT_MS = "moment_ms"
    #: Days since 1970, UTC.
    DAY = "day"
    #: Thousandths of a degree Celsius.
    TEMPERATURE_MC = "temperature_mc"
    #: 0 to 1.
    SHARE = "share"
    #: After divided by before; 1.05 is 5 % more.
    RATIO = "ratio"
    PER_SECOND = "per_second"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: Its name for programs; the header in CSV and the field in JSON.
        title: Its name for people.
        unit: What it is counted in.
        help: One sentence where the title does not say enough.
        detail: Whether it is left out where there is little room, as on a terminal.
    """

    key: str
    title: str
    unit: Unit = Unit.TEXT
    help: str = ""
    detail: bool = False

    @property
    def is_number(self) -> bool:
        """Whether its cells align to the right."""
        return self.unit not in (Unit.TEXT, Unit.FLAG)


@dataclass(frozen=True, slots=True)
class Table:
    """Some rows under the same columns.

    Attributes:
        key: Its name for programs, such as `devices`.
        title: Its name for people.
        columns: What the cells are.
        rows: Cells in the order of the columns.
        note: A sentence that belongs below it, or empty.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.key}: {len(row)} cells under {len(self.columns)} columns")

    def __len__(self) -> int:
        return len(self.rows)

    def records(self) -> list[dict[str, Cell]]:
        """Returns each row as a mapping from column key to cell."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]

    def to_json(self) -> dict[str, Any]:
        """Returns what `.json` beside a table answers: columns with units, rows as objects."""
        return {
            "table": self.key,
            "title": self.title,
            "columns": [
                {
                    "key": each.key,
                    "title": each.title,
                    "unit": str(each.unit),
                    "help": each.help,
                    "detail": each.detail,
                }
                for each in self.columns
            ],
            "rows": self.records(),
            "note": self.note,
        }

    def to_csv(self) -> str:
        """Returns RFC 4180 CSV: a header of keys, plain numbers, an empty cell for None.

        A text that a spreadsheet would run as a formula gets an apostrophe before it.
        """
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow([column.key for column in self.columns])
        writer.writerows([_csv_cell(cell) for cell in row] for row in self.rows)
        return out.getvalue()

    def brief(self) -> Table:
        """Returns the table without its details."""
        kept = [i for i, column in enumerate(self.columns) if not column.detail]
        columns = tuple(self.columns[i] for i in kept)
        rows = tuple(tuple(row[i] for i in kept) for row in self.rows)
        return Table(self.key, self.title, columns, rows, self.note)

    def shown(self) -> list[list[str]]:
        """Returns the cells as people read them; a dash for None."""
        units = [column.unit for column in self.columns]
        return [
            [format_cell(cell, unit) for cell, unit in zip(row, units, strict=True)]
            for row in self.rows
        ]


def make_table(
    key: str,
    title: str,
    columns: Sequence[Column],
    records: Sequence[Mapping[str, Cell]],
    note: str = "",
) -> Table:
    """Makes a table of mappings; a field that a mapping lacks is None."""
    rows = tuple(tuple(record.get(each.key) for each in columns) for record in records)
    return Table(key, title, tuple(columns), rows, note)


def table_from_json(value: Mapping[str, Any]) -> Table:
    """Reads what `to_json` wrote.

    Raises:
        AttributeError: A part is of another kind.
        KeyError: A part is missing.
        TypeError: A part is of another kind.
        ValueError: A unit or a cell is none that is known.
    """
    columns = [
        Column(
            str(each["key"]),
            str(each["title"]),
            Unit(each["unit"]),
            str(each.get("help", "")),
            detail=bool(each.get("detail", False)),
        )
        for each in value["columns"]
    ]
    for record in value["rows"]:
        for cell in record.values():
            if cell is not None and not isinstance(cell, str | int | float):
                raise ValueError(f"a cell holds {type(cell).__name__}")
    return make_table(
        str(value["table"]), str(value["title"]), columns, value["rows"], str(value["note"])
    )


def format_cell(cell: Cell, unit: Unit) -> str:
    """Writes a cell as people read it.

    Args:
        cell: The value.
        unit: What it is counted in.

    Returns:
        Such as `3.21 ms`, `2.1 MB`, `2026-03-01 12:30`, `61.5 °C`, `yes`; a dash for None.
    """
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return cell
    return _WRITERS[unit](cell)


def format_ns(duration_ns: float) -> str:
    """Writes a duration with three digits: `850 ns`, `3.21 ms`, `1.40 s`."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        # 999.6 µs would be written with four digits; it is a millisecond.
        if duration_ns >= size * 0.9995:
            return f"{_three_digits(duration_ns / size)} {unit}"
    return f"{duration_ns:.0f} ns"


def format_moment(moment_ms: float) -> str:
    """Writes a moment to the minute, UTC: `2026-03-01 12:30`."""
    try:
        moment = _EPOCH + timedelta(milliseconds=moment_ms)
    except OverflowError:
        return "-"
    return moment.strftime("%Y-%m-%d %H:%M")


def format_size(size_bytes: float) -> str:
    """Writes a size with three digits: `153 kB`, `11.1 MB`."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size * 0.9995:
            return f"{_three_digits(size_bytes / size)} {unit}"
    return f"{size_bytes:.0f} B"


def format_ratio(ratio: float) -> str:
    """Writes a ratio as a change: `+5.0 %`, `-12.3 %`."""
    return f"{(ratio - 1) * 100:+.1f} %"


def _three_digits(value: float) -> str:
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0  # noqa: PLR2004 - where a digit more begins
    return f"{value:.{digits}f}"


def _format_day(day: float) -> str:
    return format_moment(day * 86_400_000)[:10]


def _csv_cell(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return f"'{cell}"
    return cell


_WRITERS: Final[Mapping[Unit, Callable[[float], str]]] = {
    Unit.TEXT: str,
    Unit.FLAG: str,
    Unit.COUNT: lambda value: f"{value:,}",
    Unit.NS: format_ns,
    Unit.BYTES: format_size,
    Unit.MOMENT_MS: format_moment,
    Unit.DAY: _format_day,
    Unit.TEMPERATURE_MC: lambda value: f"{value / 1000:.1f} °C",
    Unit.SHARE: lambda value: f"{value:.3f}",
    Unit.RATIO: format_ratio,
    Unit.PER_SECOND: lambda value: f"{value:,.1f}/s",
}
