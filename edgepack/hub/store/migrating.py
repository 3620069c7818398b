"""Brings a database to today's tables, and says how far it is from them.

It is not aware of the tables themselves. Used by `serve`, `migrate` and whoever opens a store.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from edgepack.formats.errors import HubError
from edgepack.hub.store.engine import is_sqlite, writing

_FOLDER: Final = Path(__file__).parent / "migrations"
#: Any number that nothing else on the server locks; two processes that start at once take turns.
_LOCK: Final = 0x65646765


def migrate(engine: Engine) -> str:
    """Brings the database to today's tables; several processes may do so at once.

    Args:
        engine: The database.

    Returns:
        The revision it is at now.

    Raises:
        HubError: It was made by a later hub.
    """
    with writing(engine).begin() as connection:
        if not is_sqlite(engine):
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        _refuse_later(connection)
        config = _config(connection)
        command.upgrade(config, "head")
    return newest_revision()


def check_revision(engine: Engine) -> None:
    """Refuses a database that is not at today's tables.

    Raises:
        HubError: It is behind, ahead, or no hub's at all.
    """
    with engine.connect() as connection:
        _refuse_later(connection)
        found = _revision_of(connection)
    if found != newest_revision():
        state = "is no hub's database" if found is None else f"is at revision {found}"
        raise HubError(
            f"{engine.url.render_as_string(hide_password=True)} {state}; "
            f"this edgepack needs {newest_revision()}",
            hint="edgepack hub migrate --store …",
        )


def check_known_revision(engine: Engine) -> None:
    """Refuses a database that is no hub's, or a later one's; an earlier one can be migrated.

    Raises:
        HubError: It is one of these.
    """
    with engine.connect() as connection:
        _refuse_later(connection)
        found = _revision_of(connection)
    if found is None:
        raise HubError(f"{engine.url.render_as_string(hide_password=True)} is no hub's database")


def newest_revision() -> str:
    """Returns the revision of today's tables."""
    return str(ScriptDirectory(str(_FOLDER)).get_current_head())


def _refuse_later(connection: Connection) -> None:
    found = _revision_of(connection)
    known = {each.revision for each in ScriptDirectory(str(_FOLDER)).walk_revisions()}
    if found is not None and found not in known:
        raise HubError(
            f"the database is at revision {found}, which this edgepack does not know",
            hint="it was made by a later edgepack; install that one, or restore a backup",
        )


def _revision_of(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    # Alembic prints what it does only when it has somewhere to print to.
    config = Config(stdout=contextlib.nullcontext())  # type: ignore[arg-type]
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config
