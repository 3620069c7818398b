"""The runner as a process that serves or does one thing."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.real_models import (
    port_of,
    runner_command,
    runner_environment,
)

_START_S = 60
JSON = {"Content-Type": "application/json"}


@dataclass
class Served:
    """A running server."""

    process: subprocess.Popen[str]
    port: int

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, JSON if headers is None else headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = answer.getheader("Content-Type") == "application/json"
        return answer.status, json.loads(text) if is_json and text else text.decode()

    def talk(self, *data: bytes, wait_s: float = 20) -> bytes:
        """Sends raw bytes and returns everything until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait_s) as connection:
            for each in data:
                connection.sendall(each)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while block := connection.recv(65536):
                received += block
            return received


@contextlib.contextmanager
def serving(release: Path, *arguments: str) -> Iterator[Served]:
    process = subprocess.Popen(
        runner_command("serve", "--port", "0", "--release", str(release), *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=runner_environment(),
    )
    assert process.stdout is not None
    watchdog = threading.Timer(_START_S, process.kill)
    watchdog.start()
    try:
        port = port_of(process)
        watchdog.cancel()
        yield Served(process, port)
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def run_runner(*arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        runner_command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=runner_environment(),
        check=False,
    )
