"""The choice on the box with real runtimes and processes: made, kept, followed, crashed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgepack.formats.choice import Choice, Choices, parse_choices
from edgepack.formats.manifest import FileRecord, Manifest
from edgepack.formats.options import EngineOptions
from edgepack.formats.report import parse_report
from edgepack.formats.variants import Precision, RuntimeName
from edgepack.runner.choice.process import launch_worker, measure_in_processes
from edgepack.runner.choice.trials import Trial
from edgepack.runner.serving_mark import read_serving
from tests.e2e.real_models import (
    make_onnx,
    runner_command,
    runner_environment,
    write_real_release,
)

_FIRST, _SECOND = "onnx-fp32", "onnx-fp16"


def _add_candidate(directory: Path, manifest: Manifest) -> Manifest:
    """Adds a second candidate: another name and file, the same graph and answers."""
    first = manifest.candidates[0]
    names = {
        f"models/{_SECOND}.onnx": (directory / first.file).read_bytes(),
        f"golden/{_SECOND}.json": (directory / first.golden).read_bytes(),
    }
    records = list(manifest.files)
    for name, data in names.items():
        (directory / name).write_bytes(data)
        records.append(FileRecord(name, hashlib.sha256(data).hexdigest(), len(data), 0o644))
    second = replace(
        first,
        variant=_SECOND,
        precision=Precision.FP16,
        file=f"models/{_SECOND}.onnx",
        golden=f"golden/{_SECOND}.json",
    )
    files = tuple(sorted(records, key=lambda each: each.path))
    manifest = replace(manifest, candidates=(first, second), files=files)
    (directory / "manifest.json").write_bytes(manifest.to_bytes())
    return manifest


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("release")
    manifest = write_real_release(directory, make_onnx(directory), RuntimeName.ONNXRUNTIME)
    _add_candidate(directory, manifest)
    return directory


def _bench(release: Path, state: Path, *more: str) -> subprocess.CompletedProcess[str]:
    places = ("--release", str(release), "--state", str(state))
    return subprocess.run(
        runner_command("bench", *places, "--scenario", "single_stream", "--json", *more),
        capture_output=True,
        text=True,
        timeout=300,
        env=runner_environment(),
        check=False,
    )


def _kept(state: Path) -> Choice:
    (choice,) = parse_choices((state / "choice.json").read_bytes()).choices
    return choice


@pytest.fixture(scope="module")
def chosen(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("state")
    ended = _bench(release, state)
    assert ended.returncode == 0, ended.stderr
    return state


def test_the_first_benchmark_measures_every_candidate_and_keeps_its_choice(
    chosen: Path, release: Path
) -> None:
    choice = _kept(chosen)
    assert {row.variant for row in choice.rows} == {_FIRST, _SECOND}
    assert all(row.problem is None and len(row.medians_ns) == 5 for row in choice.rows)
    assert choice.key.runtime is RuntimeName.ONNXRUNTIME
    threads = {row.options.threads for row in choice.rows}
    assert 1 in threads
    assert max(threads) <= len(os.sched_getaffinity(0))


def test_the_next_benchmark_follows_it_and_has_it_in_its_report(
    chosen: Path, release: Path
) -> None:
    kept = (chosen / "choice.json").read_bytes()
    ended = _bench(release, chosen)
    assert ended.returncode == 0, ended.stderr
    report = parse_report(ended.stdout.encode())
    assert (chosen / "choice.json").read_bytes() == kept
    assert report.choice == _kept(chosen)
    assert report.model.variant == report.choice.variant
    assert report.runtime.options == report.choice.options
    assert [str(run.method.scenario) for run in report.runs] == ["single_stream"]


def test_it_is_made_again_when_asked_for_and_when_the_file_is_damaged(
    chosen: Path, release: Path, tmp_path: Path
) -> None:
    kept = _kept(chosen)
    state = tmp_path / "state"
    state.mkdir()
    (state / "choice.json").write_bytes(Choices((kept,)).to_bytes()[:-7])
    ended = _bench(release, state)
    assert ended.returncode == 0, ended.stderr
    assert "warning: choice.json is not valid JSON" in ended.stderr
    again = _kept(state)
    assert _bench(release, state, "--choose").returncode == 0
    asked = _kept(state)
    assert kept.created < again.created < asked.created


def test_choosing_among_what_was_already_named_is_refused(release: Path, tmp_path: Path) -> None:
    ended = _bench(release, tmp_path, "--choose", "--threads", "2")
    assert ended.returncode == 3
    assert "leave out --candidate and --threads" in ended.stderr


def test_the_daemon_follows_the_choice(chosen: Path, release: Path, tmp_path: Path) -> None:
    choice = _kept(chosen)
    second = next(row for row in choice.rows if row.variant == _SECOND)
    altered = replace(choice, variant=second.variant, options=second.options)
    (tmp_path / "choice.json").write_bytes(Choices((altered,)).to_bytes())
    process = subprocess.Popen(
        runner_command("serve", "--port", "0", "--release", str(release), "--state", str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=runner_environment(),
    )
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "listening" in line:
            process.terminate()
    process.wait()
    process.stdout.close()
    watchdog.cancel()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    verified = next(each for each in events if each["event"] == "release verified")
    assert verified["variant"] == _SECOND


#: A runtime that crashes on one file and answers the others: item i scores as the i-th best.
_STUB = """
import os, signal
import numpy as np
class Interpreter:
    def __init__(self, model_path, num_threads=1):
        if "fp16" in model_path:
            os.kill(os.getpid(), signal.SIGSEGV)
        if num_threads == 2:
            raise ValueError("two threads are too many")
    def allocate_tensors(self): pass
    def get_input_details(self):
        return [dict(name="history", index=0, shape=(1, 20), dtype=np.int32)]
    def get_output_details(self):
        return [dict(name="scores", index=1, shape=(1, 30), dtype=np.float32),
                dict(name="items", index=2, shape=(1, 30), dtype=np.int32)]
    def set_tensor(self, index, value): pass
    def invoke(self): pass
    def get_tensor(self, index):
        if index == 1:
            return np.arange(30, 0, -1, dtype=np.float32)[None]
        return np.arange(1, 31, dtype=np.int32)[None]
