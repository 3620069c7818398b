"""The hub's pages in a real browser: empty, with one device, with a fleet, with hostile texts.

With EDGEPACK_SCREENSHOTS=FOLDER the screenshots of the docs are made anew.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, ViewportSize
from sqlalchemy import Engine, insert, select

from edgepack.hub.simulate.bulk import fill_store
from edgepack.hub.simulate.timeline import Plan
from edgepack.hub.store import schema
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import migrate
from tests.e2e.browser import TOKENS, Visitor, chromium, save_light, serving_pages
from tests.e2e.postgresql import PostgreSQL
from tests.hub.stores import NOW_MS, Filler, open_store
from tests.hub.web.filling import fill_hub
from tests.hub.web.test_pages import HOSTILE, addresses

NARROW: ViewportSize = {"width": 360, "height": 740}
WIDE: ViewportSize = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    engine = open_store(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def fleet_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A made-up fleet's reports."""
    engine = open_store(tmp_path_factory.mktemp("fleet"))
    fill_store(engine, Plan(3, 120, 40, NOW_MS), archetypes=40)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def fleet(fleet_store: Engine) -> Iterator[str]:
    """Pages over it."""
    with serving_pages(fleet_store, NOW_MS) as home:
        yield home


@pytest.fixture(scope="module")
def fleet_on_postgresql(fleet_store: Engine, postgresql: PostgreSQL) -> Iterator[str]:
    """Pages over the very same rows in the other database."""
    engine = open_engine(postgresql.new_database())
    migrate(engine)
    with fleet_store.connect() as reading, engine.begin() as writing:
        for table in schema.metadata.sorted_tables:
            # Each hub has tokens of its own.
            if table is not schema.credential:
                for rows in reading.execute(select(table)).mappings().partitions(1000):
                    writing.execute(insert(table), [dict(row) for row in rows])
    with serving_pages(engine, NOW_MS) as home:
        yield home
    engine.dispose()


def _visitor(
    browser: Browser,
    home: str,
    *,
    dark: bool = False,
    narrow: bool = False,
    signed_in: bool = True,
) -> Visitor:
    page = browser.new_page(
        viewport=NARROW if narrow else WIDE,
        color_scheme="dark" if dark else "light",
        extra_http_headers={"Authorization": f"Bearer {TOKENS[home]}"} if signed_in else {},
    )
    return Visitor(page, home)


def _walk(visitor: Visitor) -> list[str]:
    """Goes through the pages by their links, as a person would; returns the addresses."""
    page = visitor.visit("/")
    seen = [page.url]
    page.locator("tbody th a").first.click()
    page.wait_for_selector("figure svg")
    seen.append(page.url)
    page.locator("a[href*='/reports/']").first.click()
    page.wait_for_selector("pre")
    seen.append(page.url)
    page.get_by_role("link", name="Compare", exact=True).click()
    page.wait_for_selector("text=What differs")
    seen.append(page.url)
    page.locator("a[href*='context=']").first.click()
    page.wait_for_selector("figure svg")
    seen.append(page.url)
    page.get_by_role("link", name="Choose", exact=True).click()
    page.wait_for_selector("h1:has-text('Choose')")
    page.get_by_label("Target").select_option("arm64")
    page.get_by_role("button", name="Show").click()
    page.wait_for_selector("h1:has-text(' for arm64')")
    seen.append(page.url)
    page.get_by_role("link", name="Releases", exact=True).click()
    page.wait_for_selector("h1:has-text('Releases')")
    seen.append(page.url)
    page.locator("tbody td a").first.click()
    page.wait_for_selector("h1:has-text(' for ')")
    seen.append(page.url)
    return [each.removeprefix(visitor.home) for each in seen]


@pytest.mark.parametrize("dark", [False, True])
def test_a_person_walks_through_the_pages_of_a_fleet(
    browser: Browser, fleet: str, dark: bool
) -> None:
    visitor = _visitor(browser, fleet, dark=dark)
    seen = _walk(visitor)
    assert len(set(seen)) == 8
    assert visitor.wrong == []
    visitor.page.close()


