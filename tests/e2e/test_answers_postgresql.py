"""PostgreSQL answers every question as SQLite does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from edgepack.hub import asking
from edgepack.hub.answers.compare import CompareQuery, Per
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.health import Condition
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.answers.sheet import Sheet, sheet_of
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import migrate
from tests.e2e.postgresql import PostgreSQL
from tests.hub.stores import DAY_MS, NOW_MS, Filler, open_store


@pytest.fixture
def engines(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[list[Engine]]:
    """The same rows in a file and in a real PostgreSQL."""
    made = [open_store(tmp_path), open_engine(postgresql.new_database())]
    migrate(made[1])
    for engine in made:
        filler = Filler(engine)
        _fill(filler)
        filler.connect().close()
        filler.close()
    yield made
    for engine in made:
        engine.dispose()


def _fill(fill: Filler) -> None:
    old, new, other = fill.release("1.0.0"), fill.release("1.1.0"), fill.release(target="cpu")
    fp32, int8 = fill.setup(old, "tflite-fp32"), fill.setup(new, "tflite-dynamic-int8")
    foreign = fill.setup(other, "onnx-fp32", quality={})
    pi4, pi5 = fill.context(), fill.context("Raspberry Pi 5, 100 % \\ arm")
    offline = fill.context(scenario="offline")
    for i in range(30):
        box = fill.device(
            f"box-{i:02d}",
            label="Kasse %" if i % 2 else "",
            release_id=new if i % 3 else old,
            setup_id=int8,
            condition=list(Condition)[i % 7],
            seen_ms=None if i == 4 else NOW_MS - i * DAY_MS,
            grade=None if i == 4 else "ABCX"[i % 4],
        )
        fill.standing(box, fp32, pi4, 1_000_000 + i * 1000, created_ms=i)
        fill.standing(box, int8, pi4, 800_000 + i * 997, created_ms=i + 5)
        fill.standing(box, int8, offline, 500 + i, trust="doubtful")
        fill.standing(box, foreign, pi5, None if i == 3 else 90 + i, samples_per_second=i / 7)
        for day in range(3):
            moment = NOW_MS - day * DAY_MS - i
            report = fill.report(box, int8 if day else fp32, created_ms=moment, body=b"{}")
            fill.run(report, pi4, p50_ns=1000 + day)
        fill.history(box, fp32, pi4, day=19_000 + i)
    fill.device("gone", revoked_ms=NOW_MS)


def _everything(connection: Connection) -> dict[str, Sheet | bytes | str | None]:
    newest = asking.releases(connection, model="session", target="arm64").releases[0]
    device = asking.device(connection, "box-07", now_ms=NOW_MS, days=2)
    release = asking.release(connection, newest.bundle_id[:10])
    assert device is not None
    assert release is not None
    queries = {
        "all": FleetQuery(),
        "page": FleetQuery(offset=10, limit=7),
        "silent": FleetQuery(condition="silent"),
        "text": FleetQuery(text="kASSE %"),
        "target": FleetQuery(target="arm64", grade="A"),
        "release": FleetQuery(release=newest.bundle_id),
        "box": FleetQuery(box="Raspberry Pi 4"),
    }
    fleets = {
        name: sheet_of(asking.fleet(connection, query, now_ms=NOW_MS))
        for name, query in queries.items()
    }
    comparisons = {
        "nothing": CompareQuery(),
        "one": CompareQuery(box="PI 4", scenario="single_stream", per=Per.RELEASE),
        "escaped": CompareQuery(box="100 % \\ ARM"),
        "doubtful": CompareQuery(scenario="offline"),
    }
    compared = {
        f"compare {name}": sheet_of(asking.compare(connection, query))
        for name, query in comparisons.items()
    }
    chosen = asking.select(connection, SelectQuery("arm64"), now_ms=NOW_MS, source="x")
    return {
        **fleets,
        **compared,
        "releases": sheet_of(asking.releases(connection)),
        "release": sheet_of(release),
        "device": sheet_of(device),
        "select": sheet_of(chosen),
        "document": asking.document(connection, "box-07", str(device.box[0].report_id)),
        "no document": asking.document(connection, "box-08", str(device.box[0].report_id)),
    }


def test_every_answer_is_the_same_on_both(engines: list[Engine]) -> None:
    answers = []
    for engine in engines:
        with engine.connect() as connection:
            answers.append(_everything(connection))
    for name, expected in answers[0].items():
        assert answers[1][name] == expected, name
    assert answers[0]["document"] == b"{}"
    assert answers[0]["no document"] is None
