"""Reads one box: its reports, its runs, its days, and the documents it sent."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from edgepack.hub.answers.health import Condition
from edgepack.hub.answers.rows import HistoryRow, ReportRow, RunRow
from edgepack.hub.answers.trust import Standing
from edgepack.hub.store.documents import unpack
from edgepack.hub.store.schema import device, document, history, report, run


def read_reports(
    connection: Connection, device_id: int, *, since_ms: int, limit: int
) -> list[ReportRow]:
    """Reads a box's reports, the newest first.

    Args:
        connection: The store.
        device_id: The box's row.
        since_ms: Nothing that was made earlier.
        limit: The most that are read.

    Returns:
        The reports.
    """
    statement = (
        select(report)
        .where(report.c.device_id == device_id, report.c.created_ms >= since_ms)
        .order_by(report.c.created_ms.desc(), report.c.id.desc())
        .limit(limit)
    )
    return [_report_row(each) for each in connection.execute(statement)]


def read_runs(connection: Connection, device_id: int, *, since_ms: int) -> list[RunRow]:
    """Reads a box's runs, the oldest first; nothing that was made before `since_ms`."""
    columns = [run.c[name] for name in RunRow.__dataclass_fields__]
    statement = (
        select(*columns)
        .where(run.c.device_id == device_id, run.c.created_ms >= since_ms)
        .order_by(run.c.created_ms, run.c.id)
    )
    return [RunRow(*each) for each in connection.execute(statement)]


def read_history(connection: Connection, device_id: int, *, since_day: int) -> list[HistoryRow]:
    """Reads a box's days from before its reports, the oldest first."""
    columns = [history.c[name] for name in HistoryRow.__dataclass_fields__]
    statement = (
        select(*columns)
        .where(history.c.device_id == device_id, history.c.day >= since_day)
        .order_by(history.c.day)
    )
    return [
        HistoryRow(setup_id, context_id, Standing(trust), *rest)
        for setup_id, context_id, trust, *rest in connection.execute(statement)
    ]


def read_document(connection: Connection, name: str, report_id: str) -> bytes | None:
    """Reads the bytes of a report as a box sent it.

    Args:
        connection: The store.
        name: The box that must have sent it.
        report_id: The report.

    Returns:
        The bytes, or None where there is no such report or its document was dropped.

    Raises:
        HubError: The document is damaged.
    """
    of_report = report.join(document, document.c.report_id == report.c.id)
    of_device = of_report.join(
        device, and_(device.c.id == report.c.device_id, device.c.name == name)
    )
    statement = select(document.c.codec, document.c.body).select_from(of_device)
    found = connection.execute(statement.where(report.c.report_id == report_id)).first()
    return None if found is None else unpack(found.codec, found.body)


def _report_row(found: Row[Any]) -> ReportRow:
    fields = found._mapping  # noqa: SLF001 - SQLAlchemy's public name begins so
    kept = {name: fields[name] for name in ReportRow.__dataclass_fields__}
    kept["reasons"] = _reasons(found.reasons)
    kept["condition"] = Condition(found.condition)
    return ReportRow(**kept)


def _reasons(text: str) -> tuple[str, ...]:
    value = json.loads(text) if text else []
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
