"""What `edgepack select`, `report` and `build` share: where answers come from, how they look."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from edgepack.cli.console import make_console, make_table
from edgepack.formats.errors import ConfigError, HubError, MissingExtraError

if TYPE_CHECKING:
    from edgepack.formats.evidence import Evidence
    from edgepack.hub.answers.sheet import Sheet
    from edgepack.hub.answers.table import Table
    from edgepack.hub.sources.source import Source

_Command = TypeVar("_Command", bound=Callable[..., Any])

HUB_VARIABLE: Final = "EDGEPACK_HUB"
TOKEN_VARIABLE: Final = "EDGEPACK_HUB_TOKEN"  # noqa: S105 - the variable's name
_MAX_TOKEN_BYTES: Final = 4096
#: Hashes are shown like this; the commands take as much for the whole.
_SHOWN_DIGITS: Final = 12
_UNBROKEN: Final = 24
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def source_options(command: _Command) -> _Command:
    """Adds `--from` and `--token-file`."""
    options = [
        click.option(
            "--from",
            "where",
            metavar="URL|FILE",
            envvar=HUB_VARIABLE,
            help="A hub's address, a hub's store, or a file of reports.  [default: $EDGEPACK_HUB]",
        ),
        token_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


def token_option(command: _Command) -> _Command:
    """Adds `--token-file`."""
    return click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Holds a reader's token for the hub.  [default: $EDGEPACK_HUB_TOKEN]",
    )(command)


@contextmanager
def opened(where: str | None, token_file: Path | None, *, charts: bool = False) -> Iterator[Source]:
    """Opens what answers questions, and closes it afterwards.

    Args:
        where: An address or a file; None where nobody said.
        token_file: Holds the token; None for the environment's.
        charts: Whether a hub is asked to draw its answers too.

    Yields:
        The source.

    Raises:
        ConfigError: Nothing was named, or it cannot be read.
        HubError: It cannot be opened.
        MissingExtraError: The hub's packages are not installed.
    """
    if not where:
        raise ConfigError(
            "nothing was named that could answer",
            hint=f"add --from URL|FILE, or set {HUB_VARIABLE}",
        )
    try:
        from edgepack.hub.sources.opening import open_source
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "hub", "asking for field reports") from error
    token = read_token(token_file)
    with open_source(where, token=token, now_ms=now_ms(), charts=charts) as source:
        yield source


def read_token(token_file: Path | None) -> str | None:
    """Reads a token from a file or the environment.

    Raises:
        ConfigError: The file cannot be read, or holds something else.
    """
    if token_file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        with token_file.open("rb") as stream:
            text = stream.read(_MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{token_file}: no token can be read from it: {error}") from error
    if not text or len(text) > _MAX_TOKEN_BYTES or not text.isprintable() or " " in text:
        raise ConfigError(f"{token_file}: it does not hold one token")
    return text


def now_ms() -> int:
    """Returns this moment in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def fetch_evidence(
    hub: str | None, token_file: Path | None, *, targets: Sequence[str], model: str
) -> dict[str, Evidence]:
    """Asks what the field says of a model on some targets.

    Args:
        hub: An address or a file; None: nobody is asked.
        token_file: Holds a reader's token.
        targets: The targets.
        model: The model's name.

    Returns:
        The evidence by target. A hub that does not answer is worth a warning on standard error,
        and nothing is returned for what is left: a build goes on without.

    Raises:
        ConfigError: The file is not there or is something else.
        MissingExtraError: The hub's packages are not installed.
    """
    if not hub:
        return {}
    evidence: dict[str, Evidence] = {}
    try:
        with opened(hub, token_file) as source:
            from edgepack.hub.answers.selecting import SelectQuery

            for target in targets:
                evidence[target] = source.select(SelectQuery(target, model))
    except HubError as error:
        hint = f" ({error.hint})" if error.hint else ""
        warning = click.style("warning:", fg="yellow", bold=True)
        click.echo(
            f"{warning} {printable(error.message)}{hint}; the build goes on without field reports",
            err=True,
        )
    return evidence


def show_sheet(sheet: Sheet) -> None:
    """Prints an answer's sentences and tables."""
    console = make_console()
    console.print(printable(sheet.title), style="bold", markup=False, highlight=False)
    for line in sheet.lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    for table in sheet.tables:
        if table.rows or table is sheet.tables[0]:
            console.print(terminal_table(table))


def terminal_table(table: Table) -> Any:
    """Returns a table as the terminal shows it: without details, hashes shortened."""
    from rich.text import Text

    brief = table.brief()
    titles = [column.title for column in brief.columns]
    right = tuple(column.title for column in brief.columns if column.is_number)
    title = printable(table.title)
    made = make_table("", *titles, right=right)
    made.title = Text(title, style="bold")
    rows = [[printable(_shortened(cell)) for cell in row] for row in brief.shown()]
    for i, column in enumerate(made.columns):
        # A name is not broken; a sentence is.
        if all(len(row[i]) <= _UNBROKEN for row in rows):
            column.no_wrap = True
    for row in rows:
        made.add_row(*map(Text, row))
    if table.note:
        made.caption = Text(printable(table.note))
    return made


def printable(text: str) -> str:
    """Returns a text without what a terminal would take for a command; it may be a box's."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _shortened(cell: str) -> str:
    return cell[:_SHOWN_DIGITS] if _HASH.fullmatch(cell) else cell
