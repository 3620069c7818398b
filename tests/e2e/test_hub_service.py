"""How the hub is run: systemd takes its units, and a real nginx stands before two processes.

What stands behind it here keeps what it hears; the real hub is in test_hub_behind_nginx.py.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY
from tests.e2e.nginx import Nginx, nginx_running

#: In tenths, as `systemd-analyze security` wants it: what is left is what a network server needs.
_EXPOSURE_LIMIT = 13


@pytest.mark.parametrize("name", ["edgepack-hub.service", "edgepack-hub@.service"])
def test_systemd_takes_the_hubs_units(tmp_path: Path, name: str) -> None:
    program = tmp_path / "edgepack"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (DEPLOY / "systemd" / name).read_text(encoding="utf-8")
    unit = tmp_path / name.replace("@.", "@8090.")
    unit.write_text(text.replace("/opt/edgepack/bin/edgepack", str(program)), encoding="utf-8")

    def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", *arguments, str(unit)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    verified = analyze("verify", "--man=no")
    assert (verified.returncode, verified.stderr) == (0, "")
    threshold = f"--threshold={_EXPOSURE_LIMIT}"
    exposed = analyze("security", "--offline=true", "--no-pager", threshold)
    assert exposed.returncode == 0, exposed.stdout


@dataclass
class _Process:
    """What stands for a process of the hub: it keeps what it was sent."""

    server: http.server.ThreadingHTTPServer
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 201

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])


@contextlib.contextmanager
def _process() -> Iterator[_Process]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            process.heard.append((self.path, dict(self.headers.items()), body))
            self.send_response(process.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    process = _Process(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
    process.server.daemon_threads = True
    thread = threading.Thread(target=process.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield process
    finally:
        process.server.shutdown()
        thread.join()
        process.server.server_close()


@dataclass(frozen=True)
class _Proxy:
    """A running nginx and what is behind it."""

    nginx: Nginx
    processes: tuple[_Process, _Process]

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Message]:
        answer = self.nginx.send(method, path, body, headers)
        return answer.status, answer.headers

    def send_plain(self, method: str, path: str) -> tuple[int, Message]:
        answer = self.nginx.send_plain(method, path)
        return answer.status, answer.headers

    def heard(self) -> list[tuple[str, dict[str, str], bytes]]:
        return [each for process in self.processes for each in process.heard]


@pytest.fixture
def proxy(nginx: Path, tmp_path: Path) -> Iterator[_Proxy]:
    with (
        _process() as one,
        _process() as other,
        nginx_running(nginx, tmp_path, (one.port, other.port)) as running,
    ):
        yield _Proxy(running, (one, other))


def test_a_report_arrives_as_it_was_sent_and_both_processes_are_used(proxy: _Proxy) -> None:
    body = gzip.compress(b'{"schema": 1}' * 100)
    told = {"Content-Encoding": "gzip", "Authorization": "Bearer t", "X-Forwarded-For": "1.2.3.4"}
    for _ in range(8):
        status, headers = proxy.send("POST", "/api/reports", body, told)
        assert status == 201
        assert headers["Strict-Transport-Security"].startswith("max-age=")
        assert headers["Server"] == "nginx"
    assert all(process.heard for process in proxy.processes)
    for path, passed_on, heard in proxy.heard():
        assert (path, heard) == ("/api/reports", body)
        assert passed_on["Content-Encoding"] == "gzip"
        assert passed_on["Authorization"] == "Bearer t"
        assert passed_on["Host"] == "hub.example"
        assert passed_on["X-Forwarded-Proto"] == "https"
        assert passed_on["X-Forwarded-For"] == "127.0.0.1"


def test_a_report_goes_to_the_other_process_when_one_is_full_or_gone(proxy: _Proxy) -> None:
    full, other = proxy.processes
    full.status = 503
    for _ in range(4):
        assert proxy.send("POST", "/api/reports", b"{}")[0] == 201
    assert len(other.heard) == 4


def test_a_token_that_is_good_once_is_never_sent_twice(proxy: _Proxy) -> None:
    for process in proxy.processes:
        process.status = 503
    assert proxy.send("POST", "/api/enrol", b"{}")[0] == 503
    assert len(proxy.heard()) == 1


def test_what_is_too_large_never_reaches_the_hub(proxy: _Proxy) -> None:
    # nginx answers by the length that is announced, and may close before it has read the body.
    told = {"Content-Length": str(17 * 2**20)}
    assert proxy.send("POST", "/api/reports", b"", told)[0] == 413
    assert proxy.heard() == []


def test_metrics_are_not_for_the_world(proxy: _Proxy) -> None:
    assert proxy.send("GET", "/metrics")[0] == 404
    assert proxy.heard() == []


def test_without_tls_a_page_is_sent_on_and_a_token_refused(proxy: _Proxy) -> None:
    status, headers = proxy.send_plain("GET", "/devices/till-7")
    assert (status, headers["Location"]) == (301, "https://hub.example/devices/till-7")
    assert proxy.send_plain("POST", "/api/reports")[0] == 403
    assert proxy.heard() == []
