"""A real hub on loopback with a small fleet, for what watches it."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import migrate
from edgepack.hub.web.app import create_app
from edgepack.hub.web.settings import HubSettings
from tests.hub.reports import report_bytes

_START_S = 60.0
_DEVICES = 20


@dataclass(frozen=True, slots=True)
class WatchedHub:
    """A running hub: its port, and a token of each kind that watching needs."""

    port: int
    reader: str
    device: str
    enrol: str

    def send(self, body: bytes, token: str | None = None) -> int:
        """POSTs a report; returns the status."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/reports", body, method="POST"
        )
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {token or self.device}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@contextlib.contextmanager
def watched_hub(folder: Path) -> Iterator[WatchedHub]:
    """Runs it."""
    engine = open_engine(folder / "hub.db")
    migrate(engine)
    now_ms = time.time_ns() // 1_000_000
    credentials = Credentials(engine)
    enrol = credentials.make(Role.ENROL, now_ms, uses=_DEVICES + 5)
    bearer = credentials.find(enrol, now_ms)
    assert bearer is not None
    devices = [credentials.enrol(bearer, f"box-{i:04}", "", now_ms) for i in range(_DEVICES)]
    reader = credentials.make(Role.READER, now_ms)
    app = create_app(engine, HubSettings(reports_per_minute=60_000, burst=60_000))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + _START_S
        while not server.started:
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        hub = WatchedHub(port, reader, devices[0], enrol)
        for i, token in enumerate(devices):
            assert hub.send(report_bytes(1_000_000 + i, device=None), token) == 201
        yield hub
    finally:
        server.should_exit = True
        thread.join()
        engine.dispose()
