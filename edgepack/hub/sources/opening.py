"""Finds out whether an address, a store or a file of reports was named, and opens it.

Used by the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgepack.formats.errors import ConfigError
from edgepack.hub.sources.remote import HubSource
from edgepack.hub.sources.source import Source
from edgepack.hub.sources.store import StoreSource
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import check_revision

#: Source: SQLite, "Database File Format", 1.3.
_SQLITE: Final = b"SQLite format 3\0"


@contextmanager
def open_source(
    where: str, *, token: str | None, now_ms: int, charts: bool = False
) -> Iterator[Source]:
    """Opens what answers questions.

    Args:
        where: A hub's address (`http://…`, `https://…`), a PostgreSQL store (`postgresql://…`),
            or a file: a hub's SQLite store, or reports as JSON or JSON lines.
        token: A reader's token, for an address.
        now_ms: The moment by which silence is judged.
        charts: Whether a hub's sheets shall have their charts.

    Yields:
        The source; it is closed afterwards.

    Raises:
        ConfigError: There is no such file, or it is something else.
        HubError: The store cannot be opened.
    """
    if where.startswith(("http://", "https://")):
        source: Source = HubSource(where, token, charts=charts)
        try:
            yield source
        finally:
            source.close()
        return
    if "://" in where or _is_store(Path(where)):
        engine = open_engine(where, read_only=True)
        name = engine.url.render_as_string(hide_password=True) if "://" in where else where
        store = StoreSource(engine, name=name, now_ms=now_ms)
        try:
            check_revision(engine)
            yield store
        finally:
            store.close()
        return
    # The intake is not needed to ask a hub or its store.
    from edgepack.hub.sources.reports import store_of_reports

    with store_of_reports(Path(where), now_ms=now_ms) as engine:
        yield StoreSource(engine, name=where, now_ms=now_ms)


def _is_store(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror}",
            hint="name a hub's address, a hub's store, or a file of reports",
        ) from error
