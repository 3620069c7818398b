"""A bundle on an emulated ARM box that has Debian's python3 and nothing else."""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.cache import Cache
from edgepack.build.emulate import Bind, Root, make_root, run_in_root
from edgepack.build.process import ChildResult
from edgepack.build.targets import load_target
from edgepack.formats.golden import GoldenSequence, GoldenSet, check_ranking
from edgepack.formats.report import check_report
from tests.e2e.builds import FullBuild

#: Everything is slow under emulation; a hang is still found.
TIMEOUT_S = 300.0


class Box:
    """An ARM box: one writable folder at /mnt/box, the host's loopback, no other thing."""

    def __init__(self, root: Root, folder: Path, cpu_model: str) -> None:
        self.folder = folder
        self._root = root
        self._cpu_model = cpu_model

    def run(self, *argv: str, timeout_s: float = TIMEOUT_S) -> ChildResult:
        """Runs a program on the box."""
        return run_in_root(
            self._root,
            argv,
            binds=[Bind(self.folder, "box", writable=True)],
            cpu_model=self._cpu_model,
            timeout_s=timeout_s,
            network=True,
        )


@pytest.fixture(scope="module")
def box(
    full_build: FullBuild,
    cache_dir: Path,
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Box:
    """A box with the arm64 bundle copied onto it and installed."""
    target = load_target("arm64", (repository / "targets",))
    root = make_root(target, Cache(cache_dir))
    assert root.emulated
    folder = tmp_path_factory.mktemp("box")
    shutil.copy(full_build.bundle("arm64"), folder / "session.pyz")
    found = Box(root, folder, target.qemu_model)
    installed = found.run("python3", "/mnt/box/session.pyz", "install", "--root", "/mnt/box/R")
    assert installed.ok, installed.stderr
    return found


@pytest.fixture(scope="module")
def golden(box: Box) -> GoldenSet:
    """The golden answers in the installed release."""
    (path,) = (box.folder / "R" / "current" / "golden").iterdir()
    return GoldenSet.from_bytes(path.read_bytes())


#: The box has no shell. This ends the daemon when told to, so that nothing of ours runs on.
_SUPERVISOR = """
import os, subprocess, sys, time
stop, port = sys.argv[1:]
command = ["/mnt/box/R/bin/edgepack-runner", "serve", "--host", "127.0.0.1", "--port", port]
runner = subprocess.Popen(command)
while not os.path.exists(stop) and runner.poll() is None:
    time.sleep(0.2)
runner.terminate()
sys.exit(runner.wait())
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def address(box: Box) -> Iterator[str]:
    """The base address of `edgepack-runner serve` running on the box."""
    port = _free_port()
    stop = box.folder / "stop"
    with ThreadPoolExecutor(1) as pool:
        ended: Future[ChildResult] = pool.submit(
            box.run, "python3", "-c", _SUPERVISOR, "/mnt/box/stop", str(port)
        )
        base = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 120
            while not _answers(f"{base}/healthz"):
                assert not ended.done(), ended.result().stderr
                assert time.monotonic() < deadline, "the runner did not get ready"
                time.sleep(0.2)
            yield base
        finally:
            stop.touch()
        result = ended.result(timeout=60)
        assert result.returncode == 0, result.stderr


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _post(url: str, value: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(value).encode(), method="POST")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_install_lays_the_release_out_and_makes_it_current(box: Box) -> None:
    root = box.folder / "R"
    assert (root / "current").is_symlink()
    assert (root / "current" / "manifest.json").is_file()
    assert (root / "bin" / "edgepack-runner").is_file()
    assert (root / "state").is_dir()


# Before the daemon starts: each program here has process numbers of its own, so the benchmark
# cannot see that the daemon is idle, and would refuse.
def test_the_benchmark_report_is_valid_and_says_that_it_is_emulated(box: Box) -> None:
    done = box.run(
        *("/mnt/box/R/bin/edgepack-runner", "bench", "--duration", "quick"),
        *("--out", "/mnt/box/report.json"),
    )
    assert done.ok, done.stderr
    text = (box.folder / "report.json").read_text()
    report = json.loads(text)
    assert check_report(report) == []
    assert report["trust"]["grade"] == "X"
    assert "emulated" in report["trust"]["reasons"]
    assert report["bundle"]["target"] == "arm64"
    assert '"history"' not in text


def test_the_report_arrives_at_a_loopback_url(box: Box) -> None:
    received: list[bytes] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/reports"
        done = box.run("/mnt/box/R/bin/edgepack-runner", "report", "--send", url)
        assert done.ok, done.stderr
    finally:
        server.shutdown()
        server.server_close()
    assert received
    shown = json.loads(received[0])
    assert shown.get("schema") == "edgepack.report/1" or shown["reports"]


def test_external_ids_give_the_golden_answer(address: str, golden: GoldenSet) -> None:
    for sequence in golden.sequences:
        answer = _post(
            f"{address}/recommend",
            {"history": list(sequence.history), "k": 10, "exclude_seen": False},
        )
        items = [each["id"] for each in answer["items"]]
        scores = [each["score"] for each in answer["items"]]
        wanted = GoldenSequence(sequence.history, sequence.items[:10], sequence.scores[:10])
        assert check_ranking(wanted, items, scores, golden.tolerance) == []
        assert answer["unknown"] == 0
        assert answer["fallback"] is None
        assert set(answer["model"]) == {"name", "version", "variant"}


def test_unknown_and_seen_items_are_handled_on_the_box(address: str, golden: GoldenSet) -> None:
    history = list(golden.sequences[-1].history)
    answer = _post(
        f"{address}/recommend",
        {"history": [*history, "no-such-sku"], "k": 5, "exclude_seen": True},
    )
    items = [each["id"] for each in answer["items"]]
    assert answer["unknown"] == 1
    assert len(items) == 5
    assert not set(items) & set(history)


def test_an_empty_history_gets_the_popular_items(address: str) -> None:
    answer = _post(f"{address}/recommend", {"history": [], "k": 3})
    assert len(answer["items"]) == 3
    assert answer["fallback"]


def test_metrics_are_exposed_on_the_box(address: str) -> None:
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    assert "edgepack_" in text
    assert 'runtime="' in text


def test_run_and_bench_work_straight_from_the_file(box: Box) -> None:
    done = box.run(
        *("python3", "/mnt/box/session.pyz", "bench", "--cache", "/mnt/box/cache"),
        *("--duration", "quick", "--out", "/mnt/box/straight.json"),
    )
    assert done.ok, done.stderr
    assert check_report(json.loads((box.folder / "straight.json").read_text())) == []


def test_doctor_and_verify_work_on_the_box(box: Box) -> None:
    for command in ("doctor", "verify"):
        done = box.run("python3", "/mnt/box/session.pyz", command)
        assert done.ok, done.stderr


def test_uninstall_leaves_nothing(box: Box) -> None:
    other = box.run("python3", "/mnt/box/session.pyz", "install", "--root", "/mnt/box/other")
    assert other.ok, other.stderr
    gone = box.run("python3", "/mnt/box/session.pyz", "uninstall", "--root", "/mnt/box/other")
    assert gone.ok, gone.stderr
    assert not (box.folder / "other").exists()
