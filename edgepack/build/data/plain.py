"""Reads logs without a header: `user item` lines, or `user item item …` lines.

This is how the public benchmarks of sequential recommendation are handed on. Not aware of what
becomes of the rows. May be imported by `edgepack.build.data`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain
from pathlib import Path

from edgepack.build.data.source import data_error, open_text

#: A name and at least one item.
_FEWEST_FIELDS = 2


class Layout(StrEnum):
    """How a log is written down."""

    #: A header and a row for each event.
    TABLE = "table"
    #: No header; a line for each event: the user and the item, oldest first.
    PAIRS = "pairs"
    #: No header; a line for each user, then the items, oldest first.
    SEQUENCES = "sequences"


@contextmanager
def open_plain_rows(
    path: Path, layout: Layout, *, delimiter: str | None = None, member: str | None = None
) -> Iterator[Iterator[list[str]]]:
    """Opens a log without a header and gives its events as [user, item, place].

    Args:
        path: A text file, plain, `.gz`, `.xz` or in a `.zip`.
        layout: `PAIRS` or `SEQUENCES`.
        delimiter: The character between fields; None for any white space.
        member: Which file of a `.zip` to read; needed when it holds several.

    Raises:
        ConfigError: The file is missing, empty or damaged, or a line is not of this layout.
    """
    with open_text(path, member) as text:
        # A file of blank lines is refused like one that is empty.
        lines = enumerate(text, start=1)
        first = next(((number, line) for number, line in lines if line.strip()), None)
        if first is None:
            raise data_error(
                path, "", "the file is empty", "lines of a user and items are expected"
            )
        yield _events(path, chain([first], lines), layout, delimiter)


def _events(
    path: Path, lines: Iterator[tuple[int, str]], layout: Layout, delimiter: str | None
) -> Iterator[list[str]]:
    for number, line in lines:
        if not line.strip():
            continue
        user, *items = line.split() if delimiter is None else line.rstrip("\r\n").split(delimiter)
        if not items or (layout is Layout.PAIRS and len(items) != 1):
            raise _not_of_layout(path, number, 1 + len(items), layout)
        for item in items:
            # Events of one user keep the order of the file.
            yield [user, item, str(number)]


def _not_of_layout(path: Path, number: int, fields: int, layout: Layout) -> Exception:
    if layout is Layout.SEQUENCES or fields < _FEWEST_FIELDS:
        expected = "a user and at least one item"
        hint = "is it separated by something other than white space? Say so with --delimiter"
    else:
        expected = "two, a user and an item"
        hint = "lines of a user and all items are --layout sequences; a header needs --layout table"
    counted = "1 field" if fields == 1 else f"{fields} fields"
    return data_error(path, f"line {number}", f"has {counted}, expected {expected}", hint)
