"""The columns of the newest runs, in the order of a `StandingRow`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import CursorResult

from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.store.schema import standing

STANDING_COLUMNS: Final = tuple(standing.c[name] for name in StandingRow._fields)


def standing_rows(found: CursorResult[Any]) -> list[StandingRow]:
    """Turns what was selected with `STANDING_COLUMNS` into rows."""
    # Past SQLAlchemy's own rows: this is the hot loop of every comparison, and a third of it.
    cursor = found.cursor
    rows: Sequence[Sequence[Any]] = () if cursor is None else cursor.fetchall()
    found.close()
    return [StandingRow._make(row) for row in rows]
