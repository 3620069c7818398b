"""A table as a page shows it: the same value that CSV and JSON have, with links and marks.

It is not aware of HTTP. Used by the other views.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edgepack.formats.evidence import Status
from edgepack.hub.answers.changes import Verdict
from edgepack.hub.answers.health import Condition
from edgepack.hub.answers.params import Params
from edgepack.hub.answers.table import Cell, Column, Table, format_cell
from edgepack.hub.answers.trust import Standing
from edgepack.hub.web.addresses import Addresses, changed

#: Where a cell of a row leads; None: nowhere.
Linker = Callable[[Mapping[str, Cell]], str | None]

_HASH: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWN_DIGITS: Final = 12
#: The whole of a longer text is in the cell's title, in CSV and in JSON.
_SHOWN_CHARACTERS: Final = 120
#: The styles of words that say how something is; any other text has none.
_MARKS: Final[Mapping[str, str]] = {
    Condition.WRONG_ANSWERS: "bad",
    Condition.RUN_FAILED: "bad",
    Condition.FALLBACK: "warn",
    Condition.THROTTLED: "warn",
    Condition.SILENT: "warn",
    Condition.DOUBTFUL: "warn",
    Condition.OK: "good",
    Standing.TRUSTED: "good",
    Standing.EMULATED: "plain",
    Verdict.SLOWER: "bad",
    Verdict.FASTER: "good",
    Verdict.NOT_SHOWN: "plain",
    Verdict.TOO_FEW: "plain",
    Status.RANKED: "good",
    Status.OVER_LIMIT: "bad",
    Status.TOO_FEW_BOXES: "warn",
    Status.NO_TRUSTED_REPORTS: "warn",
}
_MARKED: Final = frozenset({"condition", "trust", "verdict", "status"})


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell: its text, where it leads, its classes, its mark, the whole of what was cut."""

    text: str
    address: str | None = None
    style: str = ""
    mark: str = ""
    whole: str = ""


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link: where to, its words, the media type of what it leads to or empty."""

    address: str
    words: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class TableView:
    """A table for the one macro that shows tables."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[CellView, ...], ...]
    links: tuple[LinkView, ...]
    note: str
    empty: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page is.

    Attributes:
        addresses: Makes the links.
        path: The parts of the page's path; empty for the fleet.
        api: The parts of its answer's path, below `/api`.
        params: What was asked, as in the page's address.
    """

    addresses: Addresses
    path: tuple[str, ...]
    api: tuple[str, ...]
    params: Params = ()

    @property
    def details(self) -> bool:
        """Whether all columns are asked for."""
        return ("details", "1") in self.params

    def page(self, **values: str | int | None) -> str | None:
        """Returns this page's address with other parameters."""
        return self.addresses.to(*self.path, params=changed(self.params, **values))


def table_view(
    table: Table,
    place: Place,
    *,
    links: Mapping[str, Linker] | None = None,
    exports: Mapping[str, str | int | None] | None = None,
    empty: str = "There is nothing to show.",
) -> TableView:
    """Prepares a table.

    Args:
        table: The table.
        place: Where the page is; in a file by itself all columns are shown.
        links: Where a column's cells lead.
        exports: Parameters that CSV and JSON have beside those of the page.
        empty: What is said where there is no row.

    Returns:
        The view.
    """
    alone = place.addresses.prefix is None
    brief = not (place.details or alone)
    kept = [i for i, column in enumerate(table.columns) if not (brief and column.detail)]
    linkers = links or {}
    rows = []
    for row, record in zip(table.rows, table.records(), strict=True):
        rows.append(tuple(_cell(row[i], table.columns[i], record, linkers) for i in kept))
    return TableView(
        key=table.key,
        title=table.title,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(rows),
        links=_links(table, place, exports or {}, more=any(each.detail for each in table.columns)),
        note=table.note,
        empty=empty,
    )


def mark_of(word: str) -> str:
    """Returns the style of a word that says how something is; `plain` for any other."""
    return _MARKS.get(word, "plain")


def _cell(
    cell: Cell, column: Column, record: Mapping[str, Cell], linkers: Mapping[str, Linker]
) -> CellView:
    text = format_cell(cell, column.unit)
    shown = text
    if _HASH.fullmatch(text):
        shown = text[:_SHOWN_DIGITS]
    elif len(text) > _SHOWN_CHARACTERS:
        shown = f"{text[: _SHOWN_CHARACTERS - 1]}…"
    if column.key in _MARKED:
        shown = shown.replace("_", " ")
    linker = linkers.get(column.key)
    return CellView(
        text=shown,
        address=linker(record) if linker is not None and cell not in (None, "") else None,
        style="n" if column.is_number else "long" if len(shown) > 2 * _SHOWN_DIGITS else "",
        mark=mark_of(text) if column.key in _MARKED else "",
        whole=text if shown != text else "",
    )


def _links(
    table: Table, place: Place, exports: Mapping[str, str | int | None], *, more: bool
) -> tuple[LinkView, ...]:
    if place.addresses.prefix is None:
        return ()
    asked = changed(place.params, details=None, **exports, table=table.key)
    csv_path = (*place.api[:-1], f"{place.api[-1]}.csv")
    links = []
    if more and table.rows:
        words = "Fewer columns" if place.details else "All columns"
        links.append((place.page(details=None if place.details else 1), words, ""))
    links.append((place.addresses.to("api", *csv_path, params=asked), "CSV", "text/csv"))
    links.append((place.addresses.to("api", *place.api, params=asked), "JSON", "application/json"))
    return tuple(LinkView(address or "", words, kind) for address, words, kind in links)
