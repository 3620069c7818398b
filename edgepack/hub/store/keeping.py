"""Drops what is old: first documents, then reports, and for longer keeps a row for each day.

It is not aware of when it is called. Used by `edgepack hub prune` and by the serving process.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, delete, select

from edgepack.hub.answers.trust import standing_of
from edgepack.hub.store.engine import is_sqlite, writing
from edgepack.hub.store.recording import insert_for
from edgepack.hub.store.schema import document, history, report, run

_DAY_MS: Final = 86_400_000
#: Reports of one transaction: short enough that those who send do not notice.
_STEP: Final = 500


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days what is kept.

    Attributes:
        documents: The reports as they were sent.
        reports: Their facts and runs.
        history: A row a day for each device, setup and context.
    """

    documents: int = 90
    reports: int = 180
    history: int = 800


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was dropped."""

    documents: int
    reports: int
    days: int


def prune(engine: Engine, retention: Retention, now_ms: int) -> Pruned:
    """Drops what is older than it is to be kept, in short transactions.

    A report's runs are rolled up into `history` in the transaction that drops them, so each
    counts once whenever this is cut short.

    Args:
        engine: A database at today's tables.
        retention: How long what is kept.
        now_ms: Now.

    Returns:
        How much was dropped.
    """
    documents = reports = 0
    limit = now_ms - retention.documents * _DAY_MS
    while dropped := _drop_documents(engine, limit):
        documents += dropped
    limit = now_ms - retention.reports * _DAY_MS
    while dropped := _roll_up(engine, limit):
        reports += dropped
    with writing(engine).begin() as connection:
        first_day = (now_ms - retention.history * _DAY_MS) // _DAY_MS
        days = connection.execute(delete(history).where(history.c.day < first_day)).rowcount
    return Pruned(documents, reports, days)


def _drop_documents(engine: Engine, limit_ms: int) -> int:
    old = (
        select(document.c.report_id)
        .join(report, report.c.id == document.c.report_id)
        .where(report.c.received_ms < limit_ms)
        .order_by(report.c.received_ms)
        .limit(_STEP)
    )
    with writing(engine).begin() as connection:
        keys = connection.execute(old).scalars().all()
        if keys:
            connection.execute(delete(document).where(document.c.report_id.in_(keys)))
    return len(keys)


def _roll_up(engine: Engine, limit_ms: int) -> int:
    """Rolls up whole days of a device at a time: a median of medians cannot be added to."""
    with writing(engine).begin() as connection:
        first = connection.execute(
            select(report.c.device_id, report.c.created_ms)
            .where(report.c.received_ms < limit_ms)
            .order_by(report.c.received_ms)
            .limit(1)
        ).one_or_none()
        if first is None:
            return 0
        until = (first.created_ms // _DAY_MS + 1) * _DAY_MS
        keys = (
            connection.execute(
                select(report.c.id).where(
                    report.c.device_id == first.device_id,
                    report.c.created_ms < until,
                    report.c.created_ms >= until - _DAY_MS,
                    report.c.received_ms < limit_ms,
                )
            )
            .scalars()
            .all()
        )
        rows = connection.execute(_wanted(keys)).mappings().all()
        _write_days(connection, _days(rows), sqlite=is_sqlite(engine))
        for table, column in ((document, "report_id"), (run, "report_id"), (report, "id")):
            connection.execute(delete(table).where(table.c[column].in_(keys)))
    return len(keys)


def _wanted(keys: Sequence[int]) -> Any:
    facts = report.c
    return (
        select(
            *(run.c.device_id, run.c.context_id, run.c.created_ms, run.c.valid, run.c.p50_ns),
            *(run.c.p99_ns, facts.setup_id, facts.grade, facts.emulated, facts.golden_ok),
            *(facts.ready_ns, facts.rss_peak_bytes, facts.temperature_mc, facts.throttled),
        )
        .join(report, facts.id == run.c.report_id)
        .where(facts.id.in_(keys))
    )


def _days(rows: Iterable[Any]) -> list[dict[str, Any]]:
    groups: dict[tuple[int, int, int, str, int], list[Any]] = defaultdict(list)
    for row in rows:
        trust = standing_of(
            row["grade"],
            emulated=row["emulated"],
            valid=row["valid"],
            golden_ok=row["golden_ok"],
        )
        day = row["created_ms"] // _DAY_MS
        groups[row["device_id"], row["setup_id"], row["context_id"], str(trust), day].append(row)
    return [_day(key, found) for key, found in sorted(groups.items())]


def _day(key: tuple[int, int, int, str, int], rows: Sequence[Any]) -> dict[str, Any]:
    device_id, setup_id, context_id, trust, day = key
    medians = sorted(row["p50_ns"] for row in rows if row["p50_ns"] is not None)
    return {
        "device_id": device_id,
        "setup_id": setup_id,
        "context_id": context_id,
        "trust": trust,
        "day": day,
        "runs": len(rows),
        "p50_min_ns": medians[0] if medians else None,
        "p50_ns": statistics.median_low(medians) if medians else None,
        "p50_max_ns": medians[-1] if medians else None,
        "p99_ns": _largest(rows, "p99_ns"),
        "ready_ns": _largest(rows, "ready_ns"),
        "rss_peak_bytes": _largest(rows, "rss_peak_bytes"),
        "temperature_mc": _largest(rows, "temperature_mc"),
        "throttled": sum(bool(row["throttled"]) for row in rows),
    }


def _largest(rows: Sequence[Any], name: str) -> int | None:
    return max((row[name] for row in rows if row[name] is not None), default=None)


def _write_days(connection: Connection, days: Sequence[dict[str, Any]], *, sqlite: bool) -> None:
    if not days:
        return
    statement = insert_for(sqlite=sqlite)(history)
    # A report that came months late finds its day written already: the larger sample stays.
    keys = list(history.primary_key.columns)
    names = [name for name in days[0] if name not in history.primary_key.columns]
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=keys,
            set_={name: statement.excluded[name] for name in names},
            where=statement.excluded.runs >= history.c.runs,
        ),
        list(days),
    )
