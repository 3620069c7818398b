"""Debian's Chromium over the hub's pages, and the pages on loopback."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from sqlalchemy import Engine

from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.web.app import create_app

#: A reader's token of each hub that runs now, by its address.
TOKENS: dict[str, str] = {}


@contextlib.contextmanager
def serving_pages(engine: Engine, now_ms: int) -> Iterator[str]:
    """Serves a hub over a store on loopback, at a moment that stands still; yields the address."""
    token = Credentials(engine).make(Role.READER, now_ms)
    app = create_app(engine, now_ms=lambda: now_ms)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert server.started
            home = f"http://127.0.0.1:{listening.getsockname()[1]}"
            TOKENS[home] = token
            yield home
        finally:
            server.should_exit = True
            thread.join(30)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Starts Debian's Chromium."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        # Containers let no process make the namespaces of Chromium's own sandbox.
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A page of the browser that keeps everything that went wrong."""

    page: Page
    home: str
    wrong: list[str] = field(default_factory=list)

    def visit(self, address: str) -> Page:
        """Opens an address and waits until it is there."""
        self.page.goto(f"{self.home}{address}", wait_until="load")
        return self.page

    def __post_init__(self) -> None:
        # A broken policy is an error on the console.
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._watch)

    def _hear(self, message: ConsoleMessage) -> None:
        # What is only advice to whoever writes the page is left out.
        if str(message.type) != "verbose":
            self.wrong.append(f"{message.type}: {message.text}")

    def _watch(self, request: object) -> None:
        url = str(getattr(request, "url", ""))
        if not url.startswith((self.home, "data:")):
            self.wrong.append(f"asked {url}")


def save_light(page: Page, path: Path, height: int) -> None:
    """Saves a screenshot that is small enough for the docs."""
    page.set_viewport_size({"width": 1200, "height": height})
    page.screenshot(path=path)
