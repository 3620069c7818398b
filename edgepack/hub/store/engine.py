"""Opens the database: SQLite in write-ahead mode, or PostgreSQL by its URL.

It is not aware of the tables. Everything in the hub that needs a database gets an engine from
here.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final

import sqlalchemy
from sqlalchemy import Engine, event
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import QueuePool

from edgepack.formats.errors import ConfigError, HubError, MissingExtraError

#: Longer than any transaction of ours; a writer that waits longer has met a stuck one.
_BUSY_TIMEOUT_MS: Final = 30_000
_CACHE_KIB: Final = 65_536
_MAP_BYTES: Final = 2**30
_POOL_SIZE: Final = 8
#: The write-ahead log is copied back into the file at this many pages of 4 KiB.
_CHECKPOINT_PAGES: Final = 4000


def database_url(where: str | Path) -> str:
    """Turns what a person names into SQLAlchemy's URL.

    Args:
        where: A path, `sqlite:///PATH`, `postgresql://…`, or an SQLAlchemy URL of these two.

    Returns:
        The URL, with the driver that is used.

    Raises:
        ConfigError: It is another database, or cannot be read.
    """
    text = str(where)
    if "://" not in text:
        return f"sqlite:///{Path(text).expanduser().absolute()}"
    if text.startswith("postgres://"):
        text = f"postgresql://{text.removeprefix('postgres://')}"
    try:
        url = sqlalchemy.make_url(text)
    except ArgumentError as error:
        raise ConfigError(f"the database's address cannot be read: {error}") from error
    name = url.get_backend_name()
    if name == "postgresql":
        return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if name != "sqlite":
        raise ConfigError(
            f"got a database of kind '{name}'; SQLite and PostgreSQL are known",
            hint="name a file, or postgresql://USER@HOST/DATABASE",
        )
    if not url.database or url.database == ":memory:":
        raise ConfigError("the hub's SQLite database is a file; name its path")
    return text


def open_engine(where: str | Path, *, read_only: bool = False) -> Engine:
    """Opens a database; nothing is made or changed in it, except that SQLite's file comes to be.

    Args:
        where: As for `database_url`.
        read_only: Refuse every write.

    Returns:
        The engine. Its connections are safe to use from several threads, one at a time.

    Raises:
        ConfigError: The address is wrong.
        HubError: The database cannot be reached or opened.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    url = database_url(where)
    if url.startswith("postgresql"):
        engine = _open_postgresql(url, read_only=read_only)
    else:
        engine = _open_sqlite(url, read_only=read_only)
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except OperationalError as error:
        engine.dispose()
        shown = engine.url.render_as_string(hide_password=True)
        raise HubError(
            f"{shown}: the database cannot be opened: {_first_line(error)}",
            hint="check that it runs, that the file's folder exists, and that the user may",
        ) from error
    return engine


def is_sqlite(engine: Engine) -> bool:
    """Says whether it is SQLite; it has one writer at a time."""
    return engine.dialect.name == "sqlite"


def _open_sqlite(url: str, *, read_only: bool) -> Engine:
    path = Path(url.split("///", 1)[1])
    if read_only and not path.is_file():
        raise HubError(f"{path}: there is no such file")
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path}",
        poolclass=QueuePool,
        pool_size=_POOL_SIZE,
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # SQLAlchemy begins transactions by itself; the module must not, or a read that becomes
        # a write fails where another writer came in between.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: a commit is on disk before it returns, also through a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        cursor.execute(f"PRAGMA mmap_size = {_MAP_BYTES}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        cursor.execute("PRAGMA temp_store = MEMORY")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: sqlalchemy.Connection) -> None:
        # A writer takes its turn at once instead of failing at its first write.
        wanted = connection.get_execution_options().get("edgepack_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if wanted else "BEGIN")

    return engine


def _open_postgresql(url: str, *, read_only: bool) -> Engine:
    options = "-c default_transaction_read_only=on" if read_only else ""
    try:
        return sqlalchemy.create_engine(
            url,
            pool_size=_POOL_SIZE,
            pool_pre_ping=True,
            connect_args={"options": options, "connect_timeout": 10},
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("psycopg", "hub-postgresql", "a hub on PostgreSQL") from error


def writing(engine: Engine) -> Engine:
    """Returns the engine for transactions that write; on SQLite they take turns."""
    return engine.execution_options(edgepack_writes=True)


def _first_line(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).strip().splitlines()[0] if str(original).strip() else repr(original)
