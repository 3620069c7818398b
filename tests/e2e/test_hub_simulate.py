"""`edgepack hub simulate` against a real hub: a made-up fleet through the real API."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from benchmarks.hub.servers import hub_serving
from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.simulate.timeline import Plan, benchmarks_of, make_fleet
from edgepack.hub.store import schema
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import migrate
from tests.e2e.builds import Cli
from tests.e2e.postgresql import PostgreSQL

_DEVICES, _DAYS = 24, 4


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "hub.db")
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


def _enrol_token(store: str, folder: Path, uses: int) -> Path:
    engine = open_engine(store)
    migrate(engine)
    path = folder / "enrol.token"
    path.write_text(Credentials(engine).make(Role.ENROL, 1_700_000_000_000, uses=uses) + "\n")
    engine.dispose()
    return path


def test_a_made_up_fleet_reaches_a_hub_through_its_api(
    store: str, run_cli: Cli, tmp_path: Path
) -> None:
    token = _enrol_token(store, tmp_path, _DEVICES)
    arguments = ("--devices", str(_DEVICES), "--days", str(_DAYS), "--token-file", token)
    with hub_serving(store, tmp_path) as hub:
        url = f"http://127.0.0.1:{hub.port}"
        done = run_cli("hub", "simulate", *arguments, "--hub", url, "--json")
        assert done.status == 0, done.stderr
        again = run_cli("hub", "simulate", *arguments, "--hub", url)
    sent = done.value
    assert sent["enrolled"] == _DEVICES
    assert sent["refused"] == []
    assert set(sent["by_status"]) <= {"200", "201"}
    plan = Plan(1, _DEVICES, _DAYS, 1_790_000_000_000)
    made = sum(1 for box in make_fleet(plan) for _ in benchmarks_of(plan, box))
    engine = open_engine(store)
    with engine.connect() as connection:
        kept = connection.execute(select(func.count()).select_from(schema.report)).scalar_one()
        odd = connection.execute(
            select(func.count()).select_from(schema.report).where(schema.report.c.clock_off)
        ).scalar_one()
    engine.dispose()
    assert kept == made
    assert odd
    # The token was good for these boxes alone.
    assert again.status == 9
    assert "is not let in" in again.stderr


def test_a_store_is_filled_in_bulk(store: str, run_cli: Cli) -> None:
    arguments = ("--devices", "60", "--days", "3", "--archetypes", "15", "--store", store)
    done = run_cli("hub", "simulate", "--bulk", *arguments, "--json")
    assert done.status == 0, done.stderr
    assert done.value["devices"] == 60
    engine = open_engine(store)
    with engine.connect() as connection:
        kept = connection.execute(select(func.count()).select_from(schema.report)).scalar_one()
    engine.dispose()
    assert kept == done.value["reports"] == done.value["documents"]
    again = run_cli("hub", "simulate", "--bulk", *arguments)
    assert (again.status, "take another --seed" in again.stderr) == (9, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing says where the reports go"),
        (("--bulk",), "give --store PATH"),
        (("--hub", "http://127.0.0.1:1"), "nothing says where the reports go"),
        (("--hub", "http://127.0.0.1:1", "--token-file", "no.such"), "no.such: No such file"),
    ],
)
def test_what_is_missing_is_said(arguments: tuple[str, ...], said: str, run_cli: Cli) -> None:
    done = run_cli("hub", "simulate", *arguments)
    assert done.status == 3
    assert said in done.stderr
