"""Copies a SQLite store while it is in use, and puts a copy back.

PostgreSQL has its own tools for this, and they are better than any of ours. It is not aware of
the tables. Used by `edgepack hub backup` and `restore`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from edgepack.formats.errors import ConfigError, HubError
from edgepack.hub.store.engine import database_url, open_engine
from edgepack.hub.store.migrating import check_known_revision

#: Pages of 4 KiB copied at a time; writers come in between.
_PAGES = 5000


def back_up(store: str | Path, target: Path) -> int:
    """Copies a store as it is at one moment; it may be in use.

    Args:
        store: The SQLite store.
        target: A file that does not exist yet.

    Returns:
        The copy's bytes.

    Raises:
        ConfigError: The store is PostgreSQL's, or the target exists.
        HubError: It cannot be copied, or the copy is not whole; no file is left then.
    """
    source = _sqlite_path(store, "pg_dump --format=custom makes a backup of PostgreSQL")
    if target.exists():
        raise ConfigError(f"{target}: there is a file already", hint="name another one")
    open_engine(source, read_only=True).dispose()
    _copy(source, target)
    return target.stat().st_size


def restore(backup: Path, store: str | Path, *, replace: bool = False) -> None:
    """Puts a copy in the place of a store that nobody uses.

    Args:
        backup: What `back_up` made; it stays.
        store: Where the store is to be.
        replace: Whether a store that is there may be replaced.

    Raises:
        ConfigError: A store is there and may not be replaced, or it is PostgreSQL's.
        HubError: The copy is damaged or a later hub's, or the store is in use. The store is as
            it was then.
    """
    target = _sqlite_path(store, "pg_restore --clean puts a backup of PostgreSQL back")
    if target.exists() and not replace:
        raise ConfigError(f"{target}: there is a store already", hint="--replace takes its place")
    engine = open_engine(backup, read_only=True)
    try:
        check_known_revision(engine)
    except DatabaseError as error:
        raise HubError(f"{backup}: the backup is damaged: {error.orig}") from error
    finally:
        engine.dispose()
    if target.exists():
        _refuse_in_use(target)
    _copy(backup, target)


def _sqlite_path(store: str | Path, instead: str) -> Path:
    url = database_url(store)
    if not url.startswith("sqlite:///"):
        raise ConfigError("only a SQLite store is copied by edgepack", hint=instead)
    return Path(url.removeprefix("sqlite:///"))


def _copy(source: Path, target: Path) -> None:
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with (
            contextlib.closing(sqlite3.connect(source)) as reading,
            contextlib.closing(sqlite3.connect(draft)) as copying,
        ):
            reading.backup(copying, pages=_PAGES)
            copying.execute("PRAGMA journal_mode = DELETE")
            (found,) = copying.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise HubError(f"{source}: the database is damaged: {found}")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        for suffix in ("-wal", "-shm"):
            # What stands in the old one's log is not of the new one.
            target.with_name(f"{target.name}{suffix}").unlink(missing_ok=True)
        os.replace(draft, target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (sqlite3.Error, OSError) as error:
        raise HubError(f"{source}: cannot be copied to {target}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)


def _refuse_in_use(path: Path) -> None:
    """Asks for the file alone: a hub that has it open holds a lock on its log."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as asking:
            asking.execute("PRAGMA locking_mode = EXCLUSIVE")
            asking.execute("BEGIN EXCLUSIVE")
            asking.execute("ROLLBACK")
            # Leaving write-ahead mode needs every other connection closed.
            asking.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise HubError(
            f"{path}: the store is in use: {error}", hint="stop every hub on it first"
        ) from error
