"""The runner as a process: it serves, is attacked, stops, measures itself and reports."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import json
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgepack.formats.golden import GoldenSet
from edgepack.formats.report import check_report
from edgepack.formats.variants import RuntimeName
from tests.e2e.real_models import (
    ITEMS,
    make_onnx,
    make_tflite,
    write_real_release,
)
from tests.e2e.runners import JSON, Served, run_runner, serving


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[RuntimeName, Path]:
    directory = tmp_path_factory.mktemp("models")
    return {
        RuntimeName.LITERT: make_tflite(directory),
        RuntimeName.ONNXRUNTIME: make_onnx(directory),
    }


@pytest.fixture(scope="module", params=[RuntimeName.LITERT, RuntimeName.ONNXRUNTIME])
def release(
    request: pytest.FixtureRequest,
    models: dict[RuntimeName, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    directory = tmp_path_factory.mktemp("release")
    write_real_release(directory, models[request.param], request.param)
    return directory


@pytest.fixture(scope="module")
def served(release: Path) -> Iterator[Served]:
    with serving(release) as running:
        yield running


def test_a_flipped_bit_in_the_model_keeps_the_port_closed(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "bad")
    (model,) = (tmp_path / "bad" / "models").iterdir()
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(bytes(data))
    ended = run_runner("serve", "--port", "0", "--release", str(tmp_path / "bad"))
    assert ended.returncode == 7
    assert "SHA-256" in ended.stderr
    assert "listening" not in ended.stdout


def test_wrong_golden_answers_keep_the_port_closed(
    models: dict[RuntimeName, Path], tmp_path: Path
) -> None:
    manifest = write_real_release(tmp_path, models[RuntimeName.LITERT], RuntimeName.LITERT)
    golden_path = tmp_path / manifest.candidate().golden
    golden = GoldenSet.from_bytes(golden_path.read_bytes()).to_bytes().decode()
    first = json.loads(golden)
    first["sequences"][0]["scores"][0] += 1
    data = json.dumps(first).encode()
    golden_path.write_bytes(data)
    document = json.loads((tmp_path / "manifest.json").read_bytes())
    for record in document["files"]:
        if record["path"] == manifest.candidate().golden:
            record.update(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    ended = run_runner("serve", "--port", "0", "--release", str(tmp_path))
    assert ended.returncode == 6
    assert "answers wrongly on this box" in ended.stderr
    checked = run_runner("check", "--release", str(tmp_path), "--json")
    assert checked.returncode == 6
    found = json.loads(checked.stdout.splitlines()[-1])
    assert (found["ok"], found["sequences"]) == (False, 8)
    assert "rank 1" in found["problems"][0]


def test_a_taken_port_is_an_error_that_says_so(served: Served, release: Path) -> None:
    ended = run_runner("serve", "--port", str(served.port), "--release", str(release))
    assert ended.returncode == 3
    assert "cannot be bound" in ended.stderr


def test_golden_answers_come_back_over_http(served: Served, release: Path) -> None:
    (path,) = (release / "golden").iterdir()
    golden = GoldenSet.from_bytes(path.read_bytes())
    for sequence in golden.sequences:
        status, answer = served.ask("POST", "/recommend", {"history": list(sequence.history)})
        assert status == 200
        assert [each["id"] for each in answer["items"]] == list(sequence.items)
        assert [each["score"] for each in answer["items"]] == pytest.approx(
            sequence.scores, abs=1e-4
        )
        assert (answer["unknown"], answer["fallback"]) == (0, None)


def test_an_empty_history_and_strangers_get_popular_items(served: Served) -> None:
    status, answer = served.ask("POST", "/recommend", {"history": [], "k": 3})
    assert (status, answer["fallback"]) == (200, "empty history")
    assert [each["id"] for each in answer["items"]] == list(ITEMS[:3])
    _, answer = served.ask("POST", "/recommend", {"history": ["nobody"], "k": 3})
    assert answer["unknown"] == 1


def test_bad_requests_are_told_what_is_wrong(served: Served) -> None:
    status, answer = served.ask("POST", "/recommend", {"history": [], "kk": 1})
    assert (status, "did you mean 'k'" in answer["error"]) == (400, True)
    assert served.ask("GET", "/nowhere")[0] == 404
    assert served.ask("GET", "/recommend")[0] == 405
    assert served.ask("POST", "/recommend", {}, {"Content-Type": "text/plain"})[0] == 415


def test_health_and_metrics_answer(served: Served) -> None:
    assert served.ask("GET", "/healthz")[0] == 200
    status, text = served.ask("GET", "/metrics")
    assert status == 200
    assert "edgepack_request_duration_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    assert "sku-" not in text


def test_one_connection_serves_many_requests(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    for _ in range(50):
        connection.request("POST", "/recommend", json.dumps({"history": ["sku-1"]}), JSON)
        assert connection.getresponse().read()
    connection.close()


def test_a_chunked_body_is_read(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    pieces = [b'{"history": [', b'"sku-1"', b"]}"]
    connection.request("POST", "/recommend", iter(pieces), JSON, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()


def test_a_body_over_the_limit_gets_its_413_even_while_it_is_still_being_sent(
    served: Served,
) -> None:
    head = b"POST /recommend HTTP/1.1\r\nHost: box\r\nContent-Length: 3000000\r\n\r\n"
    assert b" 413 " in served.talk(head, b"x" * 3_000_000).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "attack",
    [
        b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\x00" * 100,
        b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 10_000,
    ],
)
def test_an_attack_is_refused_once_and_the_server_lives(served: Served, attack: bytes) -> None:
    answer = served.talk(attack)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert served.ask("GET", "/healthz")[0] == 200


def test_slow_clients_do_not_stop_the_others(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            slow = socket.create_connection(("127.0.0.1", served.port), timeout=20)
            stack.enter_context(slow)
            slow.sendall(b"POST /recommend HTTP/1.1\r\nHost: a\r\nContent-Le")
        start = time.monotonic()
        assert served.ask("POST", "/recommend", {"history": ["sku-1"]})[0] == 200
        assert time.monotonic() - start < 5


def test_too_many_connections_are_told_so_and_room_comes_back(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(260):
            connection = socket.create_connection(("127.0.0.1", served.port), timeout=20)
            stack.enter_context(connection)
        connection.settimeout(20)
        assert connection.recv(1000).startswith(b"HTTP/1.1 503")
    deadline = time.monotonic() + 20
    while served.ask("GET", "/healthz")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stop_signal_ends_it_gracefully(release: Path, number: signal.Signals, code: int) -> None:
    with serving(release) as running:
        idle = socket.create_connection(("127.0.0.1", running.port), timeout=20)
        assert running.ask("GET", "/healthz")[0] == 200
        running.process.send_signal(number)
        log, _ = running.process.communicate(timeout=20)
        assert running.process.returncode == code
        assert idle.recv(10) == b""
        idle.close()
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["stopping", "stopped"]


class _Receiver(http.server.BaseHTTPRequestHandler):
    """Takes reports; answers as its server is told to."""

    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, _ReceiverServer)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        receiver.seen.append((self.headers, body))
        self.send_response(receiver.status)
        if receiver.status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b"x" * receiver.answer_bytes)

    def log_message(self, *_: object) -> None:
        pass


class _ReceiverServer(http.server.HTTPServer):
    status = 200
    answer_bytes = 2

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.seen: list[tuple[Any, bytes]] = []


@pytest.fixture
def receiver() -> Iterator[_ReceiverServer]:
    server = _ReceiverServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def benched(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("state")
    out = state / "report.json"
    ended = run_runner("bench", "--release", str(release), "--state", str(state), "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    assert "single stream p50" in ended.stdout
    return state


def test_a_benchmark_writes_a_valid_report_without_a_name_in_it(
    benched: Path, release: Path
) -> None:
    data = (benched / "report.json").read_bytes()
    report = json.loads(data)
    assert check_report(report) == []
    assert report["golden"]["ok"] is True
    assert report["runs"][0]["valid"] is True
    assert report["runs"][0]["end_to_end"]["p50"] >= report["runs"][0]["compute"]["p50"]
    assert report["device_id"] == (benched / "device_id").read_text().strip()
    assert "short_run" in report["trust"]["reasons"]
    text = data.decode()
    assert "sku-" not in text
    assert f'"{socket.gethostname()}"' not in text
    assert str(release) not in text


def test_reports_arrive_once_and_wait_when_the_hub_is_away(
    benched: Path, release: Path, receiver: _ReceiverServer, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    shutil.copytree(benched, state)
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    places = ("--release", str(release), "--state", str(state))
    url = f"http://127.0.0.1:{receiver.server_port}/reports"
    for status, words in ((503, "HTTP 503"), (302, "HTTP 302"), (401, "HTTP 401")):
        receiver.status = status
        ended = run_runner("report", "--send", url, *places)
        assert ended.returncode == 9
        assert words in ended.stderr
        assert "1 still waiting" in ended.stdout
    receiver.status, receiver.answer_bytes = 200, 10_000_000
    receiver.seen.clear()
    ended = run_runner("report", "--send", url, "--token-file", str(token), *places)
    assert ended.returncode == 0, ended.stderr
    assert "1 accepted, 0 refused, 0 still waiting" in ended.stdout
    headers, body = receiver.seen[0]
    assert check_report(json.loads(body)) == []
    assert headers["Idempotency-Key"] == json.loads(body)["report_id"]
    assert headers["Authorization"] == "Bearer secret-token"
    run_runner("report", "--send", url, *places)
    assert len(receiver.seen) == 1


def test_a_hub_that_is_not_there_is_no_lost_report(benched: Path, release: Path) -> None:
    ended = run_runner(
        "report",
        "--send",
        "http://127.0.0.1:1/x",
        "--release",
        str(release),
        "--state",
        str(benched),
    )
    assert ended.returncode == 9
    assert "refused" in ended.stderr


def test_check_answers_in_one_json_line(release: Path) -> None:
    ended = run_runner("check", "--release", str(release), "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert (found["ok"], found["problems"], found["sequences"]) == (True, [], 8)
    assert found["emulated"] is False
