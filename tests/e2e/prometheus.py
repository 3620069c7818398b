"""A real Prometheus from Debian's package, unpacked beside the tests."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.debian import unpack_package

_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Programs:
    """Where Prometheus and its companion lie."""

    prometheus: Path
    promtool: Path


def unpack_prometheus(folder: Path) -> Programs:
    """Fetches Debian's package and unpacks it into a folder."""
    programs = unpack_package("prometheus", folder) / "usr" / "bin"
    return Programs(programs / "prometheus", programs / "promtool")


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Asks for the present value of an expression."""
        result: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return result

    def ask(self, path: str, **asked: str) -> Any:
        """Asks the HTTP API of Prometheus and returns the data of its answer."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            document = json.load(answer)
        assert document["status"] == "success"
        return document["data"]

    def value(self, expression: str) -> float:
        """Asks until the expression has one value, which it is."""
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError):
                found = self.query(expression)
                if found:
                    return float(found[0]["value"][1])
            assert time.monotonic() < deadline, f"{expression} has no value"
            time.sleep(0.2)


@contextlib.contextmanager
def scraping(programs: Programs, folder: Path, target: int) -> Iterator[Prometheus]:
    """Runs a Prometheus on loopback that scrapes a port of this machine every second."""
    configuration = folder / "prometheus.yml"
    configuration.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        "- job_name: edgepack-runner\n"
        f"  static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
    )
    with running(programs, configuration) as prometheus:
        yield prometheus


@contextlib.contextmanager
def running(programs: Programs, configuration: Path) -> Iterator[Prometheus]:
    """Runs a Prometheus on loopback, with its data and its log beside its configuration."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = configuration.parent
    command = [str(programs.prometheus), f"--config.file={configuration}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "GOMAXPROCS": "1"}
        )
    try:
        yield Prometheus(port)
    finally:
        process.kill()
        process.wait(30)
