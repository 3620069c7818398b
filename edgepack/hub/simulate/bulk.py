"""Fills a store with a large fleet, for the timing of pages; not through the API.

Some boxes, the archetypes, are simulated and recorded report by report as the hub does it. Every
other box is a copy of one of them with an id of its own, some hours earlier: its rows are the
archetype's with their times moved, its documents the archetype's with their own ids, boxes and
times, so that each row still says what its document says. It is not aware of HTTP. Used by the
command line and the benchmarks.
"""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, RowMapping, Table, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import HubError
from edgepack.formats.report import Report
from edgepack.hub.intake.extract import extract
from edgepack.hub.simulate.bodies import Mould
from edgepack.hub.simulate.boxes import Box
from edgepack.hub.simulate.reports import rfc3339
from edgepack.hub.simulate.timeline import Plan, deliveries, make_fleet, report_of
from edgepack.hub.store import schema
from edgepack.hub.store.documents import Codec, pack
from edgepack.hub.store.engine import is_sqlite, writing
from edgepack.hub.store.recording import Accepted, Recorder

#: Reports of one transaction.
_BATCH: Final = 100
_CHUNK: Final = 4_000
_HOUR_MS: Final = 3_600_000
_LATEST_HOURS: Final = 20

_Value = TypeVar("_Value")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Filled:
    """What a store was filled with.

    Attributes:
        devices: Boxes.
        archetypes: Those of them that were simulated.
        reports: Reports of all.
        documents: How many of them have their document.
    """

    devices: int
    archetypes: int
    reports: int
    documents: int


@dataclass(frozen=True, slots=True)
class _Clone:
    """A copy of a box: its key, its name, and how much earlier everything happened to it."""

    key: int
    name: str
    earlier_ms: int


def fill_store(
    engine: Engine,
    plan: Plan,
    *,
    archetypes: int = 100,
    documents: bool = True,
    progress: Progress = lambda _done, _all: None,
) -> Filled:
    """Fills a store.

    Args:
        engine: A database at today's tables.
        plan: The fleet.
        archetypes: How many of its boxes are simulated; the others are copies of them.
        documents: Whether copies have documents too; without them a store is a fifth as large.
        progress: Told how many reports are written, of about how many.

    Returns:
        What it was filled with.

    Raises:
        HubError: The store has some of these boxes already.
    """
    simulated = replace(plan, devices=min(plan.devices, archetypes))
    fleet = make_fleet(simulated)
    keys = _enrol(engine, plan, [(box.device_id, _label(box)) for box in fleet])
    moulds = _record(engine, simulated, fleet, keys)
    written = len(moulds)
    total = written * plan.devices // max(len(fleet), 1)
    progress(written, total)
    clones = _make_clones(engine, plan, fleet, keys)
    rows = _Rows(engine, documents=documents)
    for done in rows.copy(moulds, clones):
        progress(written + done, total)
    _copy_ends(engine, clones)
    _tidy(engine)
    copied = rows.written
    kept = written + (copied if documents else 0)
    return Filled(plan.devices, len(fleet), written + copied, kept)


def _batched(values: Iterable[_Value], size: int) -> Iterator[list[_Value]]:
    left = iter(values)
    while chunk := list(islice(left, size)):
        yield chunk


def _label(box: Box) -> str:
    shown = box.text is not None and box.text.isprintable()
    return str(box.text) if shown else f"{box.kind.key} {box.number:05d}"


def _enrol(engine: Engine, plan: Plan, named: Sequence[tuple[str, str]]) -> list[int]:
    """Makes devices; returns their keys in the same order."""
    rows = [
        {"name": name, "label": label, "enrolled_ms": plan.begin_ms - 86_400_000}
        for name, label in named
    ]
    found: dict[str, int] = {}
    try:
        with writing(engine).begin() as connection:
            for chunk in _batched(rows, _CHUNK):
                connection.execute(insert(schema.device), chunk)
            for names in _batched((name for name, _ in named), 500):
                wanted = select(schema.device.c.name, schema.device.c.id)
                here = connection.execute(wanted.where(schema.device.c.name.in_(names)))
                found |= {row.name: row.id for row in here}
    except IntegrityError as error:
        raise HubError(
            "the store has some of these boxes already",
            hint="take another --seed, or another --store",
        ) from error
    return [found[name] for name, _ in named]


