"""Measures trials in a process of its own: `python -m edgepack.runner.choice.worker`.

A runtime that crashes takes this process down and not the benchmark. One JSON object on standard
input says what to try; standard output has one JSON object a line, written at once, so that the
last line says what it died of. It is not aware of the decision. Started by `process`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

from edgepack.formats.options import EngineOptions
from edgepack.formats.typed import from_plain, to_plain
from edgepack.runner.choice.measuring import measure_trials
from edgepack.runner.choice.trials import Trial
from edgepack.runner.clock import SystemClock
from edgepack.runner.engines import Engine, open_engine
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
    request = json.load(sys.stdin)
    trials: tuple[Trial, ...] = from_plain(tuple[Trial, ...], request["trials"])
    directory = Path(request["release"])

    def open_trial(release: Release, trial: Trial) -> Engine:
        options: EngineOptions = trial.options
        return open_engine(release.manifest.runtime.name, release.model_path, options)

    def load(variant: str) -> Release:
        return load_release(directory, variant)

    measure_trials(trials, load, open_trial, SystemClock(), LineWriter(sys.stdout, trials))
    return 0


if __name__ == "__main__":
    sys.exit(main())
