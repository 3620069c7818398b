"""Measures what calls of a loaded model take: before it serves, and again when a card failed.

It is not aware of HTTP. Used by `opening` and by the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgepack.runner.clock import Clock
from edgepack.runner.engines.contract import Engine
from edgepack.runner.live.model import LiveModel
from edgepack.runner.recommender import Recommender
from edgepack.runner.release import Release
from edgepack.runner.replay import golden_arrays, golden_rows
from edgepack.runner.rows import CallSizes, powers_of_two, run_rows, sizes_of


@dataclass(frozen=True, slots=True)
class Effort:
    """How long measuring may take.

    Attributes:
        runs: The most calls of one row.
        calls: The most calls of each larger number of rows; odd.
        limit_ns: No call begins later than this, but the first of one row and the first of two.
    """

    runs: int
    calls: int
    limit_ns: int


#: Before the model serves: nobody waits.
BEFORE_SERVING = Effort(30, 5, 2_000_000_000)
#: While it serves: as long as requests may well be held up, once.
WHILE_SERVING = Effort(5, 3, 200_000_000)


def measure_again(live: LiveModel, clock: Clock, effort: Effort = WHILE_SERVING) -> None:
    """Measures a model in service whose engine computes elsewhere than when it was opened.

    Until then deadlines and shared calls go by the times of the card. The caller sees to it that
    no job is using the engine; a model that was unloaded meanwhile is left alone.

    Args:
        live: The model; its times and its numbers of rows are replaced.
        clock: Times the calls.
        effort: How long that may take.

    Raises:
        DeviceError: The runtime failed; the times stay as they were.
    """
    engine = live.engine
    if engine is None:
        return
    # Whatever comes of it: it is tried once for each change.
    live.measured_on = engine.provider
    sizes = sizes_of(engine, live.sizes.most)
    median_ns = warm_up(live.release, engine, live.recommender, clock, effort)
    call_ns = time_calls(live.release, engine, sizes, clock, effort)
    live.take_times(median_ns, sizes, call_ns)


def time_calls(
    release: Release,
    engine: Engine,
    sizes: CallSizes,
    clock: Clock,
    effort: Effort = BEFORE_SERVING,
) -> tuple[tuple[int, float], ...]:
    """Measures what calls of several rows take.

    Args:
        release: Whose golden inputs are run.
        engine: The loaded model.
        sizes: How many rows one call may have.
        clock: Times the runs.
        effort: How long that may take.

    Returns:
        Median nanoseconds by rows: of 2, 4, 8 … up to the most, as far as the time goes.

    Raises:
        DeviceError: The runtime failed.
    """
    found: list[tuple[int, float]] = []
    begin_ns = clock.monotonic_ns()
    for rows in sizes.only or powers_of_two(sizes.most):
        if rows == 1 or clock.monotonic_ns() - begin_ns > effort.limit_ns:
            continue
        arrays = golden_rows(release, rows)
        durations = []
        for _ in _turns(effort.calls, begin_ns, clock, effort):
            _, calls = run_rows(engine, arrays, sizes, clock.monotonic_ns)
            durations.append(sum(call.duration_ns for call in calls))
        found.append((rows, _median(durations)))
    return tuple(found)


def warm_up(
    release: Release,
    engine: Engine,
    recommender: Recommender | None,
    clock: Clock,
    effort: Effort = BEFORE_SERVING,
) -> float:
    """Runs golden inputs until the caches are warm.

    Args:
        release: Whose golden inputs are run.
        engine: The loaded model.
        recommender: The same model behind its vocabulary; None for a tensor model.
        clock: Times the runs.
        effort: How long that may take.

    Returns:
        Median nanoseconds inside the engine.

    Raises:
        DeviceError: The runtime failed.
    """
    durations: list[int] = []
    for i in _turns(effort.runs, clock.monotonic_ns(), clock, effort):
        if recommender is not None:
            histories = release.golden.sequences
            durations.append(recommender.rank(histories[i % len(histories)].history).compute_ns)
        else:
            cases = release.golden.tensors
            arrays = golden_arrays(cases[i % len(cases)])
            start_ns = clock.monotonic_ns()
            engine.run(arrays)
            durations.append(clock.monotonic_ns() - start_ns)
    return _median(durations)


def _turns(most: int, begin_ns: int, clock: Clock, effort: Effort) -> Iterator[int]:
    """Yields 0, 1, 2 …: at least one, and no further one when the time is over."""
    for number in range(most):
        yield number
        if clock.monotonic_ns() - begin_ns > effort.limit_ns:
            return


def _median(durations: list[int]) -> float:
    # The `statistics` module would bring 300 kB of fractions and decimals along.
    return float(sorted(durations)[len(durations) // 2])
