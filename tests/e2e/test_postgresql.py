"""The PostgreSQL that other tests use is a real one: it keeps what it committed through a kill."""

from __future__ import annotations

import psycopg
import pytest

from edgepack.hub.store.engine import is_sqlite, open_engine
from edgepack.hub.store.migrating import check_revision, migrate
from tests.e2e.postgresql import PostgreSQL


def test_the_hubs_tables_are_made_in_a_new_database(postgresql: PostgreSQL) -> None:
    engine = open_engine(postgresql.new_database())
    migrate(engine)
    check_revision(engine)
    assert not is_sqlite(engine)
    engine.dispose()


def test_databases_are_apart(postgresql: PostgreSQL) -> None:
    first, second = postgresql.new_database(), postgresql.new_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE here (x integer)")
    with psycopg.connect(second) as other, pytest.raises(psycopg.errors.UndefinedTable):
        other.execute("SELECT x FROM here")


def test_what_was_committed_survives_a_kill_of_the_server(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (x integer)")
        connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
    postgresql.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgresql.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
    assert "recovery" in postgresql.log
