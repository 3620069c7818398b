"""Options that several commands share, and how they become values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from edgepack.build.cache import Cache
    from edgepack.build.data.interactions import DataSource

_Command = TypeVar("_Command", bound=Callable[..., Any])


def json_option(command: _Command) -> _Command:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


def cache_option(command: _Command) -> _Command:
    """Adds `--cache DIR`."""
    return click.option(
        "--cache",
        "cache_dir",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Keep what was made in DIR.  [default: $EDGEPACK_CACHE or ~/.cache/edgepack]",
    )(command)


def jobs_option(command: _Command) -> _Command:
    """Adds `--jobs N`."""
    return click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        default=2,
        show_default=True,
        metavar="N",
        help="Conversions and emulated runs at a time.",
    )(command)


def model_options(command: _Command) -> _Command:
    """Adds `--model` and `--samples`."""
    options = [
        click.option(
            "--model",
            default="session",
            show_default=True,
            metavar="PROJECT|FILE",
            help="Model project, or a .keras, .h5, .onnx file or SavedModel folder.",
        ),
        click.option(
            "--samples",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Sample inputs of a model file: an .npz with one array per input.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def data_options(command: _Command) -> _Command:
    """Adds what says where the interaction log is and how to read it."""
    options = [
        click.option(
            "--data",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Interaction log: CSV or TSV, plain, .gz, .xz or in a .zip; or Parquet.",
        ),
        click.option(
            "--layout",
            type=click.Choice(["table", "pairs", "sequences"]),
            default="table",
            show_default=True,
            help="A header and columns; or no header and lines of `user item`, or of "
            "`user item item …`, oldest first.",
        ),
        click.option("--session", metavar="COL", help="Column of the session or user id."),
        click.option("--item", metavar="COL", help="Column of the item id."),
        click.option("--order", metavar="COL", help="Column that orders a session's events."),
        click.option(
            "--time-format",
            metavar="FORMAT",
            help="strptime format of --order; numbers and ISO 8601 need none.",
        ),
        click.option("--delimiter", metavar="CHAR", help="Field separator, when not found alone."),
        click.option("--member", metavar="NAME", help="Which file of a .zip to read."),
        click.option(
            "--where",
            multiple=True,
            metavar="COND",
            help="Keep rows where COLUMN OP VALUE holds, as 'Quantity > 0'; repeatable.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def recipe_option(command: _Command) -> _Command:
    """Adds `--recipe NAME`."""
    return click.option(
        "--recipe",
        metavar="NAME",
        help="Train by one of the model project's recipes, made for other kinds of logs.",
    )(command)


def open_cache(cache_dir: Path | None) -> Cache:
    """Opens the cache an option or the environment names, and tidies it.

    Raises:
        ConfigError: It cannot be written.
    """
    from edgepack.build.cache import Cache, default_cache_dir

    cache = Cache(cache_dir or default_cache_dir())
    # A build that was killed outright could not do it.
    cache.remove_abandoned()
    return cache


def target_folders() -> tuple[Path, ...]:
    """Returns where targets are looked for, the user's own folder first."""
    return _folders("targets")


def model_folders() -> tuple[Path, ...]:
    """Returns where model projects are looked for, the user's own folder first."""
    return _folders("models")


def _folders(kind: Literal["models", "targets"]) -> tuple[Path, ...]:
    from edgepack.build.shipped import shipped_dir

    return Path.cwd() / kind, shipped_dir(kind)


def data_source(
    data: Path | None,
    *,
    layout: str,
    session: str | None,
    item: str | None,
    order: str | None,
    time_format: str | None,
    delimiter: str | None,
    member: str | None,
    where: tuple[str, ...],
) -> DataSource | None:
    """Turns the data options into a source.

    Returns:
        The source, or None without `--data`: the model project says then what it learns from.

    Raises:
        click.UsageError: A column is not named, or columns are named without a file or for one
            that has none.
    """
    columns = {"--session": session, "--item": item, "--order": order}
    given = [name for name, value in columns.items() if value]
    others = [time_format, delimiter, member, *where]
    if data is None:
        if given or any(others) or layout != "table":
            raise click.UsageError("columns and conditions need the log they belong to: --data")
        return None

    from edgepack.build.data.interactions import DataSource
    from edgepack.build.data.plain import Layout

    plain = DataSource(data, delimiter=delimiter, member=member, layout=Layout(layout))
    if plain.layout is not Layout.TABLE:
        given += ["--time-format"] * bool(time_format) + ["--where"] * bool(where)
        if given:
            raise click.UsageError(f"a log of --layout {layout} has no columns: {', '.join(given)}")
        return plain
    missing = [name for name in columns if name not in given]
    if missing:
        raise click.UsageError(f"--data also needs {', '.join(missing)}: which columns to read")

    from edgepack.build.data.conditions import parse_condition

    try:
        conditions = tuple(parse_condition(text) for text in where)
    except ValueError as error:
        raise click.UsageError(f"--where: {error}") from error
    return replace(
        plain,
        session=str(session),
        item=str(item),
        order=str(order),
        time_format=time_format,
        conditions=conditions,
    )
