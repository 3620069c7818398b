"""Writes reports: a batch in one transaction, on disk when it returns.

It is not aware of HTTP or of how a report is checked. Used by the group commit of `intake` and
by the simulator's bulk loader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, and_, bindparam, case, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import OperationalError

from edgepack.hub.store import schema
from edgepack.hub.store.engine import is_sqlite, writing
from edgepack.hub.store.rows import Extracted

#: Two processes on PostgreSQL may lock the same rows in opposite order; one is told to try again.
_TRIES: Final = 5
#: PostgreSQL's codes for a deadlock and for a transaction that must be repeated.
_AGAIN: Final = frozenset({"40P01", "40001"})
#: More kinds of releases, setups and contexts than a fleet has at a time.
_MOST_KNOWN: Final = 100_000

Insert = sqlite_dialect.Insert | postgresql.Insert


@dataclass(frozen=True, slots=True)
class Accepted:
    """A report that may be written.

    Attributes:
        device_id: The key of the device whose credential brought it.
        extracted: What the tables keep of it.
        codec: How the document is packed.
        body: The packed document.
    """

    device_id: int
    extracted: Extracted
    codec: str
    body: bytes

    @property
    def report_id(self) -> str:
        """The report's UUID."""
        return str(self.extracted.report["report_id"])


class Outcome(StrEnum):
    """What became of a report: written, there already, or another one has its id."""

    NEW = "new"
    SEEN = "seen"
    CONFLICT = "conflict"


def insert_for(*, sqlite: bool) -> Callable[[Table], Insert]:
    """Returns the database's own INSERT, which knows what to do about a row that is there."""
    return sqlite_dialect.insert if sqlite else postgresql.insert


