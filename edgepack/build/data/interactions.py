"""Reads an interaction log into arrays: who, what, in which order.

Not aware of models, splits or the cache. May be imported by `edgepack.build` and `edgepack.cli`.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.conditions import Condition
from edgepack.build.data.plain import Layout, open_plain_rows
from edgepack.build.data.source import check_readable, data_error, open_rows
from edgepack.formats.errors import ConfigError, Problem

# What spreadsheets, pandas and databases write where there is no value.
_NO_VALUE = frozenset({"", "nan", "null"})


@dataclass(frozen=True, slots=True)
class DataSource:
    """A log file and how to read it.

    Attributes:
        path: The file.
        session: Column of the session or user id. A log without a header has no columns: there
            these are what errors call its fields.
        item: Column of the item id.
        order: Column that orders the events of one session: a number or a time.
        time_format: strptime format of `order`; None for numbers and ISO 8601.
        delimiter: Field separator; None to find it.
        member: File inside a `.zip`; None when there is only one.
        conditions: Rows that fail one of these are dropped and counted.
        layout: A table with a header, or lines without one.
    """

    path: Path
    session: str = "user"
    item: str = "item"
    order: str = "line"
    time_format: str | None = None
    delimiter: str | None = None
    member: str | None = None
    conditions: tuple[Condition, ...] = ()
    layout: Layout = Layout.TABLE

    def to_key(self) -> dict[str, Any]:
        """All that decides what is read, for a cache key: the file's sha256, not its path."""
        return {
            "sha256": file_sha256(self.path),
            "session": self.session,
            "item": self.item,
            "order": self.order,
            "time_format": self.time_format,
            "delimiter": self.delimiter,
            "member": self.member,
            "where": [str(condition) for condition in self.conditions],
            # Left out for a table: what was learnt from one before is found again.
            **({} if self.layout is Layout.TABLE else {"layout": str(self.layout)}),
        }