def _record(
    engine: Engine, plan: Plan, fleet: Sequence[Box], keys: Sequence[int]
) -> dict[str, Mould]:
    """Records the archetypes' reports as the hub does; returns a mould of each by its id."""
    recorder = Recorder(engine)
    moulds: dict[str, Mould] = {}
    for chunk in _batched(_accepted(plan, fleet, keys, moulds), _BATCH):
        recorder.record(chunk)
    return moulds


def _accepted(
    plan: Plan, fleet: Sequence[Box], keys: Sequence[int], moulds: dict[str, Mould]
) -> Iterator[Accepted]:
    for delivery in deliveries(plan, fleet):
        for planned in () if delivery.again else delivery.reports:
            report = report_of(plan, planned)
            moulds[report.report_id] = Mould(report)
            yield _accept(report, keys[planned.box.number], delivery.at_ms)


def _accept(report: Report, device_key: int, received_ms: int) -> Accepted:
    data = report.to_bytes()
    extracted = extract(report, sha256=sha256_hex(data), received_ms=received_ms)
    codec, body = pack(data)
    return Accepted(device_key, extracted, str(codec), body)


def _make_clones(
    engine: Engine, plan: Plan, fleet: Sequence[Box], keys: Sequence[int]
) -> dict[int, list[_Clone]]:
    """Makes the copies' devices; returns them by their archetype's key."""
    chance = random.Random(f"{plan.seed}/clones")  # noqa: S311 - a made-up fleet, not a secret
    numbers = range(len(fleet), plan.devices)
    names = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in numbers]
    kinds = [fleet[number % len(fleet)].kind.key for number in numbers]
    labels = [f"{kind} {number:05d}" for kind, number in zip(kinds, numbers, strict=True)]
    made = _enrol(engine, plan, list(zip(names, labels, strict=True)))
    clones: dict[int, list[_Clone]] = defaultdict(list)
    for number, name, key in zip(numbers, names, made, strict=True):
        earlier_ms = chance.randrange(_LATEST_HOURS * _HOUR_MS) // 1000 * 1000
        clones[keys[number % len(fleet)]].append(_Clone(key, name, earlier_ms))
    return clones


