"""An answer as sentences and tables, and back from JSON."""

from __future__ import annotations

import json

import pytest

from edgepack.formats.errors import HubError
from edgepack.hub import asking
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.answers.sheet import Sheet, parse_sheet, sheet_of
from tests.hub.stores import DAY_MS, NOW_MS, Filler


def _sheets(fill: Filler) -> dict[str, Sheet]:
    with fill.connect() as connection:
        device = asking.device(connection, "box", now_ms=NOW_MS)
        last = asking.releases(connection).releases[0]
        release = asking.release(connection, last.bundle_id)
        assert device is not None
        assert release is not None
        return {
            "fleet": sheet_of(asking.fleet(connection, FleetQuery(), now_ms=NOW_MS)),
            "device": sheet_of(device),
            "refused": sheet_of(asking.compare(connection, CompareQuery())),
            "compared": sheet_of(
                asking.compare(connection, CompareQuery(scenario="single_stream"))
            ),
            "releases": sheet_of(asking.releases(connection)),
            "release": sheet_of(release),
            "select": sheet_of(
                asking.select(connection, SelectQuery("arm64"), now_ms=NOW_MS, source="x")
            ),
        }


@pytest.fixture
def sheets(fill: Filler) -> dict[str, Sheet]:
    """Every kind of answer of one small store."""
    old, new = fill.release("1.0.0"), fill.release("2.0.0")
    before, after = fill.setup(old), fill.setup(new)
    context, offline = fill.context(), fill.context(scenario="offline")
    box = fill.device("box", release_id=new, setup_id=after, label="till 4")
    fill.run(fill.report(box, before, created_ms=NOW_MS - 2 * DAY_MS), context)
    fill.run(fill.report(box, after), offline)
    for i in range(9):
        each = fill.device()
        fill.standing(each, before, context, 100 + i)
        fill.standing(each, after, context, 200 + i)
        fill.standing(each, after, offline, 5)
    return _sheets(fill)


def test_every_answer_has_a_title_and_a_table_and_survives_the_wire(
    sheets: dict[str, Sheet],
) -> None:
    for sheet in sheets.values():
        assert sheet.title
        assert sheet.tables
        assert parse_sheet(json.dumps(sheet.to_json()).encode()) == sheet


def test_the_sentences_say_what_matters_first(sheets: dict[str, Sheet]) -> None:
    assert sheets["fleet"].lines[0] == "10 of 10 devices; 1 to 10"
    assert sheets["device"].lines[0].startswith("box (till 4): nothing is wrong; last seen")
    assert any("1.0.0 became 2.0.0" in line for line in sheets["device"].lines)
    assert "differ in scenario" in sheets["refused"].lines[0]
    assert sheets["refused"].lines[1].startswith("scenario [scenario]: ")
    assert sheets["compared"].title == "Compared: session, single_stream, on Raspberry Pi 4"
    assert sheets["release"].lines[0].startswith("p50 of single_stream on Raspberry Pi 4 is slower")
    assert sheets["select"].lines[0].startswith("tflite-fp32 on litert is the only one")


def test_a_page_beyond_the_end_says_that_there_is_nothing_to_show(fill: Filler) -> None:
    fill.device()
    with fill.connect() as connection:
        answer = asking.fleet(connection, FleetQuery(offset=50), now_ms=NOW_MS)
    assert sheet_of(answer).lines[0] == "1 of 1 devices; none to show"


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"schema": "edgepack.answer/1"},
        {"schema": "edgepack.answer/1", "title": "t", "lines": [], "tables": [{}]},
        {"schema": "edgepack.answer/1", "title": "t", "lines": [], "tables": 5},
        {"schema": "edgepack.answer/1", "title": "t", "lines": [], "tables": []},
        {"schema": "edgepack.answer/1", "title": "t", "lines": [], "tables": ["x"]},
        {
            "schema": "edgepack.answer/1",
            "title": "t",
            "lines": [],
            "tables": [
                {
                    "table": "t",
                    "title": "t",
                    "note": "",
                    "columns": [{"key": "a", "title": "A", "unit": "text"}],
                    "rows": [{"a": {"b": 1}}],
                }
            ],
        },
    ],
)
def test_what_is_no_answer_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(HubError):
        parse_sheet(json.dumps(value).encode())
