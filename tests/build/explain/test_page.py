"""The page by itself: whole, readable by programs, and deaf to what names hold."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgepack.build.explain.explanation import Explanation
from edgepack.build.explain.gather import Answers, gather
from edgepack.build.explain.page import write_page
from tests.build.explain.simulated import SimulatedWorker, make_model, make_variant, timing

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "`</code><h1>`",
    "a\x00b\u2028c",
    "half \ud800 a character",
    "\u202egnp.exe",
    "x" * 5000,
)


def explanation(folder: Path, name: str = "dense") -> Explanation:
    worker = SimulatedWorker(names=(name, "other"))
    damages = {name: {"layer": name, "failure": f"cannot cut {name}"}}
    answers = Answers(worker.look(), damages, timing([name]), "")
    return gather(make_model(folder), make_variant(folder), answers)


class _Reader(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_text(tmp_path: Path, name: str) -> None:
    found = explanation(tmp_path, name)
    page = _Reader(write_page(replace(found, model=name)))
    plain = _Reader(write_page(explanation(tmp_path)))
    assert set(page.tags) <= set(plain.tags)
    assert page.tags.count("tr") == plain.tags.count("tr")
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert page.open == []


def test_no_control_character_reaches_the_page(tmp_path: Path) -> None:
    page = write_page(explanation(tmp_path, "a\x00b\x1bc")).decode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f]", page)


def test_it_asks_for_nothing_and_runs_nothing(tmp_path: Path) -> None:
    page = _Reader(write_page(explanation(tmp_path)))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href"} & {key for key, value in page.attributes if value != "#main"}


def test_programs_that_read_aloud_find_their_way(tmp_path: Path) -> None:
    page = _Reader(write_page(explanation(tmp_path)))
    assert ("lang", "en") in page.attributes
    assert page.tags.count("h1") == 1
    assert page.tags.count("main") == 1
    assert page.tags.count("table") == 2
    heads = [value for key, value in page.attributes if key == "scope"]
    assert set(heads) == {"col", "row"}
    named = [value for key, value in page.attributes if key == "aria-labelledby"]
    assert set(named) <= {value for key, value in page.attributes if key == "id"}


def test_a_layer_that_could_not_be_measured_says_why(tmp_path: Path) -> None:
    assert "cannot cut dense" in write_page(explanation(tmp_path)).decode("utf-8")


def test_timings_are_labelled_with_their_machine(tmp_path: Path) -> None:
    text = write_page(explanation(tmp_path)).decode("utf-8")
    assert "a made-up processor" in text
    assert "says nothing about another processor" in text
