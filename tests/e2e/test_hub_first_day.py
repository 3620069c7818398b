"""The three commands of the getting-started guide, and what an owner of a hub does after them."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.campaigns.boxes import Box, make_box
from tests.e2e.hubs import free_port

_PATIENCE_S = 60.0


@dataclass
class _Hub:
    port: int
    store: Path
    said: str

    def get(self, path: str, token: str) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@dataclass(frozen=True)
class _Tls:
    certificate: Path
    key: Path


def _make_certificate(folder: Path) -> _Tls:
    made = _Tls(folder / "hub.crt", folder / "hub.key")
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", names]
    command += ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return made


def _edgepack(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgepack.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@contextlib.contextmanager
def _serving(folder: Path, store: Path, tls: _Tls | None = None) -> Iterator[_Hub]:
    port, log = free_port(), folder / "hub.log"
    command = [sys.executable, "-m", "edgepack.cli.main", "hub", "serve"]
    command += ["--store", str(store), "--port", str(port)]
    health = f"http://127.0.0.1:{port}/healthz"
    context = None
    if tls is not None:
        command += ["--tls-certificate", str(tls.certificate), "--tls-key", str(tls.key)]
        health = health.replace("http:", "https:")
        context = ssl.create_default_context(cafile=str(tls.certificate))
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(health, timeout=5, context=context).close()
                break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield _Hub(port, store, log.read_text())
        process.send_signal(signal.SIGTERM)
        assert process.wait(_PATIENCE_S) in (0, -signal.SIGTERM), log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("box"))


def test_three_commands_lead_to_a_page_with_ones_own_report(box: Box, tmp_path: Path) -> None:
    store = tmp_path / "hub.db"
    with _serving(tmp_path, store) as hub:
        found = re.search(r"edgepack-runner (enrol http\S+ --token \S+)", hub.said)
        link = re.search(r"/login#(edgepack_admin_\S+)", hub.said)
        assert found is not None
        assert link is not None
        enrolled = box.run(*found[1].split(" "))
        assert enrolled.returncode == 0, enrolled.stderr
        measured = box.run("bench", "--duration", "quick", "--send")
        assert measured.returncode == 0, measured.stderr
        assert "1 accepted, 0 refused, 0 still waiting" in measured.stdout
        name = (box.state / "device_id").read_text().strip()
        assert (box.state / "hub-token").stat().st_mode & 0o077 == 0
        for path in ("/", f"/devices/{name}", "/compare", "/releases"):
            status, page = hub.get(path, link[1])
            assert status == 200, page
        status, page = hub.get(f"/devices/{name}", link[1])
        assert name.encode() in page
        again = box.run(*found[1].split(" "))
        assert again.returncode == 9
        assert "enrolled already" in again.stderr
    with _serving(tmp_path, store) as hub:
        assert "edgepack_" not in hub.said
        assert hub.get("/api/fleet", link[1])[0] == 200


def test_a_box_enrols_and_reports_over_tls(tmp_path: Path) -> None:
    box, tls = make_box(tmp_path / "box"), _make_certificate(tmp_path)
    with _serving(tmp_path, tmp_path / "hub.db", tls) as hub:
        found = re.search(r"(https://\S+) --token (\S+)", hub.said)
        assert found is not None
        token = tmp_path / "enrol.token"
        token.write_text(found[2])
        asked = ("enrol", found[1], "--token-file", str(token))
        stranger = box.run(*asked)
        assert (stranger.returncode, "certificate" in stranger.stderr) == (9, True)
        assert not (box.state / "hub.json").exists()
        enrolled = box.run(*asked, "--ca-file", str(tls.certificate))
        assert enrolled.returncode == 0, enrolled.stderr
        measured = box.run("bench", "--duration", "quick", "--send")
        assert "1 accepted, 0 refused" in measured.stdout, measured.stderr


def test_a_revoked_token_a_backup_and_a_token_list(tmp_path: Path) -> None:
    store = tmp_path / "hub.db"
    made = _edgepack("hub", "token", "add", "--store", store, "--label", "prometheus")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    with _serving(tmp_path, store) as hub:
        assert hub.get("/metrics", token)[0] == 200
        listed = _edgepack("hub", "token", "list", "--store", store, "--json")
        (row,) = json.loads(listed.stdout)
        assert row["label"] == "prometheus"
        assert token not in listed.stdout
        copied = _edgepack("hub", "backup", "--store", store, tmp_path / "copy.db")
        assert copied.returncode == 0, copied.stderr
        revoked = _edgepack("hub", "token", "revoke", "--store", store, str(row["id"]))
        assert revoked.returncode == 0, revoked.stderr
        deadline = time.monotonic() + _PATIENCE_S
        while hub.get("/metrics", token)[0] != 401:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        used = _edgepack("hub", "restore", "--store", store, tmp_path / "copy.db", "--replace")
        assert used.returncode == 9
        assert "in use" in used.stderr
    restored = _edgepack("hub", "restore", "--store", store, tmp_path / "copy.db", "--replace")
    assert restored.returncode == 0, restored.stderr
    with _serving(tmp_path, store) as hub:
        assert hub.get("/metrics", token)[0] == 200
    pruned = _edgepack("hub", "prune", "--store", store)
    assert pruned.stdout == "dropped 0 documents, 0 reports, 0 days, 0 standings\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("serve", "--store", "mysql://somewhere/hub"), 3, "SQLite and PostgreSQL"),
        (("serve", "--store", "/nowhere/at/all/hub.db"), 9, "cannot be opened"),
        (("serve", "--tls-key", "key.pem"), 3, "go together"),
        (("serve", "--host", "192.0.2.1"), 3, "cannot be listened on"),
        (("serve", "--store", "postgresql://127.0.0.1:1/hub"), 9, "cannot be opened"),
        (("device", "revoke", "nobody"), 3, "no device"),
        (("token", "add", "--role", "reader", "--uses", "3"), 3, "enrol only"),
        (("prune", "--documents", "10", "--reports", "5"), 3, "at most"),
        (("prune", "--standings", "10"), 3, "no less than --reports"),
        (("serve", "--reports", "5"), 3, "--reports does nothing"),
    ],
)
def test_bad_input_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    if "--store" not in arguments:
        arguments = (*arguments, "--store", str(tmp_path / "hub.db"))
    done = _edgepack("hub", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
