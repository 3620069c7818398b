"""Reads contexts with how much is known in each, and the newest runs of one context."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, or_, select

from edgepack.hub.answers.columns import StandingColumns
from edgepack.hub.answers.rows import ContextRow, StandingRow
from edgepack.hub.answers.trust import Standing
from edgepack.hub.store.reading.releases import json_object
from edgepack.hub.store.reading.standing import (
    STANDING_FIELDS,
    STANDING_NUMBERS,
    standing_columns,
    standing_rows,
)
from edgepack.hub.store.schema import context, standing


@dataclass(frozen=True, slots=True)
class StandingCount:
    """How many boxes have a newest run of a setup in a context."""

    context_id: int
    setup_id: int
    trust: Standing
    boxes: int


def find_contexts(
    connection: Connection,
    *,
    model: str | None = None,
    scenario: str | None = None,
    box: str | None = None,
    digest: str | None = None,
) -> list[ContextRow]:
    """Reads the contexts of a selection, in no order; None: any.

    Args:
        connection: The store.
        model: A model's name.
        scenario: A scenario.
        box: A kind of box by its key, or a part of its words in any case.
        digest: A context's digest.

    Returns:
        The contexts, without counts.
    """
    statement = select(context)
    if model is not None:
        statement = statement.where(context.c.model == model)
    if scenario is not None:
        statement = statement.where(context.c.scenario == scenario)
    if box is not None:
        named = context.c.box.icontains(box, autoescape=True)
        statement = statement.where(or_(context.c.box_key == box, named))
    if digest is not None:
        statement = statement.where(context.c.digest == digest)
    return [_context_row(each) for each in connection.execute(statement)]


def contexts_by_id(connection: Connection, ids: Collection[int]) -> dict[int, ContextRow]:
    """Reads some contexts by their row ids."""
    if not ids:
        return {}
    found = connection.execute(select(context).where(context.c.id.in_(ids)))
    return {each.id: _context_row(each) for each in found}


def count_standing(
    connection: Connection,
    *,
    contexts: Collection[int] | None = None,
    setups: Collection[int] | None = None,
) -> list[StandingCount]:
    """Counts boxes by context, setup and trust; None: of all."""
    columns = (standing.c.context_id, standing.c.setup_id, standing.c.trust)
    statement = select(*columns, func.count()).group_by(*columns)
    if contexts is not None:
        statement = statement.where(standing.c.context_id.in_(contexts))
    if setups is not None:
        statement = statement.where(standing.c.setup_id.in_(setups))
    return [
        StandingCount(context_id, setup_id, Standing(trust), boxes)
        for context_id, setup_id, trust, boxes in connection.execute(statement)
    ]


def standing_in(connection: Connection, context_id: int) -> list[StandingRow]:
    """Reads the newest runs in one context, in no order: one a box, setup and trust."""
    statement = select(*STANDING_FIELDS).where(standing.c.context_id == context_id)
    return standing_rows(connection.execute(statement))


def columns_in(connection: Connection, context_id: int, setups: Collection[int]) -> StandingColumns:
    """Reads the newest runs of some setups in one context, in no order."""
    statement = select(*STANDING_NUMBERS).where(
        standing.c.context_id == context_id, standing.c.setup_id.in_(setups)
    )
    return standing_columns(connection.execute(statement))


def _context_row(found: Row[Any]) -> ContextRow:
    return ContextRow(
        found.id,
        found.digest,
        found.scenario,
        found.model,
        found.box,
        found.box_key,
        json_object(found.facts),
    )
