"""Reads releases and setups, and which boxes ran two releases."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select

from edgepack.hub.answers.columns import StandingColumns
from edgepack.hub.answers.rows import ReleaseRow, SetupRow
from edgepack.hub.answers.trust import Standing
from edgepack.hub.store.reading.standing import STANDING_NUMBERS, standing_columns
from edgepack.hub.store.schema import device, release, setup, standing

#: From how many boxes it is told which release came before another.
_SAMPLE: Final = 1000
#: SQLite takes 32,766 values in one statement, PostgreSQL 65,535.
_VALUES: Final = 30_000


def list_releases(
    connection: Connection, *, model: str | None = None, target: str | None = None
) -> list[ReleaseRow]:
    """Reads releases with how many boxes have each now, the newest first.

    Args:
        connection: The store.
        model: Only of this model.
        target: Only for this target.

    Returns:
        The releases.
    """
    statement = select(release).order_by(release.c.first_seen_ms.desc(), release.c.id.desc())
    if model is not None:
        statement = statement.where(release.c.model == model)
    if target is not None:
        statement = statement.where(release.c.target == target)
    now_on = (
        select(device.c.release_id, func.count().label("devices"))
        .where(device.c.revoked_ms.is_(None))
        .group_by(device.c.release_id)
    )
    counts = {each.release_id: each.devices for each in connection.execute(now_on)}
    return [_release_row(each, counts.get(each.id, 0)) for each in connection.execute(statement)]


def find_release(connection: Connection, bundle_id: str) -> ReleaseRow | None:
    """Reads one release, or None; a unique beginning of at least eight digits will do."""
    exact = connection.execute(select(release).where(release.c.bundle_id == bundle_id)).first()
    if exact is not None:
        return _release_row(exact)
    if len(bundle_id) < 8:  # noqa: PLR2004 - fewer digits are soon not unique
        return None
    begins = release.c.bundle_id.startswith(bundle_id, autoescape=True)
    found = connection.execute(select(release).where(begins).limit(2)).all()
    return _release_row(found[0]) if len(found) == 1 else None


def releases_by_id(connection: Connection, ids: Collection[int]) -> dict[int, ReleaseRow]:
    """Reads some releases by their row ids."""
    if not ids:
        return {}
    found = connection.execute(select(release).where(release.c.id.in_(ids)))
    return {each.id: _release_row(each) for each in found}


def setups_by_id(connection: Connection, ids: Collection[int]) -> dict[int, SetupRow]:
    """Reads some setups with their releases by their row ids."""
    wanted = sorted(ids)
    found: list[Row[Any]] = []
    for start in range(0, len(wanted), _VALUES):
        part = wanted[start : start + _VALUES]
        found += connection.execute(select(setup).where(setup.c.id.in_(part))).all()
    releases = releases_by_id(connection, {each.release_id for each in found})
    return {each.id: _setup_row(each, releases[each.release_id]) for each in found}


def setups_of(
    connection: Connection, *, target: str | None = None, model: str | None = None
) -> dict[int, SetupRow]:
    """Reads the setups of all releases of a target and a model, by row id."""
    statement = select(setup.c.id).join(release, release.c.id == setup.c.release_id)
    if target is not None:
        statement = statement.where(release.c.target == target)
    if model is not None:
        statement = statement.where(release.c.model == model)
    return setups_by_id(connection, connection.execute(statement).scalars().all())


def setups_of_release(connection: Connection, release_id: int) -> dict[int, SetupRow]:
    """Reads the setups of one release, by row id."""
    statement = select(setup.c.id).where(setup.c.release_id == release_id)
    return setups_by_id(connection, connection.execute(statement).scalars().all())


def columns_of_setups(connection: Connection, setups: Collection[int]) -> StandingColumns:
    """Reads the newest runs of some setups, emulated ones left out, context by context."""
    kept = (Standing.TRUSTED, Standing.DOUBTFUL)
    of_setups = (standing.c.setup_id.in_(setups), standing.c.trust.in_(kept))
    # The index by setup says in which contexts; with these the rows lie side by side. Without,
    # each is looked up by itself, which takes three times as long.
    contexts = connection.execute(select(standing.c.context_id).where(*of_setups).distinct())
    in_contexts = standing.c.context_id.in_(contexts.scalars().all())
    statement = select(*STANDING_NUMBERS).where(in_contexts, *of_setups)
    # The order of the key makes SQLite read along it; by itself it would take the index again.
    return standing_columns(connection.execute(statement.order_by(*standing.primary_key)))


def shared_boxes(connection: Connection, after: ReleaseRow) -> list[tuple[ReleaseRow, int]]:
    """Finds earlier releases of the same model and target on the boxes of one.

    Args:
        connection: The store.
        after: The later release.

    Returns:
        Each with how many of a sample of the release's boxes have a trusted run of it too: the
        most first, of equals the newest.
    """
    earlier = [
        each
        for each in list_releases(connection, model=after.model, target=after.target)
        if each.first_seen_ms < after.first_seen_ms and each.id != after.id
    ]
    ours = connection.execute(select(setup.c.id).where(setup.c.release_id == after.id)).scalars()
    sample = (
        select(standing.c.device_id)
        .where(standing.c.setup_id.in_(ours.all()), standing.c.trust == Standing.TRUSTED)
        .distinct()
        .order_by(standing.c.device_id)
        .limit(_SAMPLE)
        .subquery()
    )
    there = sample.join(standing, standing.c.device_id == sample.c.device_id).join(
        setup, setup.c.id == standing.c.setup_id
    )
    statement = (
        select(setup.c.release_id, func.count(standing.c.device_id.distinct()).label("boxes"))
        .select_from(there)
        .where(standing.c.trust == Standing.TRUSTED)
        .group_by(setup.c.release_id)
    )
    shared = {each.release_id: each.boxes for each in connection.execute(statement)}
    # The list is the newest first, and sorting keeps that order among equals.
    return sorted(
        ((each, shared.get(each.id, 0)) for each in earlier), key=lambda pair: pair[1], reverse=True
    )


def _release_row(found: Row[Any], devices: int | None = None) -> ReleaseRow:
    return ReleaseRow(
        found.id,
        found.bundle_id,
        found.target,
        found.model,
        found.version,
        found.architecture,
        found.first_seen_ms,
        devices,
    )


def _setup_row(found: Row[Any], of: ReleaseRow) -> SetupRow:
    return SetupRow(
        id=found.id,
        release=of,
        variant=found.variant,
        format=found.format,
        precision=found.precision,
        model_sha256=found.model_sha256,
        size_bytes=found.size_bytes,
        runtime=found.runtime,
        runtime_version=found.runtime_version,
        provider=found.provider,
        threads=found.threads,
        options=json_object(found.options),
        quality=json_object(found.quality),
    )


def json_object(text: str) -> dict[str, Any]:
    """Parses a column that holds a JSON object, `null` or nothing; empty for the last two."""
    value = json.loads(text) if text else None
    return value if isinstance(value, dict) else {}
