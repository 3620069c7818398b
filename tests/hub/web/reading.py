"""Asks the hub's routers without a network, and reads pages as a browser would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx
from fastapi import FastAPI
from sqlalchemy import Engine

from edgepack.hub.web.answers_api import answers_router
from edgepack.hub.web.pages import pages_router
from tests.hub.stores import NOW_MS

_VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})


class Reader:
    """Gets pages and answers over a store."""

    def __init__(self, engine: Engine, *, root_path: str = "") -> None:
        app = FastAPI()
        app.include_router(pages_router(engine, lambda: NOW_MS))
        app.include_router(answers_router(engine, lambda: NOW_MS))
        self._transport = httpx.ASGITransport(app, root_path=root_path)

    def get(self, address: str) -> httpx.Response:
        """Gets an address."""

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://hub.test"
            ) as client:
                return await client.get(address)

        return asyncio.run(ask())

    def page(self, address: str) -> Page:
        """Gets a page that is there."""
        response = self.get(address)
        assert response.status_code == 200, response.text
        return read_page(response.text)


@dataclass
class Page:
    """What a browser would make of a page."""

    text: str = ""
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)

    def all(self, name: str) -> list[dict[str, str]]:
        """Returns the attributes of all elements of a name."""
        return [attributes for each, attributes in self.elements if each == name]

    def links(self) -> list[str]:
        """Returns where the links lead."""
        return [each["href"] for each in self.all("a")]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.page.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.page.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        self.page.text += data
        if self._open and self._open[-1] == "h1":
            self.page.headings.append(data)

    def close(self) -> None:
        super().close()
        self.page.unclosed += self._open


def read_page(text: str) -> Page:
    """Parses a page."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    return parser.page


def nothing_runs(page: Page, *, alone: bool = False) -> None:
    """Checks that a page holds no script, style or address but the hub's own."""
    assert page.unclosed == []
    scripts = page.all("script")
    assert scripts == ([] if alone else [{"src": "/static/hub.js", "defer": ""}])
    allowed = {"html", "head", "body", "meta", "title", "link", "script", "style", "header", "nav"}
    allowed |= {"ul", "li", "a", "main", "h1", "h2", "h3", "p", "footer", "section", "div", "table"}
    allowed |= {"thead", "tbody", "tr", "th", "td", "span", "b", "small", "form", "label", "input"}
    allowed |= {"select", "option", "button", "dl", "dt", "dd", "figure", "figcaption", "details"}
    allowed |= {"summary", "pre", "svg", "desc", "line", "text", "polyline", "circle", "rect"}
    allowed |= {"path", "code"}
    for name, attributes in page.elements:
        assert name in allowed, name
        for key, value in attributes.items():
            assert not key.startswith("on"), (name, key)
            assert key != "style", name
            if key in ("href", "src", "action"):
                assert value.startswith(("/", "#")), value
                assert not value.startswith("//"), value
