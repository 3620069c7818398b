"""Reports of schema version 1 as runners have sent them: every later hub takes them.

A file here is never changed and never taken away; a new kind of report becomes another file.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine

from edgepack.hub.intake.submission import Sender, read_report
from edgepack.hub.store.recording import Accepted, Outcome, Recorder
from edgepack.hub.store.schema import device
from tests.hub.reports import NOW_MS

_FILES = sorted((Path(__file__).parent.parent / "golden").glob("report-1-*.json"))


def test_there_are_reports_of_the_first_runners_and_of_every_kind_of_box() -> None:
    assert len(_FILES) >= 6
    assert any(path.stem == "report-1-first-runner" for path in _FILES)


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_a_report_of_version_1_is_taken(store: Engine, path: Path) -> None:
    data = path.read_bytes()
    with store.begin() as connection:
        name = json.loads(data)["device_id"]
        connection.execute(device.insert().values(name=name, enrolled_ms=NOW_MS))
    found = read_report(data, Sender(1, name), NOW_MS)
    assert isinstance(found, Accepted), found
    assert Recorder(store).record([found]) == [Outcome.NEW]
