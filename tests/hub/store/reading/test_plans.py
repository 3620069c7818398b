"""The statements behind the pages use their indexes: none reads what grows with every report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from edgepack.hub import asking
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.selecting import SelectQuery
from tests.hub.stores import NOW_MS, Filler

#: These grow with every report, so that no page may read them from end to end.
GROWING = ("report", "run", "document", "history")


@pytest.fixture
def filled(fill: Filler) -> Filler:
    """A store with something of everything."""
    setup, context = fill.setup(fill.release()), fill.context()
    fill.context("Another box")
    newer = fill.setup(fill.release("2.0.0"))
    for i in range(10):
        box = fill.device(f"box-{i}")
        fill.standing(box, setup, context, 100 + i)
        fill.standing(box, newer, context, 100 + i)
        fill.run(fill.report(box, newer), context)
        fill.history(box, setup, context, day=19000)
    return fill


@contextmanager
def _plans(engine: Engine) -> Iterator[list[tuple[str, str]]]:
    """Collects (statement, plan's line) of everything that is read meanwhile."""
    found: list[tuple[str, str]] = []

    def explain(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, *_rest: Any
    ) -> None:
        if not statement.startswith("SELECT"):
            return
        raw = connection.connection.driver_connection
        assert raw is not None
        lines = raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
        found.extend((statement, line[3]) for line in lines)

    event.listen(engine, "before_cursor_execute", explain)
    yield found
    event.remove(engine, "before_cursor_execute", explain)


def _ask(engine: Engine, ask: Callable[[Connection], Any]) -> list[tuple[str, str]]:
    with engine.connect() as connection, _plans(engine) as plans:
        assert ask(connection) is not None
    assert plans
    return plans


def _scanned(plans: list[tuple[str, str]]) -> set[str]:
    """Returns the tables that are read from end to end."""
    return {line.split()[1] for _, line in plans if line.startswith("SCAN")}


QUESTIONS: dict[str, Callable[[Connection], Any]] = {
    "fleet": lambda c: asking.fleet(c, FleetQuery(), now_ms=NOW_MS),
    "filtered fleet": lambda c: asking.fleet(
        c, FleetQuery(target="arm64", condition="ok", text="box", grade="A"), now_ms=NOW_MS
    ),
    "device": lambda c: asking.device(c, "box-3", now_ms=NOW_MS),
    "compare": lambda c: asking.compare(c, CompareQuery(box="Raspberry Pi 4")),
    "releases": asking.releases,
    "release": lambda c: asking.release(c, asking.releases(c).releases[0].bundle_id),
    "select": lambda c: asking.select(c, SelectQuery("arm64"), now_ms=NOW_MS, source="x"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_no_question_reads_a_table_that_grows_with_every_report(
    name: str, filled: Filler, store: Engine
) -> None:
    filled.connect().close()
    assert not _scanned(_ask(store, QUESTIONS[name])) & set(GROWING)


@pytest.mark.parametrize("name", ["compare", "release", "select", "fleet", "releases"])
def test_what_spans_the_fleet_touches_no_report_at_all(
    name: str, filled: Filler, store: Engine
) -> None:
    filled.connect().close()
    plans = _ask(store, QUESTIONS[name])
    touched = {line.split()[1] for _, line in plans if line.startswith(("SCAN", "SEARCH"))}
    assert not touched & set(GROWING)


def test_a_comparison_reads_its_context_in_the_order_of_the_key(
    filled: Filler, store: Engine
) -> None:
    filled.connect().close()
    plans = _ask(store, QUESTIONS["compare"])
    read = [line for statement, line in plans if "FROM standing" in statement]
    assert read
    assert all(line.startswith("SEARCH standing USING PRIMARY KEY (context_id=?") for line in read)


def test_a_release_reads_the_newest_runs_of_its_setups_alone(filled: Filler, store: Engine) -> None:
    filled.connect().close()
    for name in ("release", "select"):
        plans = _ask(store, QUESTIONS[name])
        assert "standing" not in _scanned(plans)


def test_a_box_is_read_by_its_own_indexes(filled: Filler, store: Engine) -> None:
    filled.connect().close()
    lines = [line for _, line in _ask(store, QUESTIONS["device"])]
    assert any("report USING INDEX ix_report_device (device_id=?" in line for line in lines)
    assert any("run USING INDEX ix_run_device (device_id=?" in line for line in lines)
