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
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from sqlalchemy import Engine
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from edgepack.hub.web.answers_api import answers_router
from edgepack.hub.web.pages import pages_router
from edgepack.hub.web.rendering import STATIC, login_page

#: What the hub sends with each page; a script or style that is not its own is an error here.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'"
)


@contextlib.contextmanager
def serving_pages(engine: Engine, now_ms: int) -> Iterator[str]:
    """Serves the pages of a store on loopback; yields the address."""
    app = FastAPI()
    app.include_router(pages_router(engine, lambda: now_ms))
    app.include_router(answers_router(engine, lambda: now_ms))
    app.mount("/static", StaticFiles(directory=str(STATIC)))

    @app.get("/login")
    def login() -> Response:
        return login_page(None)

    @app.post("/login")
    async def signed_in(request: Request) -> Response:
        return login_page(f"taken: {(await request.body()).decode()}")

    async def guarded(request: Request, follow: RequestResponseEndpoint) -> Response:
        response = await follow(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    app.add_middleware(BaseHTTPMiddleware, dispatch=guarded)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not server.started and thread.is_alive() and time.monotonic() < deadline:
                time.sleep(0.02)
            assert server.started
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
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
