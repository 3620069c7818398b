"""Reads devices: how many of what, and a page of them with the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import Case, ColumnElement, Connection, Row, Select, and_, case, func, or_, select

from edgepack.hub.answers.fleet import DeviceCount, FleetQuery
from edgepack.hub.answers.health import RANKS, SILENT_AFTER_MS, Condition
from edgepack.hub.answers.rows import DeviceRow, ReleaseRow, SetupRow
from edgepack.hub.store.reading.releases import releases_by_id, setups_by_id
from edgepack.hub.store.schema import device, release

_SILENT_RANK: Final = RANKS[Condition.SILENT]


def count_devices(connection: Connection, *, text: str, now_ms: int) -> list[DeviceCount]:
    """Counts the devices that are not revoked, by everything a filter asks for.

    Args:
        connection: The store.
        text: Part of a name or label; empty for all.
        now_ms: When silence is judged.

    Returns:
        The counts, in no order.
    """
    condition = _condition(now_ms)
    columns = (condition, device.c.grade, device.c.release_id, device.c.box)
    found = connection.execute(
        select(*columns, func.count())
        .where(device.c.revoked_ms.is_(None), *_text(text))
        .group_by(*columns)
    )
    return [
        DeviceCount(Condition(condition), grade, release_id, box, devices)
        for condition, grade, release_id, box, devices in found
    ]


def read_devices(connection: Connection, query: FleetQuery, *, now_ms: int) -> list[DeviceRow]:
    """Reads a page of devices: the worst first, of equals the one that was seen last.

    Args:
        connection: The store.
        query: Which, how many, from where on.
        now_ms: When silence is judged.

    Returns:
        At most `query.limit` devices.
    """
    statement = (
        _devices(now_ms)
        .where(device.c.revoked_ms.is_(None), *_filters(query, now_ms))
        # Without the name two pages could show one device twice and another one never.
        .order_by(_rank(now_ms), func.coalesce(device.c.seen_ms, 0).desc(), device.c.name)
        .limit(query.limit)
        .offset(query.offset)
    )
    return _rows(connection, connection.execute(statement).all())


def find_device(connection: Connection, name: str, *, now_ms: int) -> DeviceRow | None:
    """Reads one device, revoked or not, or None."""
    found = connection.execute(_devices(now_ms).where(device.c.name == name)).all()
    rows = _rows(connection, found)
    return rows[0] if rows else None


def device_names(connection: Connection, *, like: str = "", limit: int = 1000) -> list[str]:
    """Reads names of devices that are not revoked, for suggestions; `like` as a query's text."""
    statement = select(device.c.name).where(device.c.revoked_ms.is_(None), *_text(like))
    return list(connection.execute(statement.order_by(device.c.name).limit(limit)).scalars())


def _devices(now_ms: int) -> Select[Any]:
    kept = [each for each in device.c if each.name not in ("condition", "rank")]
    return select(*kept, _condition(now_ms).label("condition"), _silent(now_ms).label("silent"))


def _filters(query: FleetQuery, now_ms: int) -> list[ColumnElement[bool]]:
    filters = _text(query.text)
    if query.condition is not None:
        filters.append(_condition(now_ms) == query.condition)
    if query.grade is not None:
        filters.append(device.c.grade == query.grade)
    if query.box is not None:
        filters.append(device.c.box == query.box)
    if query.target is not None:
        of_target = select(release.c.id).where(release.c.target == query.target)
        filters.append(device.c.release_id.in_(of_target))
    if query.release is not None:
        of_bundle = select(release.c.id).where(release.c.bundle_id == query.release)
        filters.append(device.c.release_id.in_(of_bundle))
    return filters


def _text(text: str) -> list[ColumnElement[bool]]:
    if not text:
        return []
    columns = (device.c.name, device.c.label)
    return [or_(*(each.icontains(text, autoescape=True) for each in columns))]


def _silent(now_ms: int) -> ColumnElement[bool]:
    return or_(device.c.seen_ms.is_(None), device.c.seen_ms < now_ms - SILENT_AFTER_MS)


def _rank(now_ms: int) -> Case[int]:
    """The place in the order of attention; silence outranks only what is less bad."""
    hidden = and_(_silent(now_ms), device.c.rank > _SILENT_RANK)
    return case((hidden, _SILENT_RANK), else_=device.c.rank)


def _condition(now_ms: int) -> Case[str]:
    hidden = and_(_silent(now_ms), device.c.rank > _SILENT_RANK)
    return case((hidden, str(Condition.SILENT)), else_=device.c.condition)


def _rows(connection: Connection, found: Sequence[Row[Any]]) -> list[DeviceRow]:
    releases = releases_by_id(connection, _known(each.release_id for each in found))
    setups = setups_by_id(connection, _known(each.setup_id for each in found))
    return [_device_row(each, releases, setups) for each in found]


def _known(ids: Iterable[int | None]) -> set[int]:
    return {each for each in ids if each is not None}


def _device_row(
    found: Row[Any], releases: dict[int, ReleaseRow], setups: dict[int, SetupRow]
) -> DeviceRow:
    return DeviceRow(
        id=found.id,
        name=found.name,
        label=found.label,
        enrolled_ms=found.enrolled_ms,
        revoked_ms=found.revoked_ms,
        reports=found.reports,
        seen_ms=found.seen_ms,
        reported_ms=found.reported_ms,
        condition=Condition(found.condition),
        silent=bool(found.silent),
        grade=found.grade,
        box=found.box,
        p50_ns=found.p50_ns,
        p99_ns=found.p99_ns,
        temperature_mc=found.temperature_mc,
        release=releases.get(found.release_id),
        setup=setups.get(found.setup_id),
    )
