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
_RUNNER = (sys.executable, "-m", "edgepack.runner.main")
#: A million ids are read, and CUDA starts.
_START_S = 180.0
_BODIES = 2000


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server: its name and the command that starts it, with `{port}` in it."""

    name: str
    command: Sequence[str]


def choose(release: Path, state: Path) -> dict[str, Any]:
    """Lets the runner choose on this box how it runs a release, as a box's owner would.

    Args:
        release: The release.
        state: The state folder in which the choice is kept.

    Returns:
        The report's variant and `runtime`, and why it was chosen: None where there was no choice.
    """
    command = [*_RUNNER, "bench", "--choose", "--scenario", "single_stream", "--json"]
    command += ["--release", str(release), "--state", str(state)]
    done = subprocess.run(
        command, cwd=_REPOSITORY, env=_environment(), capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended: {done.stderr.decode()[-500:]}")
    report = json.loads(done.stdout)
    choice = report["choice"]
    return {
        "variant": report["model"]["variant"],
        "runtime": report["runtime"],
        "reason": None if choice is None else choice["reason"],
    }


def contestants(release: Path, variant: str, state: Path) -> tuple[Contestant, ...]:
    """Returns what is compared over one release; what is not installed here is left out.

    Args:
        release: The release, whose only candidate is the variant.
        variant: What the others are to load.
        state: The state folder with the runner's choice.
    """
    runner = [*_RUNNER, "serve", "--release", str(release), "--state", str(state)]
    runner += ["--port", "{port}"]
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
    process = subprocess.Popen(
        filled,
        cwd=_REPOSITORY,
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
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


def _environment() -> dict[str, str]:
    paths = [str(_REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


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
