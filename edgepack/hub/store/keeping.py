"""Drops what is old: first documents, then reports, and for longer keeps a row for each day.

It is not aware of when it is called. Used by `edgepack hub prune` and by the serving process.
"""

from __future__ import annotations

import contextlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, and_, bindparam, delete, func, or_, select

from edgepack.hub.answers.trust import standing_of
from edgepack.hub.store.engine import is_sqlite, writing
from edgepack.hub.store.recording import insert_for
from edgepack.hub.store.schema import device, document, history, report, run, setup, standing

_DAY_MS: Final = 86_400_000
#: Rows of one transaction: short enough that those who send do not notice.
_STEP: Final = 500
#: Any number that nobody else locks in the same database: "edgepack" in the keys of a telephone.
_LOCK: Final = 33_437_225


@dataclass(frozen=True, slots=True)
class Retention:
    """For how many days what is kept.

    Attributes:
        documents: The reports as they were sent.
        reports: Their facts and runs.
        history: A row a day for each device, setup and context.
        standings: The newest run of a device on a release that it is not on any more.
    """

    documents: int = 90
    reports: int = 180
    history: int = 800
    standings: int = 400

    def problem(self) -> str | None:
        """Says in words why these cannot be used; None: they can."""
        if not self.documents <= self.reports <= self.history:
            return "expected --documents at most --reports, and that at most --history"
        if self.standings < self.reports:
            return "expected --standings to be no less than --reports"
        return None


@dataclass(frozen=True, slots=True)
class Pruned:
    """How much was dropped."""

    documents: int = 0
    reports: int = 0
    days: int = 0
    standings: int = 0


def prune(
    engine: Engine,
    retention: Retention,
    now_ms: int,
    *,
    go_on: Callable[[], bool] = lambda: True,
) -> Pruned | None:
    """Drops what is older than it is to be kept, in short transactions.

    A report's runs are rolled up into `history` in the transaction that drops them, so each
    counts once whenever this is cut short. What is old is looked for outside of the transactions
    that drop it, so that on SQLite no writer waits for the search.

    Args:
        engine: A database at today's tables.
        retention: How long what is kept.
        now_ms: Now.
        go_on: Asked after each transaction; it may take its time. False ends it.

    Returns:
        How much was dropped; None when another process is at it.
    """
    limit_ms = partial(_days_ago, now_ms)
    first_day = limit_ms(retention.history) // _DAY_MS
    steps: dict[str, Iterator[int]] = {
        "documents": _drop_documents(engine, limit_ms(retention.documents)),
        "reports": iter(partial(_roll_up, engine, limit_ms(retention.reports)), 0),
        "days": iter(partial(_drop_days, engine, first_day), 0),
        "standings": _drop_standings(engine, limit_ms(retention.standings)),
    }
    dropped: Counter[str] = Counter()
    with _alone(engine) as alone:
        if not alone:
            return None
        for name, counts in steps.items():
            for count in counts:
                dropped[name] += count
                if not go_on():
                    return Pruned(**dropped)
    return Pruned(**dropped)


@contextlib.contextmanager
def _alone(engine: Engine) -> Iterator[bool]:
    """Keeps every other process from pruning; yields whether it could.

    On SQLite each transaction that writes finds what is there when its turn comes, so that two
    processes only take the work from each other. PostgreSQL's lock ends with its connection,
    also when this process is killed.
    """
    if is_sqlite(engine):
        yield True
        return
    # Without a transaction, which would keep PostgreSQL from clearing dead rows meanwhile.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        alone = connection.execute(select(func.pg_try_advisory_lock(_LOCK))).scalar_one()
        try:
            yield alone
        finally:
            if alone:
                connection.execute(select(func.pg_advisory_unlock(_LOCK)))


def _days_ago(now_ms: int, days: int) -> int:
    return now_ms - days * _DAY_MS


def _drop_documents(engine: Engine, limit_ms: int) -> Iterator[int]:
    since_ms = 0
    while True:
        old = (
            select(document.c.report_id, report.c.received_ms)
            .join(report, report.c.id == document.c.report_id)
            # From where the last step was: before lie reports without a document.
            .where(report.c.received_ms < limit_ms, report.c.received_ms >= since_ms)
            .order_by(report.c.received_ms)
            .limit(_STEP)
        )
        with engine.connect() as connection:
            found = connection.execute(old).all()
        if not found:
            return
        keys = [row.report_id for row in found]
        with writing(engine).begin() as connection:
            connection.execute(delete(document).where(document.c.report_id.in_(keys)))
        since_ms = found[-1].received_ms
        yield len(keys)


def _drop_days(engine: Engine, first_day: int) -> int:
    keys = list(history.primary_key.columns)
    with engine.connect() as connection:
        old = select(*keys).where(history.c.day < first_day).limit(_STEP)
        found = connection.execute(old).mappings().all()
    return _drop_rows(engine, history, found)


def _drop_standings(engine: Engine, limit_ms: int) -> Iterator[int]:
    """Goes through the devices, some at a time: no index knows the age of a standing."""
    keys = list(standing.primary_key.columns)
    last = 0
    while True:
        with engine.connect() as connection:
            some = select(device.c.id).where(device.c.id > last).order_by(device.c.id).limit(_STEP)
            devices = connection.execute(some).scalars().all()
            if not devices:
                return
            old = (
                select(*keys)
                .join(setup, setup.c.id == standing.c.setup_id)
                .join(device, device.c.id == standing.c.device_id)
                .where(standing.c.device_id > last, standing.c.device_id <= devices[-1])
                .where(standing.c.created_ms < limit_ms)
                # What a box runs now is told of it however long it has been silent.
                .where(
                    or_(device.c.release_id.is_(None), device.c.release_id != setup.c.release_id)
                )
            )
            found = connection.execute(old).mappings().all()
        last = devices[-1]
        for begin in range(0, len(found), _STEP):
            rows = found[begin : begin + _STEP]
            yield _drop_rows(engine, standing, rows, standing.c.created_ms < limit_ms)
        yield 0


def _drop_rows(engine: Engine, table: Table, rows: Sequence[Any], *also: Any) -> int:
    """Drops rows by their keys, where they still are as they were found."""
    if not rows:
        return 0
    keys = table.primary_key.columns
    # A name of its own: `device_id` alone would be a value to set.
    one = and_(*(key == bindparam(f"old_{key.name}") for key in keys), *also)
    with writing(engine).begin() as connection:
        connection.execute(
            delete(table).where(one),
            [{f"old_{name}": value for name, value in row.items()} for row in rows],
        )
    return len(rows)


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
