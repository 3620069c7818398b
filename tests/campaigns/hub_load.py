"""A hub as a process that can be killed, and boxes that remember what it promised them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections import Counter
from pathlib import Path

from benchmarks.hub.load import Connection as Http
from edgepack.hub.simulate.timeline import Plan, benchmarks_of, make_fleet, report_of
from tests.e2e.hubs import free_port

BOXES = 8
_START_S = 60.0
_BATCH_SHARE = 0.2
_NOW_MS = 1_790_000_000_000


class Serving:
    """One hub process after the other, on one store and one port."""

    def __init__(self, store: str, folder: Path, *arguments: str) -> None:
        """Makes one that is not started.

        Args:
            store: A path or an address.
            folder: Where what it says goes.
            *arguments: More of `edgepack hub serve`.
        """
        self.port = free_port()
        self._store = store
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the hub; it listens some time later."""
        command = [sys.executable, "-m", "edgepack.cli.main", "hub", "serve"]
        command += ["--store", self._store, "--port", str(self.port), *self._arguments]
        with (self._folder / "hub.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def listens(self) -> bool:
        """Whether it answers."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def wait(self) -> None:
        """Waits until it answers."""
        deadline = time.monotonic() + _START_S
        while not self.listens():
            ended = self._process is None or self._process.poll() is not None
            assert not ended, f"the hub ended by itself:\n{self.log[-3000:]}"
            assert time.monotonic() < deadline, f"the hub does not start:\n{self.log[-3000:]}"
            time.sleep(0.05)

    def kill(self) -> bool:
        """Kills it; whether it still ran."""
        if self._process is None:
            return False
        ran = self._process.poll() is None
        self._process.kill()
        self._process.wait(30)
        self._process = None
        return ran

    @property
    def log(self) -> str:
        """What all of them have said."""
        return (self._folder / "hub.log").read_text(errors="replace")


class Boxes:
    """Boxes in a thread of their own that send and remember what they were promised."""

    def __init__(self, port: int, enrol_token: str, seed: int) -> None:
        self.promised: dict[str, bytes] = {}
        self.statuses: Counter[int] = Counter()
        self.problems: list[str] = []
        self._port = port
        self._enrol_token = enrol_token
        self._stopping = False
        self._plan = Plan(seed, BOXES, 1, _NOW_MS)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        """Begins to send."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the answers that are on their way."""
        self._stopping = True
        self._thread.join(120)

    async def _run(self) -> None:
        await asyncio.gather(*(self._box(number) for number in range(BOXES)))

    async def _box(self, number: int) -> None:
        box = make_fleet(self._plan)[number]
        data = report_of(self._plan, next(benchmarks_of(self._plan, box))).to_bytes()
        mould = json.loads(data)
        chance = random.Random(number)
        http = Http(self._port)
        token, name = await self._enrol(http, box.device_id)
        mould["device_id"] = name
        while token and not self._stopping:
            count = 3 if chance.random() < _BATCH_SHARE else 1
            bodies = {}
            for _ in range(count):
                report_id = str(uuid.uuid4())
                bodies[report_id] = json.dumps({**mould, "report_id": report_id}).encode()
            await self._send(http, token, bodies)
        http.close()

    async def _enrol(self, http: Http, name: str) -> tuple[str, str]:
        """Enrols a box; a hub that is killed meanwhile may have let it in without saying so.

        Returns:
            Its token, empty when it was not let in, and its name.
        """
        while not self._stopping:
            body = json.dumps({"device_id": name, "label": "killed"}).encode()
            status, answer = await http.post("/api/enrol", body, self._enrol_token)
            if status == 201:
                return str(json.loads(answer)["token"]), name
            if status == 409:
                name = str(uuid.uuid4())
            elif status not in (0, 503):
                self.problems.append(f"enrolment: {status} {answer[:200]!r}")
                break
        return "", name

    async def _send(self, http: Http, token: str, bodies: dict[str, bytes]) -> None:
        """Sends reports until they are answered for, as a box does."""
        kind = "application/x-ndjson" if len(bodies) > 1 else "application/json"
        while True:
            status, answer = await http.post(
                "/api/reports", b"\n".join(bodies.values()), token, kind
            )
            self.statuses[status] += 1
            if status in (200, 201):
                self.promised |= bodies
                return
            if status not in (0, 429, 503):
                self.problems.append(f"a report was refused: {status} {answer[:200]!r}")
                return
            if self._stopping:
                return
            await asyncio.sleep(0.02)
