"""The newest runs, as rows of all their fields or as columns of whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import CursorResult, case, func

from edgepack.hub.answers.columns import MISSING, TRUSTS, StandingColumns
from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.store.schema import standing

#: The fields of a `StandingRow`.
STANDING_FIELDS: Final = tuple(standing.c[name] for name in StandingRow._fields)
#: The fields of `StandingColumns`, each a whole number.
STANDING_NUMBERS: Final = (
    standing.c.device_id,
    standing.c.setup_id,
    standing.c.context_id,
    case({str(trust): number for number, trust in enumerate(TRUSTS)}, value=standing.c.trust),
    standing.c.created_ms,
    *(func.coalesce(standing.c[name], MISSING) for name in ("p50_ns", "p99_ns", "ready_ns")),
)


def standing_rows(found: CursorResult[Any]) -> list[StandingRow]:
    """Turns what was selected with `STANDING_FIELDS` into rows."""
    return [StandingRow._make(row) for row in _fetched(found)]


def standing_columns(found: CursorResult[Any]) -> StandingColumns:
    """Turns what was selected with `STANDING_NUMBERS` into columns."""
    return StandingColumns.from_tuples(_fetched(found))


def _fetched(found: CursorResult[Any]) -> Sequence[Any]:
    # Past SQLAlchemy's own rows: this is the hot loop of every comparison, and a third of it.
    cursor = found.cursor
    rows: Sequence[Any] = () if cursor is None else cursor.fetchall()
    found.close()
    return rows
