"""MLflow's tracking server as people run it, in an environment of its own, and our fields for it.

It is no part of the project: `uv` installs it into the benchmark's cache when it is first needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.hub.load import MlflowReport
from benchmarks.hub.servers import Server
from edgepack.formats.report import Report
from edgepack.formats.typed import to_plain
from tests.e2e.hubs import free_port

#: The most that one `runs/log-batch` takes. Source: MLflow, docs of its REST API, Log Batch.
_MOST_PARAMS = 100
_MOST_METRICS = 1000
_MOST_TAGS = 100
_START_S = 120.0
#: The ends of the names of what the hub has in columns of its own.
_IN_COLUMNS = (
    *("bundle.id", "bundle.target", "model.name", "model.version", "model.variant"),
    *("model.precision", "model.size_bytes", "runtime.name", "runtime.version"),
    *("runtime.provider", "runtime.threads", "trust.grade", "device.board", "device.cpu_model"),
    *("cold.init_ns", "cold.first_inference_ns", "cold.time_to_ready_ns", "memory.rss_peak"),
    *("golden.ok", "device.emulated", "after.load_1m", ".valid", ".samples_per_second"),
    *("end_to_end.mean_ns", "end_to_end.p50", "end_to_end.p90", "end_to_end.p95"),
    *("end_to_end.p99", "offline.compute.p50", "offline.compute.p99"),
)
_MOMENT_MS = 1_790_000_000_000


def cache_folder() -> Path:
    """Where the benchmarks keep what they install."""
    base = os.environ.get("EDGEPACK_CACHE") or Path.home() / ".cache" / "edgepack"
    return Path(base) / "benchmarks"


def install_mlflow(folder: Path) -> Path:
    """Installs MLflow into a virtual environment, once.

    Args:
        folder: Where environments lie.

    Returns:
        Its program.
    """
    environment = folder / "mlflow"
    program = environment / "bin" / "mlflow"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--clear", str(environment)], check=True)
        python = str(environment / "bin" / "python")
        subprocess.run([*uv, "pip", "install", "-q", "--python", python, "mlflow"], check=True)
    return program


def mlflow_version(program: Path) -> str:
    """Says which MLflow it is."""
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextlib.contextmanager
def mlflow_serving(program: Path, folder: Path) -> Iterator[Server]:
    """Runs the tracking server on SQLite, with its own number of workers."""
    port = free_port()
    command = [str(program), "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
        )
    try:
        _wait(port, process, folder / "mlflow.log")
        yield Server(port, process.pid)
    finally:
        # Its workers are children of its own session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def mlflow_report(report: Report, *, every_field: bool = True) -> MlflowReport:
    """Writes a report's fields down as MLflow's metrics and parameters.

    Numbers and truth values are metrics, texts parameters, what it was run with tags. Lists,
    the histograms among them, are left out, which is to MLflow's advantage.

    Args:
        report: The report.
        every_field: Otherwise only those that the hub has in columns, about.
    """
    flat = dict(_flatten(to_plain(report), ""))
    if not every_field:
        flat = {key: value for key, value in flat.items() if key.endswith(_IN_COLUMNS)}
    metrics = [
        {"key": key, "value": float(value), "timestamp": _MOMENT_MS, "step": 0}
        for key, value in flat.items()
        if isinstance(value, int | float)
    ]
    texts = [
        {"key": key, "value": value[:500]} for key, value in flat.items() if isinstance(value, str)
    ]
    tags = [
        {"key": "mlflow.runName", "value": str(report.report_id)},
        {"key": "device_id", "value": str(report.device_id)},
    ]
    create = {"experiment_id": "0", "start_time": _MOMENT_MS, "tags": tags}
    rest = texts[_MOST_PARAMS : _MOST_PARAMS + _MOST_TAGS]
    batch: dict[str, Any] = {
        "metrics": metrics[:_MOST_METRICS],
        "params": texts[:_MOST_PARAMS],
        "tags": rest,
    }
    # Without its opening brace: the run's id comes before it.
    return MlflowReport(json.dumps(create).encode(), json.dumps(batch)[1:].encode())


def counted(report: MlflowReport) -> dict[str, int]:
    """Says how many metrics, parameters and tags a report became."""
    batch = json.loads(b"{" + report.batch_tail)
    return {name: len(batch[name]) for name in ("metrics", "params", "tags")}


def _flatten(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key != "missing":
                yield from _flatten(each, f"{place}.{key}" if place else str(key).replace(":", "_"))
    elif isinstance(value, list):
        # A run is an object of its own; other lists are left out.
        if place == "runs":
            for each in value:
                yield from _flatten(each, f"runs.{each['method']['scenario']}")
    elif value is not None:
        yield place.replace(":", "_"), value


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer,
        ):
            if answer.status == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"error: MLflow did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)
