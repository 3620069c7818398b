"""The migrations make exactly the tables that the code uses."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from edgepack.hub.store.schema import metadata


def test_the_migrations_make_the_tables_of_the_schema(store: Engine) -> None:
    with store.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_newest_runs_lie_in_the_order_of_their_key(store: Engine) -> None:
    with store.connect() as connection:
        made = connection.execute(
            text("SELECT sql FROM sqlite_master WHERE name = 'standing'")
        ).scalar_one()
    assert "PRIMARY KEY (context_id, trust, setup_id, device_id)" in " ".join(made.split())
    assert made.rstrip().endswith("WITHOUT ROWID")
