"""How values look on a terminal: sizes, shares, tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: A table that goes to a file or a pipe keeps its columns whole.
_PIPE_WIDTH = 150


def make_console() -> Console:
    """Returns a console for standard output."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)


def make_table(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    """Returns an empty table; the columns named in `right` align to the right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    # A title as long as a sentence stays on one line.
    table.min_width = len(title)
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=column in right)  # type: ignore[arg-type]
    return table


def print_json(value: Any) -> None:
    """Prints one JSON object for a program to read."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def format_bytes(size_bytes: int) -> str:
    """Writes bytes as people compare them: `153 kB`, `11.1 MB`."""
    for unit, size, digits in (("MB", 1e6, 1), ("kB", 1e3, 0)):
        if round(size_bytes / 1e3) * 1e3 >= size:
            return f"{size_bytes / size:.{digits}f} {unit}"
    return f"{size_bytes} B"


def format_share(value: float | None) -> str:
    """Writes a share with three decimals; a dash where it was not measured."""
    return "-" if value is None else f"{value:.3f}"
