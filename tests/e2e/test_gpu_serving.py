"""The real daemon with a bundle for a GPU, its card hidden: it serves, and says so."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepack.formats.report import parse_report
from edgepack.formats.variants import RuntimeName
from tests.e2e.real_models import (
    ITEMS,
    make_onnx,
    runner_command,
    runner_environment,
    write_real_release,
)

#: Hides a card where there is one; where there is none that comes first.
_HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1"}
_REASON = "CUDAExecutionProvider cannot be used: "


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    release, state = tmp_path_factory.mktemp("release"), tmp_path_factory.mktemp("state")
    model = make_onnx(tmp_path_factory.mktemp("model"))
    write_real_release(release, model, RuntimeName.ONNXRUNTIME_GPU)
    return ["--release", str(release), "--state", str(state)]


class Served:
    """A running daemon, and what it said until it listened."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.log: list[dict[str, object]] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.log.append(json.loads(line))
            if self.log[-1]["event"] == "listening":
                break
        self.url = str(self.log[-1]["url"])

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            assert answer.status == 200
            body: bytes = answer.read()
            return body


@pytest.fixture(scope="module")
def served(places: list[str]) -> Iterator[Served]:
    process = subprocess.Popen(
        runner_command("serve", "--port", "0", *places),
        env=runner_environment(**_HIDDEN),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        yield Served(process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()


def test_it_serves_and_health_says_what_computes_and_why(served: Served) -> None:
    health = json.loads(served.get("/healthz"))
    assert (health["status"], health["provider"]) == ("ok", "CPUExecutionProvider")
    assert health["fallback"].startswith(_REASON)
    request = urllib.request.Request(
        f"{served.url}/recommend",
        json.dumps({"history": ITEMS[:2], "k": 3}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told = json.loads(answer.read())
    assert len(told["items"]) == 3
    assert told["fallback"] is None, "the model answered, on the CPU"


def test_the_log_has_the_reason_once(served: Served) -> None:
    told = [each for each in served.log if each["event"] == "the CPU computes, not the GPU"]
    assert [each["level"] for each in told] == ["warning"]
    assert str(told[0]["reason"]).startswith(_REASON)
    (verified,) = [each for each in served.log if each["event"] == "release verified"]
    assert verified["fallback"] == told[0]["reason"]


def test_metrics_show_it_and_cost_no_request(served: Served) -> None:
    for _ in range(2):
        text = served.get("/metrics").decode()
        assert 'edgepack_gpu_fallback{label="stable",model="tiny",version="1.0.0"} 1.0' in text
        assert 'provider="CPUExecutionProvider"' in text


def test_status_check_and_doctor_say_it_too(places: list[str]) -> None:
    def run(*arguments: str) -> str:
        ended = subprocess.run(
            runner_command(*arguments, *places, "--json"),
            env=runner_environment(**_HIDDEN),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ended.stdout

    assert json.loads(run("status"))["gpu"].startswith(f"the CPU computes: {_REASON}")
    assert json.loads(run("check"))["fallback"].startswith(_REASON)
    found = [each for each in json.loads(run("doctor"))["checks"] if each["name"] == "gpu"]
    assert found
    assert {each["status"] for each in found} == {"warn"}


def test_a_report_says_it_and_measures_the_cpu_with_its_threads(
    places: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    asked = ("--scenario", "single_stream", "--while-serving", "--out", str(out))
    subprocess.run(
        runner_command("bench", *asked, *places),
        env=runner_environment(**_HIDDEN),
        capture_output=True,
        timeout=300,
        check=True,
    )
    report = parse_report(out.read_bytes().strip())
    assert report.runtime.provider == "CPUExecutionProvider"
    assert str(report.runtime.provider_fallback).startswith(_REASON)
    assert "gpu_fallback" in report.trust.reasons
    if report.device.gpu is None:
        assert report.device.missing["gpu"].startswith("the cards cannot be asked: ")
    if report.choice is not None:
        assert not any(row.options.io_binding for row in report.choice.rows)
