"""Real daemons with a model that takes several rows in one call, under concurrent requests."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton

from edgepack.formats.report import Scenario, parse_report
from edgepack.formats.variants import RuntimeName
from edgepack.runner.clock import SystemClock
from edgepack.runner.engines import open_engine
from edgepack.runner.recommender import Recommender, open_recommender
from edgepack.runner.release import load_release
from tests.campaigns.load import Load, mixed_asks
from tests.e2e.live_roots import add_release, make_root, switch
from tests.e2e.lookup_model import write_lookup_release
from tests.e2e.real_models import (
    CATALOGUE,
    ITEMS,
    LENGTH,
    make_onnx,
    runner_command,
    runner_environment,
    write_real_release,
)
from tests.e2e.runners import Served, serving
from tests.e2e.test_daemon import Daemon, running

_MAX_BATCH = 8
_CLIENTS = 24
_ASKS = 25
_ORT = RuntimeName.ONNXRUNTIME


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_onnx(tmp_path_factory.mktemp("model"), "batch")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    directory = tmp_path_factory.mktemp("release")
    write_real_release(directory, model, _ORT, max_batch=_MAX_BATCH)
    return directory


@pytest.fixture(scope="module")
def alone(release: Path) -> Iterator[Recommender]:
    """The same model, asked for one history at a time."""
    loaded = load_release(release)
    engine = open_engine(_ORT, loaded.model_path)
    yield open_recommender(loaded, engine, SystemClock())
    engine.close()


@pytest.fixture(scope="module")
def served(release: Path) -> Iterator[Served]:
    with serving(release) as found:
        yield found


def _histories(count: int) -> list[list[str]]:
    drawn = np.random.default_rng(11)
    return [
        [ITEMS[int(i)] for i in drawn.integers(0, CATALOGUE, drawn.integers(1, 30))]
        for _ in range(count)
    ]


def _wrong(answer: dict[str, Any], history: list[str], alone: Recommender) -> str | None:
    """Compares an answer with that of a call for this history only."""
    expected = alone.recommend(history, 10)
    items = [each["id"] for each in answer["items"]]
    scores = [each["score"] for each in answer["items"]]
    if answer["fallback"] is not None or items != expected.items:
        return f"{answer['fallback']}: {items}, alone {expected.items}"
    if not np.allclose(scores, expected.scores, atol=1e-5):
        return f"{scores}, alone {expected.scores}"
    return None


class Client(threading.Thread):
    """Asks for histories of its own on a kept connection, and holds the answers against others."""

    def __init__(self, port: int, histories: list[list[str]]) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._histories = histories
        self.answers: list[dict[str, Any]] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        for history in self._histories:
            connection.request("POST", "/recommend", json.dumps({"history": history}))
            self.answers.append(json.loads(connection.getresponse().read()))
        connection.close()


def _metric(served: Served, name: str) -> float:
    text = served.ask("GET", "/metrics")[1]
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


@pytest.mark.parametrize("delay", ["0", "3000"])
def test_every_answer_under_load_is_the_one_that_a_call_of_its_own_gives(
    release: Path, alone: Recommender, delay: str
) -> None:
    histories = _histories(_CLIENTS * _ASKS)
    with serving(release, "--batch-delay-us", delay) as served:
        clients = [Client(served.port, histories[i::_CLIENTS]) for i in range(_CLIENTS)]
        for each in clients:
            each.start()
        for each in clients:
            each.join(120)
        rows = _metric(served, "nv_inference_count")
        calls = _metric(served, "nv_inference_exec_count")
    for i, client in enumerate(clients):
        assert len(client.answers) == _ASKS
        for answer, history in zip(client.answers, histories[i::_CLIENTS], strict=True):
            assert (problem := _wrong(answer, history, alone)) is None, problem
    assert rows == _CLIENTS * _ASKS
    assert calls < rows
    if delay != "0":
        # They were held back for each other.
        assert calls < rows / 2


def test_a_batch_of_one_is_what_it_was(release: Path, alone: Recommender) -> None:
    histories = _histories(64)
    with serving(release, "--batch-size", "1") as served:
        clients = [Client(served.port, histories[i::8]) for i in range(8)]
        for each in clients:
            each.start()
        for each in clients:
            each.join(60)
        assert _metric(served, "nv_inference_count") == _metric(served, "nv_inference_exec_count")
    answers = [answer for client in clients for answer in client.answers]
    asked = [history for i in range(8) for history in histories[i::8]]
    assert not [p for a, h in zip(answers, asked, strict=True) if (p := _wrong(a, h, alone))]


def test_a_triton_clients_rows_go_through_in_as_few_calls_as_they_take(
    served: Served, alone: Recommender
) -> None:
    histories = _histories(19)
    indices, _ = alone.encode(histories)
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        metadata = client.get_model_metadata("tiny")
        assert metadata["inputs"][0]["shape"] == [-1, LENGTH]
        before = _calls(client)
        tensor = triton.InferInput("history", list(indices.shape), "INT32")
        tensor.set_data_from_numpy(indices)
        result = client.infer("tiny", [tensor])
        after = _calls(client)
    scores = result.as_numpy("scores")
    assert len(scores) == 19
    for row, history in zip(scores, histories, strict=True):
        np.testing.assert_allclose(row[:10], alone.recommend(history, 10).scores, atol=1e-5)
    # At most eight a call: 8, 8 and 3.
    added = {rows: count - before.get(rows, 0) for rows, count in after.items()}
    assert {rows: count for rows, count in added.items() if count} == {8: 2, 3: 1}


def _calls(client: Any) -> dict[int, int]:
    (stats,) = client.get_inference_statistics("tiny")["model_stats"]
    return {each["batch_size"]: each["compute_infer"]["count"] for each in stats["batch_stats"]}


def test_rows_of_tensorflow_servings_api_go_through_together(
    served: Served, alone: Recommender
) -> None:
    histories = _histories(5)
    url = f"http://127.0.0.1:{served.port}/v1/models/tiny"
    metadata = requests.get(f"{url}/metadata", timeout=20).json()["metadata"]["signature_def"]
    dims = metadata["signature_def"]["serving_default"]["inputs"]["history"]["tensor_shape"]["dim"]
    assert dims[0]["size"] == "-1"
    before = _metric(served, "nv_inference_exec_count")
    answer = requests.post(f"{url}:predict", json={"instances": histories}, timeout=20).json()
    assert _metric(served, "nv_inference_exec_count") == before + 1
    for row, history in zip(answer["predictions"], histories, strict=True):
        assert row["items"][:10] == alone.recommend(history, 10).items


def test_more_rows_than_a_request_may_have_are_refused(served: Served) -> None:
    status, answer = served.ask("POST", "/recommend", {"histories": [["sku-1"]] * 257})
    assert status == 400
    assert "256" in answer["error"]
    rows = {"instances": [["sku-1"]] * 257}
    status, answer = served.ask("POST", "/v1/models/tiny:predict", rows)
    assert (status, "the batch is 257, expected 1 to 256" in answer["error"]) == (400, True)


def _same(body: bytes) -> bytes:
    """What two calls with other neighbours agree on to the last digit, and two versions share."""

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            dropped = ("version", "versions", "model_version")
            return {key: kept(each) for key, each in value.items() if key not in dropped}
        if isinstance(value, list):
            return [kept(each) for each in value]
        return None if isinstance(value, float) else value

    return json.dumps(kept(json.loads(body))).encode() if body else b""


@contextlib.contextmanager
def _loaded(port: int) -> Iterator[Load]:
    load = Load(port, mixed_asks(_histories(4)), same=_same)
    thread = threading.Thread(target=lambda: asyncio.run(load.run(16)), daemon=True)
    thread.start()
    try:
        yield load
    finally:
        load.stopping = True
        thread.join(60)


def _wait_for_switch(daemon: Daemon, load: Load, switches: int, answers: int) -> None:
    daemon.wait_for(lambda _: daemon.count("release switched") == switches)
    daemon.wait_for(lambda _: load.tally.answered > answers)


@pytest.mark.parametrize("delay", ["0", "2000"])
def test_no_request_is_lost_over_reloads_and_a_stop(
    tmp_path: Path, model: Path, delay: str
) -> None:
    root = make_root(tmp_path / "root")
    old = add_release(root, "1.0.0", model, _ORT, _MAX_BATCH)
    new = add_release(root, "1.1.0", model, _ORT, _MAX_BATCH)
    switch(root, old)
    with running(root, tmp_path / "log", "--batch-delay-us", delay) as daemon:
        with _loaded(daemon.port) as load:
            for number, release in enumerate((new, old, new), 1):
                answered = load.tally.answered
                switch(root, release)
                daemon.hang_up()
                _wait_for_switch(daemon, load, number, answered + 200)
            daemon.process.send_signal(signal.SIGTERM)
            load.stopping = True
            assert daemon.process.wait(30) == 0
        assert (load.tally.wrong, load.tally.lost) == ({}, {})
        assert load.tally.answered == load.tally.sent > 600


def test_one_request_that_fails_its_call_does_not_fail_the_others(tmp_path: Path) -> None:
    write_lookup_release(tmp_path, _MAX_BATCH)
    with serving(tmp_path, "--batch-delay-us", "1000000") as served:
        url = f"http://127.0.0.1:{served.port}/v1/models/lookup:predict"
        found: dict[int, tuple[int, Any]] = {}

        def ask(index: int) -> None:
            answer = requests.post(url, json={"instances": [[index]]}, timeout=60)
            found[index] = (answer.status_code, answer.json())

        # Eight fill a call; the one that is outside the table is among them.
        threads = [threading.Thread(target=ask, args=(i,)) for i in (0, 1, 2, 99, 4, 5, 6, 7)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
        process = served.process
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        log = process.stdout.read()
    assert found.pop(99)[0] == 500
    for index, (status, answer) in found.items():
        assert status == 200
        assert answer["predictions"] == [[3.0 * index, 3.0 * index + 1, 3.0 * index + 2]]
    assert "batch failed" in log
    assert "inference failed" in log


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        runner_command(*arguments),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=runner_environment(),
    )


def test_check_proves_that_rows_keep_to_themselves(release: Path, tmp_path: Path) -> None:
    assert _run("check", "--release", str(release)).returncode == 0
    mixing = tmp_path / "mixing"
    mixing.mkdir()
    write_real_release(
        mixing, make_onnx(tmp_path, "batch", mixing=True), _ORT, max_batch=_MAX_BATCH
    )
    ended = _run("check", "--release", str(mixing))
    assert ended.returncode == 6
    assert "in a call of 2 rows" in ended.stderr
    ended = _run("serve", "--port", "0", "--release", str(mixing))
    assert ended.returncode == 6


@pytest.mark.parametrize(
    ("max_batch", "batch_size", "words"),
    [
        (_MAX_BATCH, "9", "takes at most 8 rows in one call"),
        (1, "2", "was built without a batch dimension"),
    ],
)
def test_more_rows_than_a_model_takes_are_refused_before_it_serves(
    tmp_path: Path, model: Path, max_batch: int, batch_size: str, words: str
) -> None:
    write_real_release(tmp_path, model, _ORT, max_batch=max_batch)
    for command in (("serve", "--port", "0"), ("bench", "--scenario", "offline")):
        ended = _run(*command, "--release", str(tmp_path), "--batch-size", batch_size)
        assert ended.returncode == 3, ended.stderr
        assert words in ended.stderr


def test_a_benchmark_says_how_many_queries_shared_a_call(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    ended = _run("bench", "--release", str(release), "--state", str(tmp_path), "--out", str(out))
    assert ended.returncode == 0, ended.stderr
    runs = {run.method.scenario: run for run in parse_report(out.read_bytes()).runs}
    assert runs[Scenario.SINGLE_STREAM].method.max_batch == 1
    for scenario in (Scenario.OFFLINE, Scenario.SERVER):
        method = runs[scenario].method
        assert method.max_batch == _MAX_BATCH
        samples = sum(rows * calls for rows, calls in method.batch_sizes)
        assert samples == method.queries * method.samples_per_query
    assert "a call on average" in ended.stdout


def test_a_daemon_that_is_stopped_in_the_middle_of_a_wait_answers_what_it_holds(
    release: Path,
) -> None:
    with serving(release, "--batch-delay-us", "500000") as served:
        client = Client(served.port, _histories(1))
        client.start()
        while _metric(served, "edgepack_pending_requests") == 0:
            pass
        served.process.send_signal(signal.SIGTERM)
        client.join(30)
        assert client.answers[0]["fallback"] is None
        assert served.process.wait(30) == 0


def _until_nobody_waits(served: Served) -> None:
    deadline = time.monotonic() + 30
    while _metric(served, "edgepack_pending_requests"):
        assert time.monotonic() < deadline


def test_clients_that_leave_without_their_answers_leave_nothing_behind(
    release: Path, alone: Recommender
) -> None:
    body = json.dumps({"history": ["sku-1"]}).encode()
    head = b"POST /recommend HTTP/1.1\r\nHost: box\r\nContent-Type: application/json\r\n"
    sent = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    histories = _histories(20)
    with serving(release, "--batch-delay-us", "20000") as served:
        stays = Client(served.port, histories)
        stays.start()
        for _ in range(3):
            # Fewer than may wait at once, so that the one who stays is never sent away.
            for _ in range(10):
                leaves = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(4)]
                for each in leaves:
                    each.sendall(sent)
                for i, each in enumerate(leaves):
                    if i % 2:
                        # A reset instead of a farewell.
                        linger = struct.pack("ii", 1, 0)
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    each.close()
            _until_nobody_waits(served)
        stays.join(60)
        _until_nobody_waits(served)
    assert not [
        p for a, h in zip(stays.answers, histories, strict=True) if (p := _wrong(a, h, alone))
    ]
