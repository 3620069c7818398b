"""A page by itself needs nothing, and runs nothing."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from edgepack.hub import asking
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.answers.sheet import Answer, sheet_of
from edgepack.hub.web.standalone import standalone_report
from tests.hub.stores import NOW_MS, Filler
from tests.hub.web.filling import fill_hub
from tests.hub.web.reading import nothing_runs, read_page
from tests.hub.web.test_pages import HOSTILE


def _answers(fill: Filler, text: str) -> list[Answer]:
    filled = fill_hub(fill, text=text)
    with fill.connect() as connection:
        found: list[Answer | None] = [
            asking.fleet(connection, FleetQuery(), now_ms=NOW_MS),
            asking.device(connection, filled.device, now_ms=NOW_MS),
            asking.compare(connection, CompareQuery(context=filled.context)),
            asking.compare(connection, CompareQuery(model="nothing")),
            asking.releases(connection),
            asking.release(connection, filled.after),
            asking.select(connection, SelectQuery(f"arm64{text}"), now_ms=NOW_MS, source="here"),
        ]
    return [each for each in found if each is not None]


@pytest.mark.parametrize("text", ["", *HOSTILE])
def test_a_page_by_itself_has_no_script_link_or_address(
    fill: Filler, store: Engine, text: str
) -> None:
    answers = _answers(fill, text)
    assert len(answers) == 7
    for answer in answers:
        for each in (answer, sheet_of(answer)):
            html = standalone_report(each, source=f"hub{text}", made_ms=NOW_MS).decode()
            page = read_page(html)
            nothing_runs(page, alone=True)
            assert page.links() == ["#main"]
            assert not page.all("form")
            assert not page.all("link")
            assert f"hub{text}" in page.text
            assert "2023-11-14 22:13 UTC" in page.text


def test_a_page_by_itself_has_every_column_and_the_charts(fill: Filler, store: Engine) -> None:
    _, device, *_ = _answers(fill, "")
    html = standalone_report(device, source="hub", made_ms=NOW_MS).decode()
    assert "First answer" in html
    assert html.count('role="img"') == 4
    alone = standalone_report(sheet_of(device), source="hub", made_ms=NOW_MS).decode()
    assert "First answer" in alone
    assert 'role="img"' not in alone


def test_half_a_character_in_a_name_is_no_obstacle(fill: Filler, store: Engine) -> None:
    with fill.connect() as connection:
        answer = asking.fleet(connection, FleetQuery(), now_ms=NOW_MS)
    assert b"hub ?" in standalone_report(answer, source="hub \ud800", made_ms=NOW_MS)
