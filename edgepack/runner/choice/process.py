"""Runs the measuring worker as a process and reads what it says, whatever becomes of it.

A worker that dies is started again without the trial it died of. It is not aware of the decision.
Used by `choosing`.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgepack.formats.choice import ChoiceRow
from edgepack.runner.choice.deciding import spread_of
from edgepack.runner.choice.trials import Trial
from edgepack.runner.choice.worker import request_of

#: Ten times what nine candidates with three options each take on a slow board.
_LIMIT_S: Final = 600
#: A box on which more than this many trials crash has another fault than a bad candidate.
_MOST_CRASHES: Final = 8
_MAX_PROBLEM: Final = 500


@dataclass(frozen=True, slots=True)
class WorkerEnd:
    """How a worker ended.

    Attributes:
        status: Its exit status, negative for a signal; None when its time was up.
        output: What it wrote to standard output.
    """

    status: int | None
    output: str


#: Runs a worker with a request on its standard input.
Launch = Callable[[bytes], WorkerEnd]


@dataclass(slots=True)
class _Seen:
    medians_ns: list[int] = field(default_factory=list)
    problem: str | None = None


def measure_in_processes(
    release: Path, trials: tuple[Trial, ...], launch: Launch
) -> tuple[ChoiceRow, ...]:
    """Measures trials, in as many processes as crash and one more.

    Args:
        release: The release's folder.
        trials: What is tried.
        launch: Starts a worker.

    Returns:
        One row for each trial, in their order; what crashed or failed has its problem there.
    """
    problems: dict[Trial, str] = {}
    for _ in range(_MOST_CRASHES):
        left = tuple(trial for trial in trials if trial not in problems)
        if not left:
            break
        end = launch(request_of(release, left))
        seen, last = _read(end.output, left)
        problems |= {trial: each.problem for trial, each in seen.items() if each.problem}
        if end.status == 0:
            return tuple(_row(trial, seen.get(trial), problems) for trial in trials)
        # Without a word about a trial it never began: nothing else would begin either.
        for trial in left if last is None else (last,):
            problems[trial] = _cause(end)
        if end.status is None:
            # What has been measured so far is what there is: another try would take as long.
            return tuple(_row(trial, seen.get(trial), problems) for trial in trials)
    return tuple(_row(trial, None, problems) for trial in trials)


def launch_worker(request: bytes) -> WorkerEnd:
    """Runs a worker with this process's own import path (a `Launch`)."""
    # The launcher on a box sets the path inside the process, so the environment must carry it;
    # without `-S` the box's own packages would come in behind it.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if sys.pycache_prefix is not None:
        environment["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    command = [sys.executable, "-s", "-S", "-m", "edgepack.runner.choice.worker"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        try:
            output, _ = process.communicate(request, timeout=_LIMIT_S)
            status: int | None = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            status = None
        except BaseException:
            process.kill()
            raise
    return WorkerEnd(status, output.decode("utf-8", "replace"))


def _read(output: str, trials: tuple[Trial, ...]) -> tuple[dict[Trial, _Seen], Trial | None]:
    """Reads a worker's lines; returns what it saw and the trial it was at last."""
    seen: dict[Trial, _Seen] = {}
    last = None
    for line in output.splitlines():
        try:
            told = json.loads(line)
            trial = trials[told["trial"]]
        except (ValueError, KeyError, IndexError, TypeError):
            # A runtime may print, and a killed worker leaves half a line.
            continue
        last = trial
        each = seen.setdefault(trial, _Seen())
        if "median_ns" in told:
            each.medians_ns.append(int(told["median_ns"]))
        if "problem" in told:
            each.problem = str(told["problem"])[:_MAX_PROBLEM]
    return seen, last


def _row(trial: Trial, seen: _Seen | None, problems: dict[Trial, str]) -> ChoiceRow:
    problem = problems.get(trial)
    medians = tuple(seen.medians_ns) if seen is not None else ()
    if problem is None and not medians:
        problem = "not measured: too many others crashed, or the time was up"
    if problem is not None:
        return ChoiceRow(trial.variant, trial.options, problem=problem)
    return ChoiceRow(
        variant=trial.variant,
        options=trial.options,
        medians_ns=medians,
        median_ns=round(statistics.median(medians)),
        spread=spread_of(medians),
    )


def _cause(end: WorkerEnd) -> str:
    if end.status is None:
        return f"took longer than {_LIMIT_S} s"
    if end.status >= 0:
        return f"ended its process with status {end.status}"
    try:
        return f"crashed with {signal.Signals(-end.status).name}"
    except ValueError:
        return f"crashed with signal {-end.status}"
