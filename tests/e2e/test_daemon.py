"""The daemon while releases change under it, and behind a token and TLS."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgepack.formats.variants import RuntimeName
from tests.campaigns.boxes import Address, stop_now
from tests.e2e.live_roots import add_release, make_root, start, switch
from tests.e2e.real_models import ITEMS, make_onnx, make_tflite

_WAIT_S = 60.0
_HISTORY = {"history": list(ITEMS[:3]), "k": 3}


@dataclass
class Daemon:
    """A daemon of a root."""

    root: Path
    log: Path
    process: subprocess.Popen[bytes]
    port: int = 0

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith(b"{")]

    def wait_for(self, condition: Callable[[list[dict[str, Any]]], bool]) -> None:
        deadline = time.monotonic() + _WAIT_S
        while not condition(self.events()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def count(self, event: str) -> int:
        return sum(each["event"] == event for each in self.events())

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def version(self) -> str:
        answer = Address(self.port).ask("POST", "/recommend", _HISTORY)[1]
        return str(answer["model"]["version"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[RuntimeName, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        RuntimeName.ONNXRUNTIME: make_onnx(folder),
        RuntimeName.LITERT: make_tflite(folder),
    }


@contextlib.contextmanager
def running(root: Path, log: Path, *arguments: str) -> Iterator[Daemon]:
    daemon = Daemon(root, log, start(root, log, *arguments))
    try:
        daemon.wait_for(lambda events: any(each["event"] == "listening" for each in events))
        (url,) = (each["url"] for each in daemon.events() if each["event"] == "listening")
        daemon.port = int(url.rsplit(":", 1)[1])
        yield daemon
    finally:
        stop_now(daemon.process)


@pytest.fixture
def root(tmp_path: Path, models: dict[RuntimeName, Path]) -> Path:
    made = make_root(tmp_path / "root")
    onnx = models[RuntimeName.ONNXRUNTIME]
    switch(made, add_release(made, "1.0.0", onnx, RuntimeName.ONNXRUNTIME))
    return made


@dataclass
class Shopper(threading.Thread):
    """A client that keeps its connection and asks again and again."""

    port: int
    versions: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._enough = threading.Event()
        self._body = json.dumps(_HISTORY)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_WAIT_S)
        while not self._enough.is_set():
            try:
                connection.request("POST", "/recommend", self._body)
                answer = json.loads(connection.getresponse().read())
                self.versions.append(answer["model"]["version"])
                if answer["fallback"] is not None:
                    self.lost.append(answer["fallback"])
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.lost.append(repr(error))
                connection.close()
        connection.close()

    def leave(self) -> None:
        self._enough.set()
        self.join(_WAIT_S)


@contextlib.contextmanager
def shoppers(port: int, count: int = 3) -> Iterator[list[Shopper]]:
    crowd = [Shopper(port) for _ in range(count)]
    for each in crowd:
        each.start()
    try:
        yield crowd
    finally:
        for each in crowd:
            each.leave()


def _until_seen(crowd: list[Shopper], version: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not all(each.versions and each.versions[-1] == version for each in crowd):
        assert time.monotonic() < deadline, [each.lost for each in crowd]
        time.sleep(0.02)


def test_a_reload_switches_the_release_without_a_lost_request(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path]
) -> None:
    new = add_release(root, "1.1.0", models[RuntimeName.ONNXRUNTIME], RuntimeName.ONNXRUNTIME)
    with running(root, tmp_path / "log") as daemon, shoppers(daemon.port) as crowd:
        _until_seen(crowd, "1.0.0")
        switch(root, new)
        daemon.hang_up()
        _until_seen(crowd, "1.1.0")
        assert daemon.process.poll() is None
        text = Address(daemon.port).ask("GET", "/metrics")[1]
    assert [each.lost for each in crowd] == [[], [], []]
    assert 'edgepack_reloads_total{outcome="done"} 1.0' in text


def test_a_release_with_another_runtime_gets_a_new_process_and_no_request_is_lost(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path]
) -> None:
    new = add_release(root, "2.0.0", models[RuntimeName.LITERT], RuntimeName.LITERT)
    with running(root, tmp_path / "log") as daemon, shoppers(daemon.port) as crowd:
        _until_seen(crowd, "1.0.0")
        switch(root, new)
        daemon.hang_up()
        _until_seen(crowd, "2.0.0")
        # The same process id under the same port: nobody above has to know.
        assert daemon.process.poll() is None
        assert daemon.count("listening") == 2
    lost = [each for shopper in crowd for each in shopper.lost]
    assert lost == []


def test_a_damaged_release_is_refused_and_the_old_one_serves_on(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path]
) -> None:
    new = add_release(root, "1.1.0", models[RuntimeName.ONNXRUNTIME], RuntimeName.ONNXRUNTIME)
    (model,) = (new / "models").iterdir()
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    with running(root, tmp_path / "log") as daemon:
        switch(root, new)
        daemon.hang_up()
        daemon.wait_for(lambda _: daemon.count("reload refused") == 1)
        assert daemon.version() == "1.0.0"


def test_a_new_runtime_that_does_not_run_here_is_refused_by_its_own_check(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path]
) -> None:
    new = add_release(root, "2.0.0", models[RuntimeName.LITERT], RuntimeName.LITERT)
    (new / "site").unlink()
    with running(root, tmp_path / "log") as daemon:
        switch(root, new)
        daemon.hang_up()
        daemon.wait_for(lambda _: daemon.count("reload refused") == 1)
        assert daemon.version() == "1.0.0"
        (refused,) = (e for e in daemon.events() if e["event"] == "reload refused")
        assert "does not run here" in refused["reason"]


def test_a_release_on_trial_is_served_beside_the_current_one(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path]
) -> None:
    trial = add_release(root, "1.1.0", models[RuntimeName.ONNXRUNTIME], RuntimeName.ONNXRUNTIME)
    with running(root, tmp_path / "log") as daemon:
        address = Address(daemon.port)
        assert "canary" not in address.ask("GET", "/healthz")[1]
        switch(root, trial, "trial")
        daemon.hang_up()
        daemon.wait_for(lambda _: daemon.count("release switched") == 1)
        assert address.ask("GET", "/healthz")[1]["canary"] == {"version": "1.1.0"}
        assert daemon.version() == "1.0.0"
        # Promoted: the engine that is on trial already becomes the one in service.
        switch(root, trial)
        (root / "trial").unlink()
        daemon.hang_up()
        daemon.wait_for(lambda _: daemon.count("release switched") == 2)
        assert daemon.version() == "1.1.0"
        assert daemon.count("release verified") == 2


@pytest.mark.parametrize("fault", ["damaged", "another runtime"])
def test_a_release_on_trial_that_cannot_be_served_ends_nothing(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path], fault: str
) -> None:
    runtime = RuntimeName.ONNXRUNTIME if fault == "damaged" else RuntimeName.LITERT
    trial = add_release(root, "1.1.0", models[runtime], runtime)
    if fault == "damaged":
        (model,) = (trial / "models").iterdir()
        model.write_bytes(model.read_bytes()[:-1] + b"?")
    switch(root, trial, "trial")
    new = add_release(root, "1.0.1", models[RuntimeName.ONNXRUNTIME], RuntimeName.ONNXRUNTIME)
    with running(root, tmp_path / "log") as daemon:
        assert daemon.count("trial refused") == 1
        assert daemon.version() == "1.0.0"
        # Nor does it keep the next release from being served.
        switch(root, new)
        daemon.hang_up()
        daemon.wait_for(lambda _: daemon.count("release switched") == 1)
        assert daemon.version() == "1.0.1"
        assert "canary" not in Address(daemon.port).ask("GET", "/healthz")[1]


def test_without_its_launcher_a_daemon_serves_on_with_what_it_has(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path]
) -> None:
    new = add_release(root, "2.0.0", models[RuntimeName.LITERT], RuntimeName.LITERT)
    with running(root, tmp_path / "log") as daemon:
        (root / "bin" / "edgepack-runner").unlink()
        switch(root, new)
        daemon.hang_up()
        daemon.wait_for(lambda _: daemon.count("reload refused") == 1)
        assert daemon.version() == "1.0.0"
        assert daemon.count("bug") == 0


def test_a_name_with_several_addresses_is_answered_where_clients_ask(
    root: Path, tmp_path: Path
) -> None:
    with running(root, tmp_path / "log", "--host", "localhost") as daemon:
        assert Address(daemon.port).ask("GET", "/healthz")[0] == 200


def test_a_stop_loses_no_request_that_was_accepted(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path / "log") as daemon, shoppers(daemon.port) as crowd:
        _until_seen(crowd, "1.0.0")
        daemon.process.terminate()
        assert daemon.process.wait(_WAIT_S) == 0
    for shopper in crowd:
        # After its last answer said `Connection: close`, nobody listens any more.
        assert all(each.startswith("ConnectionRefusedError") for each in shopper.lost), shopper.lost


def test_a_token_is_asked_for_everywhere_but_at_the_health_check(
    root: Path, tmp_path: Path
) -> None:
    (root / "state" / "token").write_text("a-shop-s-secret\n")
    (root / "state" / "token").chmod(0o600)
    (root / "state" / "runner.toml").write_text('[serve]\ntoken_file = "token"\n')
    with running(root, tmp_path / "log") as daemon:
        address = Address(daemon.port)
        assert address.ask("GET", "/healthz")[0] == 200
        for path in ("/metrics", "/recommend", "/v2"):
            assert address.ask("GET", path)[0] in (401, 404, 405)
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=_WAIT_S)
        for token, status in (("a-shop-s-secret", 200), ("guess", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            connection.request("POST", "/recommend", json.dumps(_HISTORY), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        connection.close()
    assert "a-shop-s-secret" not in daemon.log.read_text()


def test_tls_is_spoken_with_the_certificate_that_was_set(root: Path, tmp_path: Path) -> None:
    state = root / "state"
    openssl = shutil.which("openssl")
    assert openssl is not None
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    made = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    pair = ["-keyout", str(state / "key.pem"), "-out", str(state / "cert.pem")]
    subprocess.run([*made, *pair], check=True, capture_output=True)
    (state / "key.pem").chmod(0o600)
    (state / "runner.toml").write_text(
        '[serve]\ntls_certificate = "cert.pem"\ntls_key = "key.pem"\n'
    )
    with running(root, tmp_path / "log") as daemon:
        assert daemon.events()[-1]["url"].startswith("https://")
        context = ssl.create_default_context(cafile=str(state / "cert.pem"))
        connection = http.client.HTTPSConnection(
            "localhost", daemon.port, timeout=_WAIT_S, context=context
        )
        for _ in range(3):
            connection.request("POST", "/recommend", json.dumps(_HISTORY))
            assert json.loads(connection.getresponse().read())["fallback"] is None
        connection.close()


def test_a_wrong_certificate_is_refused_before_the_port_is_opened(
    root: Path, tmp_path: Path
) -> None:
    state = root / "state"
    for name in ("cert.pem", "key.pem"):
        (state / name).write_text("not a certificate\n")
    (state / "runner.toml").write_text(
        '[serve]\ntls_certificate = "cert.pem"\ntls_key = "key.pem"\n'
    )
    log = tmp_path / "log"
    process = start(root, log)
    assert process.wait(_WAIT_S) == 3
    assert "tls_certificate" in log.read_text()


def test_a_reload_that_is_asked_for_while_it_starts_does_not_end_it(
    root: Path, tmp_path: Path, models: dict[RuntimeName, Path]
) -> None:
    new = add_release(root, "1.1.0", models[RuntimeName.ONNXRUNTIME], RuntimeName.ONNXRUNTIME)
    daemon = Daemon(root, tmp_path / "log", start(root, tmp_path / "log"))
    try:
        # The first thing it says; the port is not open yet.
        daemon.wait_for(lambda _: daemon.count("release verified") == 1)
        switch(root, new)
        daemon.hang_up()
        daemon.wait_for(lambda _: daemon.count("release switched") == 1)
    finally:
        stop_now(daemon.process)
