"""A store that was filled in bulk is one that a hub could have come to report by report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Table, func, select, update

from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import HubError
from edgepack.formats.report import parse_report
from edgepack.hub.intake.extract import extract
from edgepack.hub.simulate.bulk import Filled, fill_store
from edgepack.hub.simulate.timeline import Plan
from edgepack.hub.store import schema
from edgepack.hub.store.documents import unpack
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import migrate
from edgepack.hub.store.recording import Accepted, Recorder

_PLAN = Plan(seed=9, devices=70, days=4, end_ms=1_790_000_000_000)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Filled]:
    engine = open_engine(tmp_path_factory.mktemp("bulk") / "hub.db")
    migrate(engine)
    return engine, fill_store(engine, _PLAN, archetypes=20)


def _count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def test_it_says_what_it_wrote(filled: tuple[Engine, Filled]) -> None:
    engine, told = filled
    assert told.devices == _count(engine, schema.device) == 70
    assert told.reports == _count(engine, schema.report)
    assert told.documents == _count(engine, schema.document) == told.reports
    assert told.archetypes == 20
    # A few boxes go silent early.
    assert 0.9 < told.reports / (70 * 4) <= 1


def test_every_row_says_what_its_document_says(filled: tuple[Engine, Filled]) -> None:
    engine, _ = filled
    report, document = schema.report, schema.document
    with engine.connect() as connection:
        rows = connection.execute(
            select(report, document.c.codec, document.c.body, schema.device.c.name)
            .join(document, document.c.report_id == report.c.id)
            .join(schema.device, schema.device.c.id == report.c.device_id)
        ).mappings()
        for row in rows:
            data = unpack(row["codec"], row["body"])
            found = parse_report(data)
            assert found.device_id == row["name"]
            wanted = extract(found, sha256=sha256_hex(data), received_ms=row["received_ms"])
            assert {name: row[name] for name in wanted.report} == wanted.report


def _record_again(engine: Engine, other: Engine) -> None:
    """Records every document of one store in another, as if it had just come."""
    report, document = schema.report, schema.document
    with engine.connect() as connection, other.begin() as writing:
        for row in connection.execute(select(schema.device)).mappings():
            kept = {name: row[name] for name in ("id", "name", "label", "enrolled_ms")}
            writing.execute(schema.device.insert().values(**kept))
    recorder = Recorder(other)
    with engine.connect() as connection:
        rows = connection.execute(
            select(report, document.c.codec, document.c.body)
            .join(document, document.c.report_id == report.c.id)
            .order_by(report.c.received_ms)
        ).mappings()
        for row in rows:
            data = unpack(row["codec"], row["body"])
            extracted = extract(
                parse_report(data), sha256=sha256_hex(data), received_ms=row["received_ms"]
            )
            recorder.record([Accepted(row["device_id"], extracted, row["codec"], row["body"])])


def _named(engine: Engine, table: Table) -> list[dict[str, Any]]:
    """A table's rows with what their keys stand for, in an order of their own."""
    named = {
        "release_id": (schema.release, "bundle_id"),
        "setup_id": (schema.setup, "digest"),
        "context_id": (schema.context, "digest"),
        "report_id": (schema.report, "report_id"),
    }
    with engine.connect() as connection:
        names = {
            column: {
                row[0]: row[1] for row in connection.execute(select(other.c.id, other.c[name]))
            }
            for column, (other, name) in named.items()
        }
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    for row in rows:
        if table is not schema.device:
            row.pop("id", None)
        for column, known in names.items():
            if column in row and table is not schema.report:
                row[column] = known.get(row[column])
            elif column == "setup_id" and column in row:
                row[column] = known[row[column]]
    return sorted(rows, key=lambda row: sorted((name, str(value)) for name, value in row.items()))


def test_recording_the_same_reports_one_by_one_gives_the_same_tables(
    filled: tuple[Engine, Filled], tmp_path: Path
) -> None:
    engine, _ = filled
    other = open_engine(tmp_path / "other.db")
    migrate(other)
    _record_again(engine, other)
    for table in (schema.report, schema.run, schema.standing, schema.device):
        assert _named(engine, table) == _named(other, table), table.name


def test_a_store_that_has_these_boxes_refuses_them(filled: tuple[Engine, Filled]) -> None:
    with pytest.raises(HubError, match="some of these boxes already"):
        fill_store(filled[0], _PLAN, archetypes=20)


def test_a_second_fleet_comes_beside_the_first(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "hub.db")
    migrate(engine)
    plan = Plan(seed=1, devices=6, days=2, end_ms=1_790_000_000_000)
    first = fill_store(engine, plan, archetypes=2)
    with engine.begin() as connection:
        # What was there before is left as it is.
        connection.execute(update(schema.report).values(load_1m=77.0))
    second = fill_store(
        engine,
        Plan(seed=2, devices=6, days=2, end_ms=1_790_000_000_000),
        archetypes=2,
        documents=False,
    )
    assert _count(engine, schema.report) == first.reports + second.reports
    assert second.documents < second.reports
    with engine.connect() as connection:
        kept = select(func.count()).where(schema.report.c.load_1m == 77.0)
        assert connection.execute(kept).scalar_one() == first.reports
