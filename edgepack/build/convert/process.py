"""Runs one conversion job in a process of its own and says what became of it.

A converter's crash, hang or hunger for memory is an outcome like any other. It is not aware of
what the jobs do. Used by `edgepack.build.convert.variants`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from edgepack.build.convert.job import Job, Outcome
from edgepack.build.process import ChildResult, run_limited

#: Runs a job and says how its process ended; replaced by a simulator in tests.
Runner = Callable[[Job, "Limits"], ChildResult]

#: Their versions decide what a converter writes.
_TOOLS = ("tensorflow", "keras", "ai-edge-litert", "onnx", "onnxruntime", "tf2onnx", "numpy")
#: Lines that say nothing: log prefixes, progress bars, the traceback's own frame lines.
_NOISE = re.compile(
    r"^\s*(?:$|[IWE]\d{4}|\d{4}-\d\d-\d\d|WARNING|INFO|Traceback|File \"|warnings\.warn"
    r"|[\^~]|During )"
)
_MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """What one conversion process may take.

    Attributes:
        timeout_s: Wall-clock seconds.
        memory_bytes: Resident memory, descendants included.
    """

    timeout_s: float = 900.0
    memory_bytes: int = 8 * 2**30


class NotKeptError(Exception):
    """A failure that another try may not repeat, so it must not enter the cache."""

    def __init__(self, failure: str) -> None:
        super().__init__(failure)
        self.failure = failure


def run_job(job: Job, limits: Limits, runner: Runner) -> Outcome:
    """Does a job and always returns an outcome, which is also written into `job.out`.

    Args:
        job: What to do; `job.out` exists.
        limits: What it may take.
        runner: Starts the process.

    Raises:
        NotKeptError: It was stopped, which depends on the machine and its load.
    """
    result = runner(job, limits)
    # SIGKILL comes from outside: the kernel out of memory, or a build that was stopped.
    if result.timed_out or result.memory_exceeded or result.signal in ("SIGKILL", "SIGTERM"):
        raise NotKeptError(f"converter {result.describe()}")
    outcome = Outcome.read(job.out)
    if outcome is None or (outcome.failure is None and not result.ok):
        # It may also die after its work, while libraries shut down; then the file is not
        # to be trusted either.
        outcome = Outcome(failure=describe_failure(result))
        outcome.write(job.out)
    return outcome


def start_worker(job: Job, limits: Limits) -> ChildResult:
    """The runner of a real build: `python -m edgepack.build.convert.worker`."""
    path = job.out / "job.json"
    job.write(path)
    try:
        return run_limited(
            [sys.executable, "-m", "edgepack.build.convert.worker", path],
            timeout_s=limits.timeout_s,
            memory_bytes=limits.memory_bytes,
            env=worker_environment(),
        )
    finally:
        path.unlink(missing_ok=True)


def describe_failure(result: ChildResult) -> str:
    """Says in one line how a converter failed: its end, and its last meaningful words."""
    words = last_words(result.stderr)
    ended = f"converter {result.describe()}"
    # Before a signal a library's log is about something else.
    return ended if result.signal is not None or not words else f"{ended}: {words}"


def last_words(text: str) -> str:
    """Returns the last line of a log that says something, shortened; empty if none does."""
    lines = [line.strip() for line in text.splitlines() if not _NOISE.match(line)]
    words = lines[-1] if lines else ""
    return words if len(words) <= _MESSAGE_LIMIT else words[: _MESSAGE_LIMIT - 1] + "…"


def tool_versions() -> dict[str, str]:
    """Returns the version of every package that shapes a variant's bytes."""
    found = {}
    for name in _TOOLS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def worker_environment() -> dict[str, str]:
    """Returns a worker's environment: this edgepack, no GPU, few threads, quiet, repeatable."""
    package = Path(__file__).resolve().parents[3]
    known = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{package}{os.pathsep}{known}" if known else str(package),
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore",
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
    }
