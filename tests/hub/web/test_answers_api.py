"""The answers over HTTP, as JSON and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from sqlalchemy import Engine

from edgepack.formats.evidence import parse_evidence
from edgepack.hub.answers.sheet import parse_sheet
from tests.hub.stores import Filler
from tests.hub.web.filling import fill_hub
from tests.hub.web.reading import Reader


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_question_answers_in_json_and_csv(fill: Filler, store: Engine) -> None:
    filled = fill_hub(fill)
    reader = Reader(store)
    for path, asked in (
        ("fleet", ""),
        ("devices/kiosk-1", "?days=30"),
        ("compare", f"?context={filled.context}"),
        ("releases", ""),
        (f"releases/{filled.after}", f"?before={filled.before}"),
    ):
        response = reader.get(f"/api/{path}{asked}")
        assert response.headers["content-type"] == "application/json"
        sheet = parse_sheet(response.content)
        table = sheet.tables[0]
        assert table.rows, path
        answer = reader.get(f"/api/{path}.csv{asked}")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "attachment" in answer.headers["content-disposition"]
        assert answer.text == table.to_csv()


def test_one_table_of_several_can_be_had(fill: Filler, store: Engine) -> None:
    fill_hub(fill)
    reader = Reader(store)
    assert _rows(reader.get("/api/devices/kiosk-1.csv?table=runs").text)[0]["valid"] == "true"
    sheet = parse_sheet(reader.get("/api/devices/kiosk-1?table=history").content)
    assert [each.key for each in sheet.tables] == ["history"]
    wrong = reader.get("/api/devices/kiosk-1?table=runz")
    assert wrong.status_code == 400
    assert "expected one of reports, runs, history" in wrong.json()["error"]


def test_a_device_whose_name_ends_like_csv_is_found_first(fill: Filler, store: Engine) -> None:
    for name in ("till", "till.csv"):
        fill.report(fill.device(name), fill.setup(fill.release()))
    fill.connect().close()
    reader = Reader(store)
    assert parse_sheet(reader.get("/api/devices/till.csv").content).title == "till.csv"
    assert _rows(reader.get("/api/devices/till.csv.csv").text)
    assert reader.get("/api/devices/nobody.csv").status_code == 404


def test_a_choice_is_evidence_that_a_build_takes(fill: Filler, store: Engine) -> None:
    fill_hub(fill, text="")
    reader = Reader(store)
    evidence = parse_evidence(reader.get("/api/select?target=arm64&max_p99_ms=100").content)
    assert evidence.source == "http://hub.test"
    assert evidence.kinds[0].candidates
    assert _rows(reader.get("/api/select.csv?target=arm64").text)[0]["runtime"] == "litert"


def test_a_report_comes_as_it_was_sent(fill: Filler, store: Engine) -> None:
    fill.report(fill.device("till"), fill.setup(fill.release()), body=b'{"a":  1}')
    fill.connect().close()
    response = Reader(store).get("/api/devices/till/reports/00000000-0000-4000-8000-000000000001")
    assert response.content == b'{"a":  1}'
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("start", list("=+-@\t\r"))
def test_no_cell_is_a_spreadsheets_formula(fill: Filler, store: Engine, start: str) -> None:
    fill.device("till", label=f"{start}cmd|' /C calc'!A0", box=f"{start}1+1")
    fill.connect().close()
    (row,) = _rows(Reader(store).get("/api/fleet.csv").text)
    assert row["label"] == f"'{start}cmd|' /C calc'!A0"
    assert row["box"] == f"'{start}1+1"


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("fleet?grade=Z", 400, "grade: got 'Z', expected one of"),
        ("fleet.csv?limit=many", 400, "limit: got 'many'"),
        ("fleet?text=%00", 400, "zero byte"),
        ("compare?fact=x", 400, "expected PATH=VALUE"),
        ("select", 400, "target: missing"),
        ("releases?model=" + "m" * 301, 400, "model: 301 characters are too many"),
        ("devices/nobody", 404, "there is no device 'nobody'"),
        ("devices/%00", 404, "there is no device"),
        ("devices/a/reports/b", 404, "there is no report b of 'a'"),
        ("releases/12345678?before=abc", 404, "none other that begins with 'abc'"),
        ("releases/12345678.csv", 404, "begins with '12345678'"),
    ],
)
def test_what_cannot_be_asked_or_is_not_there_is_said_in_json(
    store: Engine, address: str, status: int, words: str
) -> None:
    response = Reader(store).get(f"/api/{address}")
    assert response.status_code == status
    assert words in response.json()["error"]


def test_the_description_names_every_question_and_its_parameters(store: Engine) -> None:
    described: dict[str, Any] = Reader(store).get("/openapi.json").json()["paths"]
    for path in ("fleet", "compare", "releases", "select"):
        assert {f"/api/{path}", f"/api/{path}.csv"} <= described.keys()
    names = {each["name"] for each in described["/api/fleet"]["get"]["parameters"]}
    assert {"target", "condition", "limit", "table"} <= names
    assert "/" not in described
