"""Measures trials in turns: a block of each in every round, so that a disturbance hits them all.

One engine is loaded at a time, as a small box has no room for all of them. It is not aware of
processes or files. Used by `worker`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Protocol

from edgepack.formats.errors import EdgepackError
from edgepack.runner.bench.workload import open_workload
from edgepack.runner.choice.trials import Trial
from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Engine
from edgepack.runner.release import Release
from edgepack.runner.replay import replay_golden

ROUNDS: Final = 5
#: A block has at least this many runs and takes at least this long, but a slow model has its end.
_MIN_RUNS: Final = 30
_MIN_NS: Final = 30_000_000
_MAX_RUNS: Final = 2000
_MAX_NS: Final = 1_000_000_000
_WARMUP_RUNS: Final = 5
#: Of a model of seconds a block still has this many runs.
_FEWEST_RUNS: Final = 3


class Listener(Protocol):
    """Is told what happens, at once: the process may die in the middle of a trial."""

    def trying(self, trial: Trial) -> None:
        """A block of a trial begins."""
        ...

    def measured(self, trial: Trial, median_ns: int) -> None:
        """A block has ended, with the median of its answers."""
        ...

    def failed(self, trial: Trial, problem: str) -> None:
        """A trial is out."""
        ...


def measure_trials(
    trials: Sequence[Trial],
    load: Callable[[str], Release],
    open_engine: Callable[[Release, Trial], Engine],
    clock: Clock,
    listener: Listener,
) -> None:
    """Measures every trial in every round, on golden inputs.

    Args:
        trials: What is tried.
        load: Loads the release with a candidate, checked.
        open_engine: Loads the candidate's model.
        clock: Times the answers.
        listener: Is told everything; a fault of a trial is told there and ends only that trial.
    """
    releases: dict[str, Release] = {}
    out: set[Trial] = set()
    for number in range(ROUNDS):
        # Each round begins elsewhere, so that no trial always comes behind the same one.
        start = number * len(trials) // ROUNDS
        for trial in (*trials[start:], *trials[:start]):
            if trial in out:
                continue
            listener.trying(trial)
            try:
                release = loaded(releases, load, trial.variant)
                median_ns = _measure(release, trial, open_engine, clock, verify=number == 0)
            except EdgepackError as error:
                out.add(trial)
                listener.failed(trial, error.message)
            else:
                listener.measured(trial, median_ns)


def loaded(releases: dict[str, Release], load: Callable[[str], Release], variant: str) -> Release:
    """Loads a release with a candidate, once.

    Args:
        releases: Those that are loaded, by candidate; it is put in there.
        load: Loads one, checked.
        variant: The candidate.
    """
    if variant not in releases:
        release = load(variant)
        # All candidates rank the same items: one copy of their names is enough for a small box.
        first = next(iter(releases.values()), release)
        releases[variant] = replace(release, vocabulary=first.vocabulary)
    return releases[variant]


def _measure(
    release: Release,
    trial: Trial,
    open_engine: Callable[[Release, Trial], Engine],
    clock: Clock,
    *,
    verify: bool,
) -> int:
    with proven_engine(release, trial, open_engine, clock, verify=verify) as engine:
        return _median_of_block(release, engine, clock)


@contextmanager
def proven_engine(
    release: Release,
    trial: Trial,
    open_engine: Callable[[Release, Trial], Engine],
    clock: Clock,
    *,
    verify: bool,
) -> Iterator[Engine]:
    """Gives an engine that is what the trial says, and closes it.

    Args:
        release: The release with the trial's candidate.
        trial: What is tried.
        open_engine: Loads the candidate's model.
        clock: Passed on to the replay.
        verify: Whether its golden answers are replayed first.

    Raises:
        EdgepackError: It cannot be loaded or had with these options, answers wrongly, or its card
            failed meanwhile.
    """
    engine = open_engine(release, trial)
    fallback = engine.fallback
    try:
        if engine.options != trial.options:
            raise NotSoError(f"cannot be had on this box: it opens with {engine.options}")
        if verify:
            outcome = replay_golden(release, engine, clock)
            if not outcome.ok:
                raise WrongAnswersError(f"answers wrongly on this box: {outcome.problems[0]}")
        yield engine
        if engine.fallback != fallback:
            # The CPU's time must not be kept as the card's.
            raise NotSoError(f"the card failed while it was measured: {engine.fallback}")
    finally:
        engine.close()


class NotSoError(EdgepackError):
    """A trial's options cannot be followed on this box; it leaves this module only as words."""


class WrongAnswersError(EdgepackError):
    """A trial's golden answers do not come out; it leaves this module only as words."""


def _median_of_block(release: Release, engine: Engine, clock: Clock) -> int:
    workload = open_workload(release, engine, clock)
    begin_ns = clock.monotonic_ns()
    for i in range(_WARMUP_RUNS):
        workload.run(i % workload.samples)
        if clock.monotonic_ns() - begin_ns > _MAX_NS:
            break
    durations: list[int] = []
    begin_ns = now_ns = clock.monotonic_ns()
    while not _is_enough(len(durations), now_ns - begin_ns):
        start_ns = clock.monotonic_ns()
        workload.run(len(durations) % workload.samples)
        now_ns = clock.monotonic_ns()
        durations.append(now_ns - start_ns)
    return round(statistics.median(durations))


def _is_enough(runs: int, elapsed_ns: int) -> bool:
    if runs >= _MAX_RUNS or (runs >= _FEWEST_RUNS and elapsed_ns >= _MAX_NS):
        return True
    return runs >= _MIN_RUNS and elapsed_ns >= _MIN_NS
