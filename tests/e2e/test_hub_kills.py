"""The campaign of `tests/campaigns/hub_kill.py` in short; docs/reliability.md has it in full."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from edgepack.hub.simulate.bulk import fill_store
from edgepack.hub.simulate.timeline import Plan
from edgepack.hub.store import schema
from edgepack.hub.store.documents import unpack
from edgepack.hub.store.engine import open_engine, writing
from edgepack.hub.store.migrating import migrate
from tests.campaigns.hub_kill import HubKills, describe, hub_kills, settle
from tests.e2e.postgresql import PostgreSQL


def _knob() -> int:
    return int(os.environ.get("EDGEPACK_HUB_KILLS", "10"))


def _check(result: HubKills) -> None:
    assert not result.problems, describe(result)
    assert result.kills == _knob()
    assert result.promised > 0
    # A report may be there whose answer went down with the hub; none may be missing.
    assert result.kept >= result.promised


def test_kills_lose_no_report_that_was_answered_on_sqlite(tmp_path: Path) -> None:
    _check(hub_kills(str(tmp_path / "hub.db"), tmp_path, _knob()))


def test_kills_lose_no_report_that_was_answered_on_postgresql(
    postgresql: PostgreSQL, tmp_path: Path
) -> None:
    result = hub_kills(
        postgresql.new_database(), tmp_path, _knob(), database=postgresql, database_kills=1
    )
    _check(result)
    assert result.database_kills == 1


@pytest.fixture
def store(tmp_path: Path) -> tuple[str, dict[str, bytes]]:
    """A store with some reports, and what was promised of them."""
    path = str(tmp_path / "hub.db")
    engine = open_engine(path)
    migrate(engine)
    fill_store(engine, Plan(1, 5, 3, 1_790_000_000_000))
    report, document = schema.report, schema.document
    wanted = select(report.c.report_id, document.c.codec, document.c.body).join(
        document, document.c.report_id == report.c.id
    )
    with engine.connect() as connection:
        rows = connection.execute(wanted).all()
    engine.dispose()
    return path, {row.report_id: unpack(row.codec, row.body) for row in rows}


def _problems(store: tuple[str, dict[str, bytes]], *statements: object) -> list[str]:
    engine = open_engine(store[0])
    with writing(engine).begin() as connection:
        for each in statements:
            connection.execute(each)  # type: ignore[call-overload]
    engine.dispose()
    result = HubKills()
    settle(store[0], store[1], result)
    return result.problems


def test_a_store_with_all_that_was_promised_settles(store: tuple[str, dict[str, bytes]]) -> None:
    assert _problems(store) == []


def test_the_accounts_notice_a_report_that_is_lost(store: tuple[str, dict[str, bytes]]) -> None:
    lost = next(iter(store[1]))
    problems = _problems(store, delete(schema.report).where(schema.report.c.report_id == lost))
    assert f"lost: {lost} was answered with 2xx and is not there" in problems


def test_the_accounts_notice_half_a_report(store: tuple[str, dict[str, bytes]]) -> None:
    assert any("0 of 3 runs" in each for each in _problems(store, delete(schema.run)))
    assert any("no document" in each for each in _problems(store, delete(schema.document)))


def test_the_accounts_notice_counts_that_are_off(store: tuple[str, dict[str, bytes]]) -> None:
    wrong = update(schema.device).values(reports=schema.device.c.reports + 1)
    assert any("counts 4 reports and has 3" in each for each in _problems(store, wrong))


def test_the_accounts_notice_another_report_under_the_id(
    store: tuple[str, dict[str, bytes]],
) -> None:
    changed = next(iter(store[1]))
    store[1][changed] = store[1][changed].replace(b"session", b"sessiom")
    assert _problems(store) == [f"another report than was sent: {changed}"]
