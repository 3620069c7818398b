"""The columns of the newest runs, in the order of a `StandingRow`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import CursorResult

from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.answers.trust import Standing
from edgepack.hub.store.schema import standing

STANDING_COLUMNS: Final = tuple(standing.c[name] for name in StandingRow._fields)
_TRUSTS: Final = {str(each): each for each in Standing}


def standing_rows(found: CursorResult[Any]) -> list[StandingRow]:
    """Turns what was selected with `STANDING_COLUMNS` into rows."""
    trusts = _TRUSTS
    rows: Sequence[Any] = found.all()
    # Positions, not names: this is the hot loop of every comparison.
    return [StandingRow._make((*row[:3], trusts[row[3]], *row[4:])) for row in rows]