class Recorder:
    """Writes batches of reports; for one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        """Makes a recorder.

        Args:
            engine: A database at today's tables.
        """
        self._engine = writing(engine)
        self._insert = insert_for(sqlite=is_sqlite(engine))
        # Made once: composing them takes longer than running them for one report.
        self._insert_report = (
            self._insert(schema.report)
            .on_conflict_do_nothing(index_elements=["report_id"])
            .returning(schema.report.c.report_id, schema.report.c.id)
        )
        self._insert_document = schema.document.insert()
        self._insert_run = schema.run.insert()
        self._upsert_standing = _upsert_standing(self._insert(schema.standing))
        self._known: dict[tuple[str, str], int] = {}

    def record(self, batch: Sequence[Accepted]) -> list[Outcome]:
        """Writes reports in one transaction.

        Args:
            batch: The reports, of any devices; at most a few hundred.

        Returns:
            What became of each, in order. All of them are on disk.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: Nothing of the batch was written.
        """
        for left in reversed(range(_TRIES)):
            try:
                self._name_all(batch)
                with self._engine.begin() as connection:
                    return self._write(connection, batch)
            except OperationalError as error:
                if not left or getattr(error.orig, "sqlstate", None) not in _AGAIN:
                    raise
        raise AssertionError("unreachable")

    def _write(self, connection: Connection, batch: Sequence[Accepted]) -> list[Outcome]:
        before = self._find(connection, [each.report_id for each in batch])
        fresh: dict[str, Accepted] = {}
        for each in batch:
            if each.report_id not in before:
                fresh.setdefault(each.report_id, each)
        # Always in the order of devices, so that two processes do not wait for each other.
        ordered = sorted(fresh.values(), key=lambda each: (each.device_id, each.report_id))
        keys = self._insert_reports(connection, ordered)
        written = [each for each in ordered if each.report_id in keys]
        if written:
            self._insert_parts(connection, written, keys)
            self._update_devices(connection, written)
        if len(written) < len(ordered):
            # Another process was quicker with the same id.
            before |= self._find(connection, [each.report_id for each in ordered])
        return [_outcome(each, before, fresh, keys) for each in batch]

    def _find(self, connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
        found = connection.execute(_FIND, {"ids": list(ids)})
        return {report_id: (sha256, device) for report_id, sha256, device in found}

    def _insert_reports(self, connection: Connection, fresh: Sequence[Accepted]) -> dict[str, int]:
        if not fresh:
            return {}
        rows = [
            {
                **each.extracted.report,
                "device_id": each.device_id,
                "setup_id": self._key_of("setup", each.extracted.setup),
            }
            for each in fresh
        ]
        found = connection.execute(self._insert_report, rows)
        return {row.report_id: row.id for row in found}

    def _insert_parts(
        self, connection: Connection, written: Sequence[Accepted], keys: Mapping[str, int]
    ) -> None:
        documents = [
            {"report_id": keys[each.report_id], "codec": each.codec, "body": each.body}
            for each in written
        ]
        connection.execute(self._insert_document, documents)
        runs, standings = [], []
        for each in written:
            for rows in each.extracted.runs:
                context = self._key_of("context", rows.context)
                runs.append(
                    {
                        **rows.run,
                        "report_id": keys[each.report_id],
                        "device_id": each.device_id,
                        "context_id": context,
                    }
                )
                standings.append(self._standing(each, rows.trust, rows.run, context))
        if runs:
            connection.execute(self._insert_run, runs)
            connection.execute(self._upsert_standing, standings)

    def _standing(
        self, accepted: Accepted, trust: str, run: Mapping[str, Any], context: int
    ) -> dict[str, Any]:
        report = accepted.extracted.report
        names = ("created_ms", "p50_ns", "p90_ns", "p99_ns", "samples_per_second")
        return {
            "device_id": accepted.device_id,
            "setup_id": self._key_of("setup", accepted.extracted.setup),
            "context_id": context,
            "trust": trust,
            "runs": 1,
            **{name: run[name] for name in names},
            "ready_ns": report["ready_ns"],
            "rss_peak_bytes": report["rss_peak_bytes"],
        }

    def _update_devices(self, connection: Connection, written: Sequence[Accepted]) -> None:
        seen: dict[int, dict[str, Any]] = {}
        newest: dict[int, Accepted] = {}
        for each in written:
            row = seen.setdefault(each.device_id, {"key": each.device_id, "count": 0, "at": 0})
            row["count"] += 1
            row["at"] = max(row["at"], each.extracted.report["received_ms"])
            last = newest.get(each.device_id)
            if last is None or each.extracted.created_ms >= last.extracted.created_ms:
                newest[each.device_id] = each
        connection.execute(_COUNT_REPORTS, list(seen.values()))
        connection.execute(
            _TAKE_FACTS,
            [
                {
                    **{f"new_{name}": value for name, value in each.extracted.device.items()},
                    "new_release_id": self._key_of("release", each.extracted.release),
                    "new_setup_id": self._key_of("setup", each.extracted.setup),
                    "key": each.device_id,
                }
                for each in newest.values()
            ],
        )

    def _name_all(self, batch: Iterable[Accepted]) -> None:
        """Gives every release, setup and context of a batch its key.

        In a transaction of its own, and before the other: they are shared by all devices, and
        a process that held them would keep the others waiting.
        """
        wanted: dict[str, dict[str, Mapping[str, Any]]] = {
            "release": {},
            "setup": {},
            "context": {},
        }
        bundles: dict[str, str] = {}
        for each in batch:
            extracted = each.extracted
            wanted["release"][extracted.release["bundle_id"]] = extracted.release
            wanted["setup"][extracted.setup["digest"]] = extracted.setup
            bundles[extracted.setup["digest"]] = extracted.release["bundle_id"]
            for rows in extracted.runs:
                wanted["context"][rows.context["digest"]] = rows.context
        missing = {
            table: {name: row for name, row in rows.items() if (table, name) not in self._known}
            for table, rows in wanted.items()
        }
        if not any(missing.values()):
            return
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
            missing = wanted
        # Known only once they are committed: a key that was rolled back is nobody's.
        known = dict(self._known)
        with self._engine.begin() as connection:
            known |= self._name(connection, schema.release, "bundle_id", missing["release"])
            setups = {
                digest: {**row, "release_id": known["release", bundles[digest]]}
                for digest, row in missing["setup"].items()
            }
            known |= self._name(connection, schema.setup, "digest", setups)
            known |= self._name(connection, schema.context, "digest", missing["context"])
        self._known = known

    def _name(
        self,
        connection: Connection,
        table: Table,
        column: str,
        rows: Mapping[str, Mapping[str, Any]],
    ) -> dict[tuple[str, str], int]:
        if not rows:
            return {}
        ordered = [dict(rows[name]) for name in sorted(rows)]
        connection.execute(
            self._insert(table).on_conflict_do_nothing(index_elements=[column]), ordered
        )
        found = connection.execute(
            select(table.c[column], table.c.id).where(table.c[column].in_(list(rows)))
        )
        return {(table.name, name): key for name, key in found}

    def _key_of(self, table: str, row: Mapping[str, Any]) -> int:
        return self._known[table, row["bundle_id" if table == "release" else "digest"]]


def _upsert_standing(statement: Insert) -> Insert:
    table, excluded = schema.standing, statement.excluded
    newer = excluded.created_ms >= table.c.created_ms
    keys = set(table.primary_key.columns.keys())
    values: dict[str, Any] = {
        name: case((newer, excluded[name]), else_=table.c[name])
        for name in table.c.keys()  # noqa: SIM118 - a collection of columns is no mapping
        if name not in keys
    }
    values["runs"] = table.c.runs + 1
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=values
    )


def _outcome(
    accepted: Accepted,
    before: Mapping[str, tuple[str, int]],
    fresh: Mapping[str, Accepted],
    keys: Mapping[str, int],
) -> Outcome:
    first = fresh.get(accepted.report_id)
    if first is accepted and accepted.report_id in keys:
        return Outcome.NEW
    if accepted.report_id in before:
        there = before[accepted.report_id]
    else:
        assert first is not None  # noqa: S101 - what is not there before is in the batch
        there = (first.extracted.report["sha256"], first.device_id)
    same = there == (accepted.extracted.report["sha256"], accepted.device_id)
    return Outcome.SEEN if same else Outcome.CONFLICT


_FIND: Final = select(
    schema.report.c.report_id, schema.report.c.sha256, schema.report.c.device_id
).where(schema.report.c.report_id.in_(bindparam("ids", expanding=True)))
_COUNT_REPORTS: Final = (
    update(schema.device)
    .where(schema.device.c.id == bindparam("key"))
    .values(
        reports=schema.device.c.reports + bindparam("count"),
        seen_ms=case(
            (
                and_(
                    schema.device.c.seen_ms.is_not(None), schema.device.c.seen_ms > bindparam("at")
                ),
                schema.device.c.seen_ms,
            ),
            else_=bindparam("at"),
        ),
    )
)
_FACTS: Final = (
    *("reported_ms", "release_id", "setup_id", "box", "grade", "condition", "rank"),
    *("p50_ns", "p99_ns", "temperature_mc"),
)
_TAKE_FACTS: Final = (
    update(schema.device)
    .where(
        schema.device.c.id == bindparam("key"),
        or_(
            schema.device.c.reported_ms.is_(None),
            schema.device.c.reported_ms <= bindparam("new_reported_ms"),
        ),
    )
    .values(**{name: bindparam(f"new_{name}") for name in _FACTS})
)
