"""What the `edgepack hub` commands share: where the store is, and what time it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgepack.formats.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from edgepack.hub.store.keeping import Retention

STORE_VARIABLE = "EDGEPACK_HUB_STORE"


def default_store() -> str:
    """Returns where a hub of this user keeps its reports."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return str(Path(data) / "edgepack" / "hub.db")


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--store`."""
    return click.option(
        "--store",
        envvar=STORE_VARIABLE,
        default=default_store,
        metavar="PATH|URL",
        help="SQLite file or postgresql:// address; EDGEPACK_HUB_STORE, too.  "
        "[default: ~/.local/share/edgepack/hub.db]",
    )(command)


#: What is kept for how many days, in the order of the help: name, default, help.
_RETENTION = (
    ("documents", 90, "Keep the reports as they were sent for so long."),
    ("reports", 180, "Keep their figures for so long; after that one row a day."),
    ("standings", 400, "Keep a box's newest run on a release it has left for so long."),
    ("history", 800, "Keep the rows of days for so long."),
)


def retention_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--documents`, `--reports`, `--standings` and `--history`."""
    for name, days, words in reversed(_RETENTION):
        command = click.option(
            f"--{name}",
            type=click.IntRange(1),
            default=days,
            show_default=True,
            metavar="DAYS",
            help=words,
        )(command)
    return command


def retention_of(**days: int) -> Retention:
    """Makes of what was typed what the store takes.

    Args:
        days: By the names of `retention_options`.

    Raises:
        ConfigError: One is to be kept for less long than what is made of it.
    """
    from edgepack.hub.store.keeping import Retention

    retention = Retention(**days)
    if problem := retention.problem():
        raise ConfigError(problem)
    return retention


def refuse_unused_retention() -> None:
    """Refuses an option of this command that would do nothing, since nothing is dropped.

    Raises:
        ConfigError: One was typed.
    """
    ctx = click.get_current_context()
    for name, _, _ in _RETENTION:
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise ConfigError(
                f"--{name} does nothing where nothing is dropped",
                hint="add --prune-every 24, or leave it to edgepack hub prune",
            )


def migrated(store: str) -> Engine:
    """Opens a store at today's tables; a file that is not there comes to be.

    Args:
        store: Path or address.
    """
    from edgepack.hub.store.engine import open_engine
    from edgepack.hub.store.migrating import migrate

    if store == default_store():
        Path(store).parent.mkdir(parents=True, exist_ok=True)
    engine = open_engine(store)
    migrate(engine)
    return engine


def now_ms() -> int:
    """Returns the wall clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