def test_every_page_says_the_same_on_postgresql(
    browser: Browser, fleet: str, fleet_on_postgresql: str
) -> None:
    here, there = _visitor(browser, fleet_on_postgresql), _visitor(browser, fleet)
    addresses = _walk(here)
    assert addresses == _walk(there)
    more = ("/?details=1", "/?condition=throttled", "/compare?scenario=offline", "/login")
    for address in (*addresses, *more):
        texts = [each.visit(address).locator("body").inner_text() for each in (here, there)]
        assert len(texts[0]) > 50, address
        assert texts[0] == texts[1], address
    assert here.wrong == there.wrong == []
    here.page.close()
    there.page.close()


def test_on_a_phone_only_tables_and_charts_scroll_sideways(browser: Browser, fleet: str) -> None:
    visitor = _visitor(browser, fleet, narrow=True)
    for address in [*_walk(visitor), "/login", "/?details=1"]:
        page = visitor.visit(address)
        assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"], address
        assert page.evaluate("document.scrollingElement.clientWidth") == NARROW["width"], address
    assert visitor.wrong == []
    visitor.page.close()


def test_filters_change_the_address_and_lead_back(browser: Browser, fleet: str) -> None:
    visitor = _visitor(browser, fleet)
    page = visitor.visit("/")
    page.get_by_label("Grade").select_option("B")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**grade=B**")
    assert page.get_by_label("Grade").input_value() == "B"
    grades = page.locator("tbody tr td:nth-child(7)").all_inner_texts()
    assert grades
    assert set(grades) == {"B"}
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url(f"{fleet}/")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    with Path(download.value.path()).open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 120
    assert visitor.wrong == []
    page.close()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    browser: Browser, fleet: str
) -> None:
    visitor = _visitor(browser, fleet)
    page = visitor.visit("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.tagName"))
        style = page.evaluate(
            "(s => [s.outlineStyle, s.outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", "3px"]
    assert {"A", "SELECT", "INPUT", "BUTTON", "DIV"} <= reached
    page.close()


def test_a_choice_is_made_with_the_keyboard_and_its_address_is_shared(
    browser: Browser, fleet: str
) -> None:
    visitor = _visitor(browser, fleet)
    page = visitor.visit("/select")
    page.get_by_label("Target").focus()
    page.keyboard.type("arm64")
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.inputMode") == "decimal"
    page.keyboard.type("900")
    page.keyboard.press("Tab")
    page.keyboard.type("500")
    page.keyboard.press("Enter")
    page.wait_for_url("**max_p99_ms=900**")
    page.wait_for_selector("h1:has-text(' for arm64')")
    assert "max_size_mb=500" in page.url
    first = page.locator("main").inner_text()
    again = visitor.visit(page.url.removeprefix(fleet))
    assert again.locator("main").inner_text() == first
    assert again.get_by_label("p99 at most, ms").input_value() == "900"
    assert again.locator(".lead .mark").inner_text() in ("settled", "not settled")
    # Each table is named for who hears the page, and scrolls with the keyboard.
    regions = again.locator("div.scroll[role=region]")
    assert regions.count() >= 2
    for each in regions.all():
        assert each.get_attribute("tabindex") == "0"
        name = again.locator(f"#{each.get_attribute('aria-labelledby')}").inner_text()
        assert len(name) > 3
    with again.expect_download() as download:
        again.get_by_role("link", name="CSV").first.click()
    with Path(download.value.path()).open(encoding="utf-8", newline="") as stream:
        assert {"runtime", "variant"} <= set(next(csv.DictReader(stream)))
    assert visitor.wrong == []
    page.close()


def test_texts_have_contrast_in_light_and_dark(browser: Browser, fleet: str) -> None:
    for dark in (False, True):
        visitor = _visitor(browser, fleet, dark=dark)
        for address in _walk(visitor):
            page = visitor.visit(address)
            low = page.evaluate(_CONTRAST)
            assert low == [], (address, dark)
        visitor.page.close()


