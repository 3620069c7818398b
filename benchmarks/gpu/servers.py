"""Starts the servers that are compared and finds what each can do within a latency bound."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.load import Load, request_bodies, run_load

_REPOSITORY = Path(__file__).resolve().parents[2]
#: A million ids are read, and CUDA starts.
_START_S = 180.0
_BODIES = 2000


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server: its name and the command that starts it, with `{port}` in it."""

    name: str
    command: Sequence[str]


def contestants(release: Path, variant: str) -> tuple[Contestant, ...]:
    """Returns what is compared over one release; what is not installed here is left out."""
    runner = [sys.executable, "-m", "edgepack.runner.main", "serve", "--release", str(release)]
    runner += ["--candidate", variant, "--port", "{port}"]
    found = [Contestant("edgepack-runner", runner)]
    rivals = {"onnxruntime": "FastAPI + ONNX Runtime"}
    if importlib.util.find_spec("torch") is not None:
        rivals["torch"] = "FastAPI + PyTorch"
    for engine, title in rivals.items():
        for style in ("async", "threads"):
            command = [sys.executable, "-m", "benchmarks.gpu.fastapi_app", str(release)]
            command += ["--engine", engine, "--style", style, "--variant", variant]
            found.append(Contestant(f"{title} ({style})", [*command, "--port", "{port}"]))
    return tuple(found)


def sweep(
    contestant: Contestant, items: int, length: int, connections: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Loads a server with more and more connections.

    Returns:
        What each load found, as JSON values.
    """
    bodies = request_bodies(items, length, _BODIES)
    with serving(contestant.command, bodies[0]) as port:
        return [
            asdict(run_load(port, bodies, count, seconds=seconds, processes=_load_processes()))
            for count in connections
        ]


def best_within(loads: Sequence[dict[str, Any]], p99_ms: float) -> Load | None:
    """Returns the load with the most requests per second whose p99 keeps the bound."""
    kept = [Load(**each) for each in loads if each["p99_ms"] <= p99_ms and not each["failed"]]
    return max(kept, key=lambda each: each.requests_per_s, default=None)


@contextlib.contextmanager
def serving(command: Sequence[str], body: bytes) -> Iterator[int]:
    """Runs a server until the block ends; yields its port once it has answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    filled = [part.replace("{port}", str(port)) for part in command]
    paths = [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    process = subprocess.Popen(
        filled, cwd=_REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    begin = time.perf_counter()
    try:
        while not _answers(port, body):
            if process.poll() is not None:
                said = b"" if process.stderr is None else process.stderr.read()
                raise SystemExit(f"error: {' '.join(filled)} ended: {said.decode()[-500:]}")
            if time.perf_counter() - begin > _START_S:
                raise SystemExit(f"error: {' '.join(filled)} did not answer in {_START_S:.0f} s")
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _answers(port: int, body: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
    try:
        connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and bool(json.loads(answer.read())["items"])
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _load_processes() -> int:
    return max(1, min(8, len(os.sched_getaffinity(0)) - 2))
