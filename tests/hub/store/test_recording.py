from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from edgepack.hub.intake.submission import Sender, read_report
from edgepack.hub.store.documents import unpack
from edgepack.hub.store.keeping import Pruned, Retention, prune
from edgepack.hub.store.recording import Accepted, Outcome, Recorder
from edgepack.hub.store.schema import device, document, history, report, run, standing
from tests.hub.reports import DEVICE, NOW_MS, report_bytes

_DAY_MS = 86_400_000


@pytest.fixture
def devices(store: Engine) -> Engine:
    with store.begin() as connection:
        for name in (DEVICE, "another"):
            connection.execute(device.insert().values(name=name, enrolled_ms=NOW_MS))
    return store


def _accepted(number: int, *, key: int = 1, now_ms: int = NOW_MS, **changed: Any) -> Accepted:
    found = read_report(report_bytes(number, device=None, **changed), Sender(key, "x"), now_ms)
    assert isinstance(found, Accepted), found
    return found


def _count(store: Engine, table: Any) -> int:
    with store.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _device(store: Engine, key: int = 1) -> Any:
    with store.connect() as connection:
        return connection.execute(select(device).where(device.c.id == key)).one()


def test_a_report_becomes_rows_and_a_second_copy_none(devices: Engine) -> None:
    recorder = Recorder(devices)
    first = _accepted(1)
    assert recorder.record([first]) == [Outcome.NEW]
    assert recorder.record([first, _accepted(2)]) == [Outcome.SEEN, Outcome.NEW]
    assert recorder.record([_accepted(3), _accepted(3)]) == [Outcome.NEW, Outcome.SEEN]
    assert _count(devices, report) == _count(devices, document) == 3
    assert _device(devices).reports == 3
    assert _count(devices, run) == 3 * len(first.extracted.runs)


def test_another_report_of_the_same_id_is_a_conflict_and_changes_nothing(devices: Engine) -> None:
    recorder = Recorder(devices)
    recorder.record([_accepted(1)])
    assert recorder.record([_accepted(1, edgepack="9.9.9")]) == [Outcome.CONFLICT]
    assert recorder.record([_accepted(1, key=2)]) == [Outcome.CONFLICT]
    assert _device(devices, 2).reports == 0
    with devices.connect() as connection:
        body = connection.execute(select(document.c.codec, document.c.body)).one()
    assert json.loads(unpack(*body))["edgepack"] != "9.9.9"


def test_a_late_report_does_not_make_a_device_older(devices: Engine) -> None:
    recorder = Recorder(devices)
    recorder.record([_accepted(1, golden={**_golden(), "problems": 1, "ok": False})])
    before = _device(devices)
    assert before.condition == "wrong_answers"
    recorder.record([_accepted(2, created="2026-09-01T00:00:00Z")])
    after = _device(devices)
    assert (after.condition, after.reported_ms) == (before.condition, before.reported_ms)
    assert after.reports == 2


def test_each_box_counts_once_with_its_newest_run(devices: Engine) -> None:
    recorder = Recorder(devices)
    recorder.record([_accepted(2)])
    rows = _count(devices, standing)
    recorder.record([_accepted(3, created="2026-09-21T13:20:00Z"), _accepted(1, key=2)])
    assert _count(devices, standing) == 2 * rows
    with devices.connect() as connection:
        found = connection.execute(select(standing).where(standing.c.device_id == 1)).all()
    assert {row.runs for row in found} == {2}


def test_old_reports_become_a_row_a_day(devices: Engine) -> None:
    recorder = Recorder(devices)
    now = NOW_MS - 200 * _DAY_MS
    created = "2026-03-05T12:00:00Z"
    old = [_accepted(i, created=created, now_ms=now) for i in range(3)]
    recorder.record(old)
    middle = NOW_MS - 100 * _DAY_MS
    recorder.record([_accepted(7, created="2026-06-13T12:00:00Z", now_ms=middle), _accepted(9)])
    assert prune(devices, Retention(90, 180, 800), NOW_MS) == Pruned(4, 3)
    assert (_count(devices, report), _count(devices, document)) == (2, 1)
    with devices.connect() as connection:
        days = connection.execute(select(history)).all()
    assert {row.runs for row in days} == {3}
    assert {row.day for row in days} == {now // _DAY_MS}
    assert prune(devices, Retention(90, 180, 800), NOW_MS) == Pruned()
    later = prune(devices, Retention(90, 180, 800), NOW_MS + 900 * _DAY_MS)
    assert later is not None
    assert later.days >= len(days)


def test_a_batch_that_cannot_be_written_leaves_nothing(devices: Engine) -> None:
    bad = _accepted(5, key=99)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        Recorder(devices).record([_accepted(4), bad])
    assert _count(devices, report) == _count(devices, document) == _count(devices, run) == 0


def _golden() -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(report_bytes())["golden"]
    return golden