"""


@pytest.fixture
def crashing(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, tuple[Trial, ...]]:
    """The release as a LiteRT bundle, and a LiteRT that crashes on its second candidate."""
    package = tmp_path / "site" / "ai_edge_litert"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '0.0'\n")
    (package / "interpreter.py").write_text(_STUB)
    directory = tmp_path / "release"
    for name in ("models", "golden"):
        (directory / name).mkdir(parents=True)
    document: dict[str, Any] = json.loads((release / "manifest.json").read_bytes())
    document["runtime"]["name"] = "litert"
    hashes = {}
    for each in document["candidates"]:
        golden = json.loads((release / each["golden"]).read_bytes())
        for sequence in golden["sequences"]:
            sequence["items"] = [f"sku-{i}" for i in range(1, 11)]
            sequence["scores"] = [float(30 - i) for i in range(10)]
        data = json.dumps(golden).encode()
        (directory / each["golden"]).write_bytes(data)
        hashes[each["golden"]] = (hashlib.sha256(data).hexdigest(), len(data))
        old, variant = each["file"], each["variant"].replace("onnx", "tflite")
        each.update(variant=variant, format="tflite", file=f"models/{variant}.tflite")
        (directory / each["file"]).write_bytes((release / old).read_bytes())
        for record in document["files"]:
            if record["path"] == old:
                record["path"] = each["file"]
    for record in document["files"]:
        if record["path"] in hashes:
            record["sha256"], record["size"] = hashes[record["path"]]
    document["files"].sort(key=lambda record: record["path"])
    (directory / "vocabulary.json").write_bytes((release / "vocabulary.json").read_bytes())
    (directory / "manifest.json").write_text(json.dumps(document))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return (
        directory,
        (
            Trial("tflite-fp32", EngineOptions()),
            Trial("tflite-fp16", EngineOptions()),
            Trial("tflite-fp32", EngineOptions(2)),
        ),
    )


def test_a_candidate_that_crashes_is_a_row_and_the_others_are_measured(
    crashing: tuple[Path, tuple[Trial, ...]],
) -> None:
    directory, trials = crashing
    first, crashed, refused = measure_in_processes(directory, trials, launch_worker)
    assert crashed.problem == "crashed with SIGSEGV"
    assert refused.problem is not None
    assert "two threads are too many" in refused.problem
    assert (first.problem, len(first.medians_ns)) == (None, 5)


_DAEMON = """
import sys
from pathlib import Path
from edgepack.runner.clock import SystemClock
from edgepack.runner.serving_mark import mark_serving
with mark_serving(Path(sys.argv[1]), 8080, SystemClock()) as marked:
    print(marked, flush=True)
    while True:
        pass
"""


def test_a_busy_daemon_is_not_measured_beside_unless_asked(release: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _DAEMON, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=runner_environment(),
    ) as daemon:
        try:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == "True\n"
            ended = _bench(release, tmp_path, "--threads", "1")
            assert ended.returncode == 8
            assert "answering requests on port 8080" in ended.stderr
            assert "--while-serving" in ended.stderr
            ended = _bench(release, tmp_path, "--threads", "1", "--while-serving")
            assert ended.returncode == 0, ended.stderr
            assert "while_serving" in parse_report(ended.stdout.encode()).trust.reasons
        finally:
            daemon.send_signal(signal.SIGKILL)
    # The file still lies there; the kernel let go of its lock.
    assert (tmp_path / "serving.json").stat().st_size > 0
    assert read_serving(tmp_path) is None
    assert _bench(release, tmp_path, "--threads", "1").returncode == 0


def test_a_benchmark_that_is_ended_takes_its_worker_along(release: Path, tmp_path: Path) -> None:
    places = ("--release", str(release), "--state", str(tmp_path))
    bench = subprocess.Popen(
        runner_command("bench", "--choose", *places),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=runner_environment(),
    )
    try:
        deadline = time.monotonic() + 60
        while not (workers := psutil.Process(bench.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        bench.kill()
        bench.wait()
    gone, alive = psutil.wait_procs(workers, timeout=60)
    assert (len(gone), alive) == (1, [])
