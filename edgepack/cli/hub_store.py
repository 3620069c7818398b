"""What the `edgepack hub` commands share: where the store is, and what time it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlalchemy import Engine

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
