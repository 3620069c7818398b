"""Each page, whole and empty, with names that would run if they could."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from sqlalchemy import Engine

from tests.hub.stores import Filler
from tests.hub.web.filling import Filled, fill_hub
from tests.hub.web.reading import Reader, nothing_runs, read_page

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)' x='",
    "</title></svg></style></textarea><script>alert(1)</script>",
    "javascript:alert(1)//",
    "{{ 7 * 7 }}{% raw %}<%= 7 * 7 %>",
    "\u202eevil\u2066\u200f",
    "&lt;b&gt;&amp;#60;",
    "w" * 140,
)


def addresses(filled: Filled) -> dict[str, str]:
    device = f"/devices/{quote(filled.device, safe='')}"
    return {
        "fleet": "/?details=1",
        "device": f"{device}?details=1",
        "document": f"{device}/reports/{filled.report_id}",
        "compare": f"/compare?context={filled.context}&details=1",
        "refused": "/compare",
        "select": f"/select?target={quote(filled.target, safe='')}&details=1",
        "releases": "/releases?details=1",
        "release": f"/releases/{filled.after}?details=1",
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_box_runs_on_any_page(fill: Filler, store: Engine, text: str) -> None:
    filled = fill_hub(fill, text=text)
    other = fill.context("another box")
    fill.standing(fill.device(text[:60]), 1, other, 1)
    fill.connect().close()
    reader = Reader(store)
    shown = 0
    for name, address in addresses(filled).items():
        response = reader.get(address)
        assert response.status_code == 200, name
        page = read_page(response.text)
        nothing_runs(page)
        shown += text[:60] in page.text
        if "<" in text:
            assert text not in response.text
    # It is not left out either: people must see what a box is called.
    assert shown >= 7


@pytest.mark.parametrize("text", HOSTILE)
def test_a_question_that_is_hostile_is_shown_as_text(store: Engine, text: str) -> None:
    reader = Reader(store)
    word = quote(text, safe="")
    for address in (
        f"/?text={word}&target={word}&release={word}&box={word}",
        f"/?grade={word}",
        f"/?{word}={word}",
        f"/devices/{word}",
        f"/devices/{word}/reports/{word}",
        f"/compare?model={word}&fact=a%3D{word}&context={word}&release={word}",
        f"/compare?scenario={word}",
        f"/compare?fact={word}",
        f"/releases?model={word}&target={word}",
        f"/select?target={word}&model={word}&box={word}",
        f"/select?target=arm64&min_quality={word}",
        f"/select?max_p99_ms={word}",
        f"/releases/{word}?before={word}",
    ):
        response = reader.get(address)
        assert response.status_code in (200, 400, 404), address
        nothing_runs(read_page(response.text))


def test_every_page_has_one_heading_landmarks_and_a_way_past_the_menu(
    fill: Filler, store: Engine
) -> None:
    filled = fill_hub(fill)
    reader = Reader(store)
    for address in addresses(filled).values():
        page = reader.page(address)
        assert len(page.all("h1")) == 1
        assert len(page.all("main")) == 1
        assert page.all("html") == [{"lang": "en"}]
        assert page.links()[0] == "#main"
        ids = [each["id"] for _, each in page.elements if "id" in each]
        assert len(ids) == len(set(ids))
        for each in page.all("th"):
            assert each["scope"] in ("col", "row")
        labelled = {each["for"] for each in page.all("label")}
        fields = [*page.all("select"), *page.all("input")]
        assert all(each["id"] in labelled for each in fields if each.get("type") != "hidden")


def test_every_chart_says_in_words_what_it_shows(fill: Filler, store: Engine) -> None:
    filled = fill_hub(fill)
    reader = Reader(store)
    charts = 0
    for name in ("device", "compare", "release"):
        page = reader.page(addresses(filled)[name])
        ids = {each["id"] for _, each in page.elements if "id" in each}
        for each in page.all("svg"):
            if each.get("role") == "img":
                charts += 1
                assert set(each["aria-labelledby"].split()) <= ids
            else:
                assert each["aria-hidden"] == "true"
        assert page.all("table"), name
    assert charts >= 7
    text = reader.page(addresses(filled)["device"]).text
    assert "p50: 7 values from 1.00 µs to 1.01 ms, the last 1.00 ms." in text
    assert "Releases: 1.1.0shop 1 at" in text


def test_an_empty_hub_says_so_on_each_page(store: Engine) -> None:
    reader = Reader(store)
    for address, words in (
        ("/", "No devices yet."),
        ("/compare", "There are no reports yet."),
        ("/releases", "No release was reported."),
        ("/select", "There are no reports yet."),
        ("/select?target=arm64", "There are no reports for the target arm64"),
    ):
        page = reader.page(address)
        nothing_runs(page)
        assert words in page.text


def test_a_device_that_never_reported_has_a_page(fill: Filler, store: Engine) -> None:
    fill.device("new", seen_ms=None, reported_ms=None, grade=None, box=None, reports=0)
    fill.connect().close()
    page = Reader(store).page("/devices/new")
    assert "There is no report to draw." in page.text
    assert "never" in page.text


def test_a_name_that_must_be_quoted_leads_to_its_device(fill: Filler, store: Engine) -> None:
    name = 'a b/c/?"#%41'
    fill.report(fill.device(name), fill.setup(fill.release()))
    fill.connect().close()
    reader = Reader(store)
    link = next(each for each in reader.page("/").links() if each.startswith("/devices/"))
    page = reader.page(link)
    assert page.headings == [name]
    document = next(each for each in page.links() if "/reports/" in each)
    assert reader.page(document).headings == ["Report 00000000-0000-4000-8000-000000000001"]


def test_every_link_of_every_page_leads_somewhere(fill: Filler, store: Engine) -> None:
    filled = fill_hub(fill)
    fill.standing(fill.device(), 1, fill.context("another box"), 1)
    fill.connect().close()
    reader = Reader(store)
    found = {link for each in addresses(filled).values() for link in reader.page(each).links()}
    found = {each for each in found if each.startswith("/") and not each.startswith("/static")}
    assert len(found) > 40
    for each in sorted(found):
        assert reader.get(each).status_code == 200, each


def test_behind_a_prefix_every_address_has_it(fill: Filler, store: Engine) -> None:
    fill_hub(fill)
    page = Reader(store, root_path="/hub").page("/hub/")
    leads = [*page.links(), *(each["href"] for each in page.all("link"))]
    leads += [each["action"] for each in page.all("form")]
    assert all(each.startswith(("/hub/", "#")) for each in leads)


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("/?grade=Z", 400, "got 'Z', expected one of"),
        ("/?limit=0", 400, "expected a number from 1 to 10000"),
        ("/?text=%00", 400, "zero byte"),
        ("/compare?fact=x", 400, "expected PATH=VALUE"),
        ("/select?target=a&min_quality=2", 400, "expected a number from 0 to 1"),
        ("/select?max_size_mb=small", 400, "size_mb: got 'small', expected a number"),
        ("/devices/a?days=soon", 400, "expected a number"),
        ("/devices/nobody", 404, "There is no device 'nobody'."),
        ("/devices/%00", 404, "There is no device"),
        ("/devices/nobody/reports/none", 404, "no report none"),
        ("/releases/12345678", 404, "begins with '12345678'"),
    ],
)
def test_what_cannot_be_asked_or_is_not_there_is_said_on_a_page(
    store: Engine, address: str, status: int, words: str
) -> None:
    response = Reader(store).get(address)
    assert response.status_code == status
    page = read_page(response.text)
    nothing_runs(page)
    assert words in page.text


def test_the_fleet_pages_through_many_devices(fill: Filler, store: Engine) -> None:
    for _ in range(5):
        fill.device()
    fill.connect().close()
    reader = Reader(store)
    first = reader.page("/?limit=2&grade=A")
    assert "5 of 5 devices fit; here are 1 to 2" in first.text
    after = next(each for each in first.links() if "offset=2" in each)
    assert "here are 3 to 4" in reader.page(after).text
    last = reader.page("/?limit=2&offset=4")
    assert not any("offset=6" in each for each in last.links())
    assert "none of them is here" in reader.page("/?offset=90").text


def test_a_damaged_document_is_said_and_not_shown(fill: Filler, store: Engine) -> None:
    from sqlalchemy import update

    from edgepack.hub.store import schema
    from edgepack.hub.store.engine import writing

    filled = fill_hub(fill)
    with writing(store).begin() as connection:
        connection.execute(update(schema.document).values(body=b"not packed"))
    response = Reader(store).get(addresses(filled)["document"])
    assert response.status_code == 500
    assert "This cannot be shown" in response.text
