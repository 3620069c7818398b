from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import OperationalError

from edgepack.hub.answers.health import RANKS, SILENT_AFTER_MS, Condition
from edgepack.hub.store.engine import open_engine, writing
from edgepack.hub.store.migrating import migrate
from edgepack.hub.store.schema import device, release
from edgepack.hub.web.metrics import Metrics
from edgepack.hub.web.metrics.store import (
    KEPT_S,
    MOST_RELEASES,
    StoreCollector,
    StoreFacts,
    look_at_store,
)
from tests.hub.web.metrics.test_counting import samples

_NOW_MS = 1_800_000_000_000
_DAY_MS = 86_400_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(tmp_path / "hub.db")
    migrate(engine)
    yield engine
    engine.dispose()


def _add_release(engine: Engine, version: str, number: int) -> int:
    with writing(engine).begin() as connection:
        row = {
            "bundle_id": f"{number:064x}",
            "target": "arm64",
            "target_sha256": "b" * 64,
            "model": "session",
            "version": version,
            "architecture": "sasrec",
            "first_seen_ms": _NOW_MS,
        }
        key = connection.execute(insert(release).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])


def _add_devices(engine: Engine, count: int, condition: Condition, **more: Any) -> None:
    with writing(engine).begin() as connection:
        start = len(connection.execute(device.select()).all())
        for i in range(count):
            row = {
                "name": f"box-{start + i}",
                "enrolled_ms": _NOW_MS - 30 * _DAY_MS,
                "seen_ms": _NOW_MS - _DAY_MS,
                "reports": 2,
                "condition": str(condition),
                "rank": RANKS[condition],
                **more,
            }
            connection.execute(insert(device).values(row))


def test_a_store_without_devices_is_all_zeros(engine: Engine) -> None:
    facts = look_at_store(engine, _NOW_MS)
    assert facts.conditions == dict.fromkeys(map(str, Condition), 0)
    assert set(facts.standings.values()) == {0}
    assert (facts.releases, facts.reports, facts.newest_s) == ((), 0, None)
    assert facts.size_bytes > 0
    assert facts.free_bytes is not None


def test_devices_count_by_condition_and_by_release(engine: Engine) -> None:
    old, new = (_add_release(engine, version, i) for i, version in enumerate(("1.0", "1.1")))
    _add_devices(engine, 3, Condition.OK, release_id=old)
    _add_devices(engine, 2, Condition.OK, release_id=new)
    _add_devices(engine, 1, Condition.THROTTLED, release_id=new)
    _add_devices(engine, 4, Condition.WRONG_ANSWERS, revoked_ms=_NOW_MS, release_id=old)
    facts = look_at_store(engine, _NOW_MS)
    assert facts.conditions[Condition.OK] == 5
    assert facts.conditions[Condition.WRONG_ANSWERS] == 0
    assert [(each.version, dict(each.conditions)) for each in facts.releases] == [
        ("1.0", {"ok": 3}),
        ("1.1", {"ok": 2, "throttled": 1}),
    ]
    assert facts.reports == 20
    assert facts.newest_s == (_NOW_MS - _DAY_MS) / 1000


@pytest.mark.parametrize(
    ("last", "counted"),
    [
        (Condition.OK, Condition.SILENT),
        (Condition.DOUBTFUL, Condition.SILENT),
        (Condition.WRONG_ANSWERS, Condition.WRONG_ANSWERS),
    ],
)
def test_silence_counts_unless_what_was_said_last_is_worse(
    engine: Engine, last: Condition, counted: Condition
) -> None:
    _add_devices(engine, 1, last, seen_ms=_NOW_MS - SILENT_AFTER_MS - 1)
    _add_devices(engine, 1, Condition.OK, seen_ms=_NOW_MS - SILENT_AFTER_MS)
    facts = look_at_store(engine, _NOW_MS)
    assert facts.conditions[counted] == 1
    assert facts.conditions[Condition.OK] == 1
    assert sum(facts.conditions.values()) == 2


def test_a_device_that_never_reported_is_silent(engine: Engine) -> None:
    _add_devices(engine, 1, Condition.SILENT, seen_ms=None)
    assert look_at_store(engine, _NOW_MS).conditions[Condition.SILENT] == 1


def test_however_many_releases_there_are_a_bounded_number_is_told(engine: Engine) -> None:
    for i in range(MOST_RELEASES + 5):
        _add_devices(engine, 1, Condition.OK, release_id=_add_release(engine, f"1.{i}", i))
    assert len(look_at_store(engine, _NOW_MS).releases) == MOST_RELEASES


def test_a_version_that_was_built_twice_is_one_release(engine: Engine) -> None:
    for i in range(2):
        _add_devices(engine, 1, Condition.OK, release_id=_add_release(engine, "1.0", i))
    (found,) = look_at_store(engine, _NOW_MS).releases
    assert found.conditions == {"ok": 2}


def test_what_was_found_is_what_prometheus_reads(engine: Engine) -> None:
    _add_devices(engine, 2, Condition.FALLBACK, release_id=_add_release(engine, "1.0", 1))
    metrics = Metrics()
    metrics.add(StoreCollector.over(engine, lambda: _NOW_MS))
    found = samples(metrics)
    assert found["edgepack_hub_store_reachable{}"] == 1
    assert found['edgepack_hub_devices{condition="fallback"}'] == 2
    labels = 'condition="fallback",model="session",target="arm64",version="1.0"'
    assert found[f"edgepack_hub_release_devices{{{labels}}}"] == 2
    assert found['edgepack_hub_standings{trust="trusted"}'] == 0
    assert found["edgepack_hub_newest_report_timestamp_seconds{}"] == (_NOW_MS - _DAY_MS) / 1000


def test_a_look_is_kept_for_a_while_and_then_made_anew() -> None:
    looks, time = [], [0.0]

    def look() -> StoreFacts:
        looks.append(time[0])
        return StoreFacts(reachable=True, reports=len(looks))

    metrics = Metrics()
    metrics.add(StoreCollector(look, lambda: time[0]))
    assert looks == []
    for at, reports in ((1.0, 1), (KEPT_S, 1), (1.0 + KEPT_S, 2)):
        time[0] = at
        assert samples(metrics)["edgepack_hub_reports_known{}"] == reports
    assert looks == [1.0, 1.0 + KEPT_S]


def test_a_look_that_takes_long_is_kept_longer() -> None:
    looks, time = [], [0.0]

    def look() -> StoreFacts:
        looks.append(time[0])
        time[0] += 2.0
        return StoreFacts(reachable=True)

    metrics = Metrics()
    metrics.add(StoreCollector(look, lambda: time[0]))
    for at in (0.0, 30.0, 41.0, 42.0):
        time[0] = max(time[0], at)
        assert samples(metrics)["edgepack_hub_store_look_seconds{}"] == 2.0
    assert looks == [0.0, 42.0]


@pytest.mark.parametrize("error", [OperationalError("SELECT", {}, Exception("gone")), OSError()])
def test_a_store_that_does_not_answer_is_told_and_the_rest_goes_on(error: Exception) -> None:
    def look() -> StoreFacts:
        raise error

    metrics = Metrics()
    metrics.add(StoreCollector(look))
    found = samples(metrics)
    assert found["edgepack_hub_store_reachable{}"] == 0
    assert "edgepack_hub_reports_known{}" not in found
    assert "process_cpu_seconds_total{}" in found
