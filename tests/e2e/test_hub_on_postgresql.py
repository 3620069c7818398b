"""The tests of the hub's store, tokens, interface and pages again, on a real PostgreSQL.

Every test of these files that asks for a `store` gets one there; those of SQLite's own file alone
are left where they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.keeping import Pruned, Retention, prune
from edgepack.hub.store.migrating import migrate
from tests.e2e.postgresql import PostgreSQL
from tests.hub.access import test_credentials
from tests.hub.intake import test_golden_reports
from tests.hub.store import test_keeping, test_pruning, test_recording
from tests.hub.stores import DAY_MS, NOW_MS, Filler
from tests.hub.web import test_api, test_dropping, test_signing_in
from tests.hub.web.test_api import Hub

_FILES = (
    *(test_credentials, test_golden_reports, test_recording, test_keeping, test_pruning),
    *(test_api, test_dropping, test_signing_in),
)
#: It makes SQLite say that the disk is full, in SQLite's words.
_SQLITE_ALONE = "test_a_store_that_cannot_write_asks_the_box_to_come_back"


@pytest.fixture
def store(postgresql: PostgreSQL) -> Iterator[Engine]:
    engine = open_engine(postgresql.new_database())
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def hub(store: Engine) -> Hub:
    return Hub(store)


devices = test_recording.devices

for _module in _FILES:
    for _name, _test in vars(_module).items():
        if _name.startswith("test_") and _name != _SQLITE_ALONE:
            assert _name not in globals(), f"two tests are called {_name}"
            globals()[_name] = _test


def test_only_one_process_drops_what_is_old(postgresql: PostgreSQL) -> None:
    address = postgresql.new_database()
    engine, other = open_engine(address), open_engine(address)
    migrate(engine)
    fill = Filler(engine)
    fill.report(fill.device(), fill.setup(fill.release()), created_ms=NOW_MS - 100 * DAY_MS)
    fill.connect().close()
    fill.close()
    meanwhile: list[Pruned | None] = []

    def go_on() -> bool:
        meanwhile.append(prune(other, Retention(), NOW_MS))
        return True

    assert prune(engine, Retention(), NOW_MS, go_on=go_on) == Pruned(documents=1)
    assert meanwhile
    assert set(meanwhile) == {None}
    assert prune(other, Retention(), NOW_MS) == Pruned()
    engine.dispose()
    other.dispose()


def test_migrating_twice_and_from_nothing_is_the_same(postgresql: PostgreSQL) -> None:
    engine = open_engine(postgresql.new_database())
    assert migrate(engine) == migrate(engine)
    engine.dispose()