@dataclass(frozen=True, slots=True)
class Interactions:
    """Events sorted by (session, order, row), sessions in order of first appearance.

    Attributes:
        sessions: int32[events], number of the session.
        items: int32[events], index into `item_ids`.
        item_ids: External ids in order of first appearance.
        session_count: Number of sessions.
        rows_read: Rows in the file.
        dropped: Rows left out, by reason.
        source: What the data is, in words, without its path.
    """

    sessions: NDArray[np.int32]
    items: NDArray[np.int32]
    item_ids: tuple[str, ...]
    session_count: int
    rows_read: int
    dropped: Mapping[str, int]
    source: str


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Args:
        path: The file.

    Raises:
        ConfigError: It is missing, empty or unreadable.
    """
    check_readable(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_interactions(source: DataSource) -> Interactions:
    """Reads a log. Memory: 16 bytes an event plus the ids.

    Args:
        source: The file and its columns.

    Raises:
        ConfigError: Missing or damaged file, missing column, ids without a value, an order that
            is no number and no time, no rows, a single item, or a line of another layout.
        MissingExtraError: A Parquet file, and pyarrow is not installed.
    """
    reader = _Reader(source)
    with _opened(source) as rows:
        reader.read(rows)
    return reader.finish()


def _opened(source: DataSource) -> AbstractContextManager[Iterator[list[str]]]:
    options = {"delimiter": source.delimiter, "member": source.member}
    if source.layout is not Layout.TABLE:
        return open_plain_rows(source.path, source.layout, **options)
    columns = [source.session, source.item, source.order]
    columns += [condition.column for condition in source.conditions]
    return open_rows(source.path, columns, **options)


@dataclass(slots=True)
class _Reader:
    """Collects rows of one file, and every problem found on the way."""

    source: DataSource
    rows: int = 0
    sessions: array[int] = field(default_factory=lambda: array("i"))
    items: array[int] = field(default_factory=lambda: array("i"))
    order: array[float] = field(default_factory=lambda: array("d"))
    session_codes: dict[str, int] = field(default_factory=dict)
    item_codes: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    bad: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    bad_counts: dict[str, int] = field(default_factory=dict)

    def read(self, rows: Iterator[list[str]]) -> None:
        source = self.source
        parse = _OrderParser(source.time_format)
        conditions = source.conditions
        self.dropped = {str(condition): 0 for condition in conditions}
        for number, (raw_session, raw_item, order, *others) in enumerate(rows, start=1):
            self.rows = number
            failed = _first_failed(conditions, others)
            if failed is not None:
                self.dropped[str(failed)] += 1
                continue
            session, item = raw_session.strip(), raw_item.strip()
            value = parse(order)
            if session.lower() in _NO_VALUE:
                self._note(source.session, number, session)
            elif item.lower() in _NO_VALUE:
                self._note(source.item, number, item)
            elif value is None:
                self._note(source.order, number, order)
            else:
                self.sessions.append(
                    self.session_codes.setdefault(session, len(self.session_codes))
                )
                self.items.append(self.item_codes.setdefault(item, len(self.item_codes)))
                self.order.append(value)

    def _note(self, column: str, number: int, value: str) -> None:
        self.bad_counts[column] = self.bad_counts.get(column, 0) + 1
        self.bad.setdefault(column, [(number, value)])

    def finish(self) -> Interactions:
        self._raise_problems()
        sessions = np.frombuffer(self.sessions, dtype=np.int32)
        items = np.frombuffer(self.items, dtype=np.int32)
        # lexsort is stable: events with the same order stay in the order of their rows.
        by_order = np.lexsort((np.frombuffer(self.order, dtype=np.float64), sessions))
        return Interactions(
            sessions=sessions[by_order],
            items=items[by_order],
            item_ids=tuple(self.item_codes),
            session_count=len(self.session_codes),
            rows_read=self.rows,
            dropped=dict(self.dropped),
            source=self.source.path.name,
        )

    def _raise_problems(self) -> None:
        source = self.source
        problems = [self._bad_column(column) for column in self.bad_counts]
        if problems:
            raise ConfigError.from_problems(str(source.path), problems)
        if not self.items:
            if self.rows == 0:
                raise data_error(source.path, "", "has a header but no rows")
            reasons = "; ".join(f"{count} by {reason}" for reason, count in self.dropped.items())
            raise data_error(
                source.path,
                "where",
                f"the conditions drop all {self.rows} rows ({reasons})",
                "loosen --where",
            )
        if len(self.item_codes) == 1:
            only = next(iter(self.item_codes))
            raise data_error(
                source.path,
                f"column '{source.item}'",
                f"one item only ('{only}'), expected at least 2 to rank",
                "check --item",
            )

    def _bad_column(self, column: str) -> Problem:
        source = self.source
        first, value = self.bad[column][0]
        count = self.bad_counts[column]
        where = f"column '{column}'"
        if column in (source.session, source.item) and value.lower() in _NO_VALUE:
            return Problem(
                where,
                f"{count} of {self.rows} rows have no id (NaN or empty), the first is "
                f"data row {first}",
                f"drop them: --where \"{column} != ''\""
                if source.layout is Layout.TABLE
                else "give it an id, or leave its lines out",
            )
        expected = (
            f"a time like '{source.time_format}'"
            if source.time_format
            else "a number or an ISO 8601 time"
        )
        return Problem(
            where,
            f"{count} of {self.rows} rows cannot be ordered, the first is data row {first}: "
            f"got '{value}', expected {expected}",
            "choose another --order column, or say how it is written with --time-format",
        )


def _first_failed(conditions: Sequence[Condition], cells: Sequence[str]) -> Condition | None:
    for condition, cell in zip(conditions, cells, strict=True):
        if not condition.holds(cell):
            return condition
    return None


class _OrderParser:
    """Turns the order column into seconds or plain numbers, one kind for the whole column."""

    def __init__(self, time_format: str | None) -> None:
        self._format = time_format
        self._numeric: bool | None = False if time_format else None

    def __call__(self, text: str) -> float | None:
        if self._numeric is None:
            self._numeric = _parse_number(text) is not None
        return _parse_number(text) if self._numeric else _parse_time(text, self._format)


def _parse_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _parse_time(text: str, time_format: str | None) -> float | None:
    try:
        if time_format is None:
            moment = datetime.fromisoformat(text.strip())
        else:
            moment = datetime.strptime(text.strip(), time_format)  # noqa: DTZ007 - UTC below
    except ValueError:
        return None
    # A time without a zone is read as UTC, so that the host's zone changes nothing.
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
