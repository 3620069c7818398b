"""Charts on their way from a hub into a page by itself."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from edgepack.formats.errors import HubError
from edgepack.hub import asking
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.sheet import Chart, parse_sheet
from edgepack.hub.web.answer_charts import charts_of, redrawn
from edgepack.hub.web.standalone import standalone_report
from tests.hub.stores import NOW_MS, Filler
from tests.hub.web.filling import fill_hub
from tests.hub.web.reading import Reader, nothing_runs, read_page
from tests.hub.web.test_pages import HOSTILE

_START = '<svg xmlns="http://www.w3.org/2000/svg" role="img">'


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        '<rect onload="alert(1)"/>',
        '<rect style="fill: red"/>',
        '<a href="javascript:alert(1)"><text>x</text></a>',
        '<image href="https://elsewhere.example/x.png"/>',
        "<foreignObject><body/></foreignObject>",
        '<script xmlns="http://www.w3.org/1999/xhtml">alert(1)</script>',
        '<text xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="#a">x</text>',
        "<style>text { fill: red }</style>",
        "<text><text><text>x</text></text></text>",
        "<text>",
        "<!-- x -->",
        "<![CDATA[x]]>",
        "<?xml-stylesheet href='x'?>",
    ],
)
def test_what_no_chart_of_ours_holds_is_refused(inside: str) -> None:
    with pytest.raises(HubError, match="the chart 'Spread'"):
        redrawn(Chart("Spread", f"{_START}{inside}</svg>"))


@pytest.mark.parametrize(
    "svg",
    [
        "",
        "not xml",
        "<svg/>",
        "<html xmlns='http://www.w3.org/1999/xhtml'/>",
        '<!DOCTYPE svg [<!ENTITY a "aaaa">]>' + _START + "<text>&a;</text></svg>",
        _START + "<text>&undeclared;</text></svg>",
        _START + "</svg>" * 2,
    ],
)
def test_what_is_no_drawing_is_refused(svg: str) -> None:
    with pytest.raises(HubError, match="the chart 'Spread'"):
        redrawn(Chart("Spread", svg))


@pytest.mark.parametrize("text", ["", *HOSTILE, "bell \x07 and \x1b[31m"])
def test_a_chart_is_the_same_after_the_way(fill: Filler, store: Engine, text: str) -> None:
    filled = fill_hub(fill, text=text)
    with fill.connect() as connection:
        answers = [
            asking.device(connection, filled.device, now_ms=NOW_MS),
            asking.compare(connection, CompareQuery(context=filled.context)),
            asking.release(connection, filled.after),
        ]
    count = 0
    for answer in answers:
        assert answer is not None
        for each in charts_of(answer):
            count += 1
            made = redrawn(each)
            assert str(made.svg) == each.svg.replace("\x07", "?").replace("\x1b", "?")
            assert (made.title, made.legend, made.note) == (each.title, each.legend, each.note)
    assert count == 8


def test_an_answer_without_charts_on_its_page_sends_none(fill: Filler, store: Engine) -> None:
    with fill.connect() as connection:
        assert charts_of(asking.releases(connection)) == ()
        assert charts_of(asking.compare(connection, CompareQuery())) == ()


def test_charts_are_sent_where_they_are_asked_for_and_make_the_same_page(
    fill: Filler, store: Engine
) -> None:
    filled = fill_hub(fill)
    reader = Reader(store)
    assert "charts" not in reader.get(f"/api/compare?context={filled.context}").json()
    assert reader.get("/api/fleet?charts=1").json()["charts"] == []
    assert reader.get("/api/fleet?charts=all").status_code == 400
    sheet = parse_sheet(reader.get(f"/api/compare?context={filled.context}&charts=1").content)
    page = read_page(standalone_report(sheet, source="hub", made_ms=NOW_MS).decode())
    nothing_runs(page, alone=True)
    with fill.connect() as connection:
        answer = asking.compare(connection, CompareQuery(context=filled.context))
    stored = read_page(standalone_report(answer, source="hub", made_ms=NOW_MS).decode())
    for name in ("svg", "desc", "rect", "circle", "line", "text", "figcaption"):
        assert page.all(name) == stored.all(name)
    assert sum(each.get("role") == "img" for each in page.all("svg")) == 3


def test_a_chart_that_is_none_is_a_fault_of_the_hub() -> None:
    for charts in ([{"title": "x"}], [7], {"a": 1}, 7):
        body = b'{"schema": "edgepack.answer/1", "title": "", "lines": [], "tables": [%s], '
        table = b'{"table": "a", "title": "", "columns": [], "rows": [], "note": ""}'
        with pytest.raises(HubError, match="cannot be read"):
            parse_sheet(
                body % table + b'"charts": ' + repr(charts).replace("'", '"').encode() + b"}"
            )
