"""A box to run campaigns on: a release of a tiny model, a state folder, and runners started there.

Used by the campaigns and by the end-to-end tests that need a runner as a process.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edgepack.formats.golden import GoldenSet, check_ranking
from edgepack.formats.variants import RuntimeName
from tests.e2e.real_models import (
    make_onnx,
    make_tflite,
    runner_command,
    runner_environment,
    write_real_release,
)

#: A slow machine with the whole test suite beside it; a start takes half a second.
START_S = 60.0
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Box:
    """Where a runner lives.

    Attributes:
        release: The release it serves.
        state: Its state folder.
    """

    release: Path
    state: Path

    def command(self, verb: str, *arguments: str) -> list[str]:
        """The command line of one of the runner's commands on this box."""
        places = ("--release", str(self.release), "--state", str(self.state))
        return runner_command(verb, *places, *arguments)

    def run(
        self, verb: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end."""
        return subprocess.run(
            self.command(verb, *arguments),
            env=runner_environment(**(env or {})),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def golden(self) -> GoldenSet:
        """The golden answers of the release's model."""
        (path,) = (self.release / "golden").iterdir()
        return GoldenSet.from_bytes(path.read_bytes())


@dataclass(slots=True)
class Address:
    """Where a runner listens.

    Attributes:
        port: On loopback.
    """

    port: int

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Sends one request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, _JSON)
            answer = connection.getresponse()
            text = answer.read()
            is_json = answer.getheader("Content-Type") == "application/json"
            return answer.status, json.loads(text) if is_json else text.decode()

    def wrong_answers(self, golden: GoldenSet) -> list[str]:
        """Asks every golden history and says what came out wrong."""
        problems = []
        for sequence in golden.sequences:
            body = {"history": list(sequence.history), "k": len(sequence.items)}
            status, answer = self.ask("POST", "/recommend", body)
            if status != 200 or answer["fallback"]:
                problems.append(f"status {status}: {answer}")
                continue
            items = [each["id"] for each in answer["items"]]
            scores = [each["score"] for each in answer["items"]]
            problems += check_ranking(sequence, items, scores, golden.tolerance)
        return problems


@dataclass(slots=True)
class Serving(Address):
    """A runner that was started here.

    Attributes:
        process: The process; where it was wrapped, the wrapper's.
        log: The file of its standard output.
    """

    process: subprocess.Popen[bytes]
    log: Path

    def events(self) -> list[dict[str, Any]]:
        """What its log says so far; a line that is half written is not there yet."""
        lines = self.log.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith(b"{")]


def make_box(folder: Path, runtime: RuntimeName = RuntimeName.ONNXRUNTIME) -> Box:
    """Makes a tiny model, its release and an empty state.

    Args:
        folder: Where; ONNX is quick to make, TFLite starts TensorFlow once.
        runtime: What the release is for.
    """
    release, state = folder / "release", folder / "state"
    release.mkdir(parents=True)
    state.mkdir()
    make = make_tflite if runtime is RuntimeName.LITERT else make_onnx
    write_real_release(release, make(folder), runtime)
    return Box(release, state)


def start(
    box: Box,
    log: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    wrapped_in: Sequence[str] = (),
) -> Serving:
    """Starts a runner and waits until it listens.

    Args:
        box: Where.
        log: The file its standard output goes to, emptied first; its standard error beside it.
        arguments: More options of `serve`; a free port is taken.
        env: More environment variables.
        wrapped_in: A command that starts another, such as `setpriv`; it must become it.

    Raises:
        AssertionError: It ended, or did not listen in time.
    """
    command = [*wrapped_in, *box.command("serve", "--port", "0", *arguments)]
    errors = log.with_suffix(".err")
    with log.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            command, stdout=out, stderr=err, env=runner_environment(**(env or {}))
        )
    serving = Serving(0, process, log)
    deadline = time.monotonic() + START_S
    try:
        while not (urls := [e["url"] for e in serving.events() if e["event"] == "listening"]):
            ended = process.poll()
            assert ended is None, f"it ended with {ended}: {errors.read_text()}"
            assert time.monotonic() < deadline, f"it does not listen: {log.read_text()}"
            time.sleep(0.01)
    except BaseException:
        stop_now(process)
        raise
    serving.port = int(urls[-1].rsplit(":", 1)[1])
    return serving


@contextlib.contextmanager
def serving_on(
    box: Box,
    log: Path,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    wrapped_in: Sequence[str] = (),
) -> Iterator[Serving]:
    """Starts a runner as `start` does, and ends it."""
    serving = start(box, log, *arguments, env=env, wrapped_in=wrapped_in)
    try:
        yield serving
    finally:
        stop_now(serving.process)


def stop_now(process: subprocess.Popen[bytes]) -> None:
    """Ends a process at once, if it has not ended, and what a wrapper of it has started."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    for each in started:
        # It knows when its process id has passed to another.
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait(30)
