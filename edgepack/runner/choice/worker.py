"""Measures trials in a process of its own: `python -m edgepack.runner.choice.worker`.

A runtime that crashes takes this process down and not the benchmark. The first line of standard
input is one JSON object that says what to try, and the input's end ends the worker; standard
output has one JSON object a line, written at once, so that the last line says what it died of.
It is not aware of the decision. Started by `process`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import IO, Any

from edgepack.formats.options import EngineOptions
from edgepack.formats.typed import from_plain, to_plain
from edgepack.runner.candidates import open_candidate
from edgepack.runner.choice.measuring import measure_trials
from edgepack.runner.choice.trials import Trial
from edgepack.runner.clock import SystemClock
from edgepack.runner.engines import Engine
from edgepack.runner.release import Release, load_release


def request_of(release: Path, trials: tuple[Trial, ...]) -> bytes:
    """Writes what a worker reads."""
    document = {"release": str(release), "trials": to_plain(trials)}
    return json.dumps(document).encode()


class LineWriter:
    """Writes what happens as lines (a `Listener`)."""

    def __init__(self, stream: IO[str], trials: tuple[Trial, ...]) -> None:
        self._stream = stream
        self._numbers = {trial: number for number, trial in enumerate(trials)}

    def trying(self, trial: Trial) -> None:
        """See `Listener.trying`."""
        self._write(trial, {})

    def measured(self, trial: Trial, median_ns: int) -> None:
        """See `Listener.measured`."""
        self._write(trial, {"median_ns": median_ns})

    def failed(self, trial: Trial, problem: str) -> None:
        """See `Listener.failed`."""
        self._write(trial, {"problem": problem})

    def _write(self, trial: Trial, more: dict[str, Any]) -> None:
        self._stream.write(json.dumps({"trial": self._numbers[trial], **more}) + "\n")
        self._stream.flush()


def main() -> int:
    """Reads the request and measures; returns the exit status."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    trials: tuple[Trial, ...] = from_plain(tuple[Trial, ...], request["trials"])
    directory = Path(request["release"])

    def open_trial(release: Release, trial: Trial) -> Engine:
        options: EngineOptions = trial.options
        state = os.environ.get("EDGEPACK_STATE")
        return open_candidate(release, options, None if state is None else Path(state))

    def load(variant: str) -> Release:
        return load_release(directory, variant)

    measure_trials(trials, load, open_trial, SystemClock(), LineWriter(sys.stdout, trials))
    return 0


def _end_with_parent() -> None:
    # A benchmark that is killed must not leave a worker behind that takes the box's cores.
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