def test_an_empty_hub_has_pages(browser: Browser, store: Engine) -> None:
    with serving_pages(store, NOW_MS) as home:
        visitor = _visitor(browser, home, narrow=True)
        for address in ("/", "/compare", "/select", "/select?target=arm64", "/releases", "/login"):
            page = visitor.visit(address)
            assert page.locator("h1").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
        assert visitor.wrong == []
        visitor.page.close()


def test_one_device_with_one_report_is_shown(browser: Browser, store: Engine) -> None:
    fill = Filler(store)
    release = fill.release()
    setup = fill.setup(release)
    box = fill.device("only", release_id=release, setup_id=setup, p50_ns=1_000_000)
    context = fill.context()
    fill.run(fill.report(box, setup), context)
    fill.standing(box, setup, context, 1_000_000)
    fill.connect().close()
    fill.close()
    with serving_pages(store, NOW_MS) as home:
        visitor = _visitor(browser, home)
        page = visitor.visit("/devices/only")
        assert page.locator("figure").count() == 4
        page = visitor.visit("/compare")
        assert "1 box: too few" in page.locator("main").inner_text()
        page = visitor.visit("/releases")
        page.locator("tbody a").first.click()
        page.wait_for_selector("text=No box has runs of both.")
        assert visitor.wrong == []
        page.close()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_do_nothing_in_a_browser(browser: Browser, store: Engine, text: str) -> None:
    fill = Filler(store)
    filled = fill_hub(fill, text=text)
    fill.close()
    with serving_pages(store, NOW_MS) as home:
        visitor = _visitor(browser, home, narrow=True)
        for address in [
            *addresses(filled).values(),
            f"/?text={quote(text, safe='')}",
            f"/login#{quote(text, safe='')}",
        ]:
            page = visitor.visit(address)
            page.mouse.move(180, 300)
            assert page.locator("script").count() == 1
            assert page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
            # A hostile text is no token, and Chromium calls that answer an error.
            refused = "401 (Unauthorized)"
            assert [each for each in visitor.wrong if refused not in each] == []
        visitor.page.close()


def test_a_token_behind_the_mark_of_an_address_signs_in(browser: Browser, store: Engine) -> None:
    with serving_pages(store, NOW_MS) as home:
        visitor = _visitor(browser, home, signed_in=False)
        page = visitor.visit("/compare?scenario=offline")
        assert page.url.startswith(f"{home}/login?next=")
        page.get_by_label("token").fill(TOKENS[home])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{home}/compare?scenario=offline")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{home}/login")
        page.goto("about:blank")
        page.goto(f"{home}/login#{TOKENS[home]}")
        page.wait_for_url(f"{home}/")
        assert visitor.wrong == []
        assert [cookie["httpOnly"] for cookie in page.context.cookies()] == [True]
        visitor.page.close()


def test_screenshots_of_the_docs_are_light(browser: Browser, fleet: str, tmp_path: Path) -> None:
    folder = Path(os.environ.get("EDGEPACK_SCREENSHOTS", tmp_path))
    visitor = _visitor(browser, fleet)
    compared = _walk(visitor)[4]
    heights = {"fleet": 720, "device": 840, "compare": 940, "release": 860}
    first = {
        "device": "/?condition=throttled",
        "release": "/releases?target=arm64",
    }
    for name, height in heights.items():
        page = visitor.visit({"compare": compared}.get(name, first.get(name, "/")))
        if name in first:
            # The newest release has few boxes yet.
            page.locator("tbody tr").nth(int(name == "release")).locator("a").first.click()
            page.wait_for_selector("figure svg")
        file = folder / f"hub-{name}.png"
        save_light(page, file, height)
        assert 10_000 < file.stat().st_size < 150_000, name
    visitor.page.close()


#: Text whose contrast with what is behind it is below WCAG 2.2's AA (1.4.3), outside of charts.
_CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = color.slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("svg") || e.closest(".skip")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) low.add(e.tagName + "." + e.className);
  }
  return [...low];
}"""
