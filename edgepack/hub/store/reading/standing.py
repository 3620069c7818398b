"""The newest runs, as rows of all their fields or as columns of whole numbers."""

from __future__ import annotations

from collections.abc import Iterable
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
    # Past SQLAlchemy's own rows: this is the hot loop of every comparison, and a third of it.
    cursor = found.cursor
    rows = [] if cursor is None else [StandingRow._make(row) for row in cursor.fetchall()]
    found.close()
    return rows


def standing_columns(found: CursorResult[Any]) -> StandingColumns:
    """Turns what was selected with `STANDING_NUMBERS` into columns."""
    # One by one: a hundred thousand rows at a time keep the collector of garbage busy.
    cursor: Iterable[tuple[int, ...]] = () if found.cursor is None else found.cursor  # type: ignore[assignment]
    columns = StandingColumns.from_tuples(cursor)
    found.close()
    return columns