class _Rows:
    """Writes the copies' reports, runs and documents, about in the order of their arrival."""

    def __init__(self, engine: Engine, *, documents: bool) -> None:
        self.written = 0
        self._engine = writing(engine)
        self._documents = documents
        self._ids = random.Random(0)  # noqa: S311 - as above
        self._waiting: dict[Table, list[dict[str, Any]]] = defaultdict(list)

    def copy(
        self, moulds: Mapping[str, Mould], clones: Mapping[int, Sequence[_Clone]]
    ) -> Iterator[int]:
        """Writes all; yields how many reports are done, now and then."""
        report, run = schema.report, schema.run
        with self._engine.connect() as connection:
            ordered = select(report).order_by(report.c.received_ms, report.c.id)
            archetypes = list(connection.execute(ordered).mappings())
            runs: dict[int, list[RowMapping]] = defaultdict(list)
            for each in connection.execute(select(run).order_by(run.c.id)).mappings():
                runs[each["report_id"]].append(each)
            key = connection.execute(select(func.max(report.c.id))).scalar_one() or 0
        created = {each: datetime.fromisoformat(mould.created) for each, mould in moulds.items()}
        self._ids.seed(key)
        for row in archetypes:
            # What the store had before is nobody's archetype.
            for clone in clones.get(row["device_id"], ()) if row["report_id"] in moulds else ():
                key += 1
                moment = int(created[row["report_id"]].timestamp() * 1000) - clone.earlier_ms
                self._add(row, runs[row["id"]], clone, key, moulds[row["report_id"]], moment)
                if len(self._waiting[report]) >= _CHUNK:
                    self._flush()
                    yield self.written
        self._flush()
        yield self.written

    def _add(
        self,
        row: RowMapping,
        runs: Sequence[RowMapping],
        clone: _Clone,
        key: int,
        mould: Mould,
        box_ms: int,
    ) -> None:
        report_id = str(uuid.UUID(int=self._ids.getrandbits(128), version=4))
        cast_ = mould.cast(rfc3339(box_ms), clone.name, report_id)
        moved = {
            "device_id": clone.key,
            "created_ms": row["created_ms"] - clone.earlier_ms,
        }
        self._waiting[schema.report].append(
            {
                **row,
                **moved,
                "id": key,
                "report_id": report_id,
                "sha256": cast_.sha256,
                "received_ms": row["received_ms"] - clone.earlier_ms,
            }
        )
        for each in runs:
            values = {name: value for name, value in each.items() if name != "id"}
            self._waiting[schema.run].append({**values, **moved, "report_id": key})
        if self._documents:
            self._waiting[schema.document].append(
                {"report_id": key, "codec": str(Codec.ZLIB), "body": cast_.packed}
            )

    def _flush(self) -> None:
        with self._engine.begin() as connection:
            for table in (schema.report, schema.run, schema.document):
                if self._waiting[table]:
                    _insert_all(connection, table, self._waiting[table])
        self.written += len(self._waiting[schema.report])
        self._waiting.clear()


def _insert_all(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts many rows; PostgreSQL takes them several times as fast with COPY."""
    names = list(rows[0])
    values = [tuple(row.values()) for row in rows]
    columns = ", ".join(names)
    if is_sqlite(connection.engine):
        marks = ", ".join("?" for _ in names)
        # Names of our own tables and columns.
        sql = f"INSERT INTO {table.name} ({columns}) VALUES ({marks})"  # noqa: S608 - names of ours
        connection.exec_driver_sql(sql, values)
        return
    driver = connection.connection.driver_connection
    if driver is None:
        raise HubError("the connection to the database is gone")
    with driver.cursor().copy(f"COPY {table.name} ({columns}) FROM STDIN") as copy:
        for row in values:
            copy.write_row(row)


def _copy_ends(engine: Engine, clones: Mapping[int, Sequence[_Clone]]) -> None:
    """Gives every copy its archetype's last facts and standings."""
    device, standing = schema.device, schema.standing
    times = ("seen_ms", "reported_ms")
    own = ("id", "name", "label", "enrolled_ms", "revoked_ms")
    with writing(engine).begin() as connection:
        for key, copies in clones.items():
            row = connection.execute(select(device).where(device.c.id == key)).mappings().one()
            facts = {name: value for name, value in row.items() if name not in own}
            rows = connection.execute(select(standing).where(standing.c.device_id == key))
            standings = [dict(each) for each in rows.mappings()]
            for clone in copies:
                moved = {
                    name: None if row[name] is None else row[name] - clone.earlier_ms
                    for name in times
                }
                changed = update(device).where(device.c.id == clone.key)
                connection.execute(changed.values(**facts | moved))
                if standings:
                    connection.execute(
                        insert(standing),
                        [
                            {
                                **each,
                                "device_id": clone.key,
                                "created_ms": each["created_ms"] - clone.earlier_ms,
                            }
                            for each in standings
                        ],
                    )


def _tidy(engine: Engine) -> None:
    """Brings PostgreSQL's counters to the keys that were given, and its statistics up to date."""
    if is_sqlite(engine):
        return
    with writing(engine).begin() as connection:
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence('report', 'id'), max(id)) FROM report")
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
