"""Sends laps to executors and collects blocks, round by round, whatever becomes of a lap.

In every round every cell has one block on the same machine, each round begun elsewhere, so that
a disturbance hits them all. It is not aware of what a block's numbers mean. Used by `tuning`.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from edgepack.build.artifacts import Progress
from edgepack.build.tune.cells import Cell, KeptBlocks, TunePlan
from edgepack.build.tune.task import run_lap
from edgepack.formats.errors import DeviceError, EdgepackError
from edgepack.formats.tuning import Block, Machine, parse_plain
from edgepack.formats.typed import to_plain
from edgepack.formats.variants import RuntimeName

#: A lap on which more than this many cells crash has another fault than a bad variant.
_MOST_CRASHES: Final = 8
#: Starting, importing a runtime and loading a model, on a slow board.
_START_S: Final = 60.0
_CELL_S: Final = 30.0
#: A block may last three times as long as planned.
_OVERTIME: Final = 3
#: How much longer than the lap itself an executor may take to answer: another lap may be waited
#: for, and a release be sent.
_PATIENCE_S: Final = 600.0
_MAX_CAUSE: Final = 300
#: How soon a stop is seen.
_POLL_S: Final = 0.5
_T = TypeVar("_T")
_RESUME: Final = "give the same command again: what was measured is kept"


@dataclass(frozen=True, slots=True)
class TunedRelease:
    """A release that is tuned: one runtime with every variant that may ship.

    Attributes:
        runtime: Its runtime.
        digest: Its SHA-256.
        folder: Where it lies on this host.
    """

    runtime: RuntimeName
    digest: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where laps run: executors that all run on one machine.

    Attributes:
        name: For people.
        executors: What runs them; they take turns.
        releases: What stands for each runtime's release in `run_lap` there: a folder, or an
            archive or something the executor turns into one.
        keep: Where laps keep their blocks at once; None where they cannot reach the cache.
    """

    name: str
    executors: tuple[Executor, ...]
    releases: Mapping[RuntimeName, Any]
    keep: Path | None = None


@dataclass(slots=True)
class Measured:
    """What came back, machine by machine.

    Attributes:
        machines: By key.
        blocks: By machine's key and cell, then by round.
        problems: What crashed, by machine's key and cell; it is tried again the next time.
    """

    machines: dict[str, Machine] = field(default_factory=dict)
    blocks: dict[tuple[str, Cell], dict[int, Block]] = field(default_factory=dict)
    problems: dict[tuple[str, Cell], str] = field(default_factory=dict)

    def add(self, cell: Cell, block: Block) -> None:
        """Takes a block."""
        self.blocks.setdefault((block.machine, cell), {})[block.round] = block

    def is_out(self, machine: str, cell: Cell) -> bool:
        """Whether a cell is not worth another block on a machine."""
        found = self.blocks.get((machine, cell), {}).values()
        return (machine, cell) in self.problems or any(each.problem for each in found)


@dataclass(frozen=True, slots=True)
class LapEnd:
    """How a lap ended.

    Attributes:
        machine: Where it ran; None when it did not come so far.
        blocks: By the trial's number.
        last: The trial it was at, which a crash is put down to; None: at none.
        began: Whether it came to any trial.
        cause: How it ended, in words; None when it came to its end.
        out_of_time: Whether its time was up.
    """

    machine: Machine | None
    blocks: Mapping[int, Block]
    last: int | None
    began: bool
    cause: str | None
    out_of_time: bool


class Course:
    """Measures the cells of a target at one place."""

    def __init__(
        self,
        place: Place,
        releases: Sequence[TunedRelease],
        needs: Mapping[str, str],
        plan: TunePlan,
        kept: KeptBlocks,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Remembers what is measured where.

        Args:
            place: Where laps run.
            releases: The releases, one a runtime.
            needs: What they run on (see `run_lap`).
            plan: How long each cell is measured.
            kept: Blocks of before, and where those that come back are kept.
            stopped: Asked again and again whether nobody waits for it any more.
        """
        self._stopped = stopped
        self.place = place
        self._releases = {each.runtime: each for each in releases}
        self._needs = dict(needs)
        self._plan = plan
        self._kept = kept
        self._executors = list(place.executors)
        self._laps = 0

    def find_machine(self) -> Machine:
        """Asks the place which machine it is.

        Raises:
            DeviceError: It cannot run the target's releases, or its CPU is emulated.
        """
        release = next(iter(self._releases.values()))
        end = self._lap(release, [], 0)
        if end.machine is None:
            raise DeviceError(f"{self.place.name} cannot measure: {end.cause or 'it says nothing'}")
        if end.machine.device.emulated:
            signs = "; ".join(end.machine.device.emulation_signs)
            raise DeviceError(
                f"{self.place.name} is emulated, and emulated times say nothing: {signs}",
                hint="measure on a real box of the target",
            )
        return end.machine

    def measure(self, cells: Sequence[Cell], machine: Machine, progress: Progress) -> Measured:
        """Measures every cell in every round, but what was measured before.

        Args:
            cells: What is measured.
            machine: What `find_machine` said.
            progress: Told of each block.

        Returns:
            All blocks, also those of before; a place whose laps run on several machines brings
            each machine's own.

        Raises:
            DeviceError: The place is lost; what came back before is kept.
        """
        measured = Measured({machine.key: machine})
        task = f"Measuring on {self.place.name}"
        progress.start(task, len(cells) * self._plan.rounds)
        for number in range(self._plan.rounds):
            for runtime, group in _groups(cells, number, self._plan.rounds):
                left = []
                for cell in group:
                    block = self._kept.find(cell, machine.key, number)
                    if block is not None:
                        measured.add(cell, block)
                    elif not measured.is_out(machine.key, cell):
                        left.append(cell)
                self._run_group(runtime, left, number, measured)
                progress.advance(task, len(group))
        progress.finish(task)
        return measured

    def _run_group(
        self, runtime: RuntimeName, cells: list[Cell], number: int, measured: Measured
    ) -> None:
        left = cells
        for _ in range(_MOST_CRASHES):
            if not left:
                return
            end = self._lap(self._releases[runtime], left, number)
            key = next(iter(measured.machines)) if end.machine is None else end.machine.key
            if end.machine is not None:
                measured.machines.setdefault(key, end.machine)
            for place, block in end.blocks.items():
                measured.add(left[place], block)
                self._kept.keep(left[place], block)
            if end.cause is None:
                return
            rest = [cell for i, cell in enumerate(left) if i not in end.blocks]
            # Without a word about a cell none would begin; without time none would end.
            died = rest if end.out_of_time or not end.began else []
            if end.last is not None and not died:
                died = [left[end.last]]
            for cell in died:
                measured.problems[key, cell] = end.cause
            left = [cell for cell in rest if cell not in died]
        for cell in left:
            measured.problems[key, cell] = "not measured: too many others crashed"

    def _lap(self, release: TunedRelease, cells: Sequence[Cell], number: int) -> LapEnd:
        plan = self._plan
        trials = [
            {"variant": each.row.variant.spec.name, "options": each.options} for each in cells
        ]
        request = {
            "release": "{release}",
            "keep": None if self.place.keep is None else str(self.place.keep),
            "cells": [each.key for each in cells],
            "trials": to_plain(trials),
            "plan": {
                "round": number,
                "block_ns": plan.block_ns,
                "min_queries": plan.min_queries,
                "warmup_ns": plan.warmup_ns,
            },
        }
        block_s = (plan.block_ns * _OVERTIME + plan.warmup_ns) / 1e9
        timeout_s = _START_S + len(cells) * (_CELL_S + block_s)
        told = self._submit(release, json.dumps(request), timeout_s)
        if told["refused"] is not None:
            raise DeviceError(
                f"{self.place.name} cannot measure for this target: {told['refused']}",
                hint="measure on a box of the target",
            )
        return read_lap(told, len(cells), timeout_s)

    def _await(self, future: Future[dict[str, Any]], limit_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        while not self._stopped():
            try:
                return future.result(_POLL_S)
            except TimeoutError:
                # The task's own is an answer too.
                if future.done() or time.monotonic() > deadline:
                    raise
        future.cancel()
        raise DeviceError(f"{self.place.name} was stopped", hint=_RESUME)

    def _submit(self, release: TunedRelease, request: str, timeout_s: float) -> dict[str, Any]:
        """Runs a lap on one of the executors, on another where one is lost."""
        faults = []
        while self._executors:
            executor = self._executors[self._laps % len(self._executors)]
            self._laps += 1
            try:
                future = executor.submit(
                    run_lap,
                    self.place.releases[release.runtime],
                    release.digest,
                    self._needs,
                    request,
                    timeout_s,
                )
                told = self._await(future, timeout_s + _PATIENCE_S)
            except EdgepackError:
                raise
            # An executor's own faults share no base class: a pool that broke, a worker that was
            # killed, an answer that never came.
            except Exception as error:  # noqa: BLE001
                faults.append(f"{type(error).__name__}: {error}"[:_MAX_CAUSE])
                self._executors.remove(executor)
            else:
                return told
        raise DeviceError(
            f"{self.place.name} was lost while it measured: {'; '.join(faults)}", hint=_RESUME
        )


class InThisThread(Executor):
    """Runs a task where it is submitted, so that Ctrl-C ends it as it ends everything else."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Runs it and returns a future that is done."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        # What a task raises belongs to whoever asks the future, as with every executor.
        except Exception as error:  # noqa: BLE001
            future.set_exception(error)
        return future


def _groups(
    cells: Sequence[Cell], number: int, rounds: int
) -> Iterable[tuple[RuntimeName, list[Cell]]]:
    """Puts a round's cells in its own order: each begins with another runtime and cell."""
    by_runtime: dict[RuntimeName, list[Cell]] = {}
    for cell in cells:
        by_runtime.setdefault(cell.row.runtime, []).append(cell)
    names = list(by_runtime)
    first = number % len(names) if names else 0
    for name in (*names[first:], *names[:first]):
        group = by_runtime[name]
        start = number * len(group) // rounds
        yield name, [*group[start:], *group[:start]]


def read_lap(told: Mapping[str, Any], count: int, timeout_s: float) -> LapEnd:
    """Reads what a lap's process wrote.

    Args:
        told: What `run_lap` returned.
        count: Trials in the lap.
        timeout_s: The time it had.

    Returns:
        Its machine, blocks and end; a line that is no sound one is passed over, as a runtime may
        print and a killed process leaves half a line.
    """
    machine, last = None, None
    blocks: dict[int, Block] = {}
    for line in str(told["output"]).splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        if "machine" in said:
            machine = parse_plain(Machine, said["machine"])
        number = said.get("trial")
        if not isinstance(number, int) or not 0 <= number < count:
            continue
        last = number
        block = parse_plain(Block, said["block"]) if "block" in said else None
        if block is not None:
            blocks[number] = block
    # One that died between two cells died of none of them.
    at = None if last in blocks else last
    cause = _cause(told, timeout_s)
    return LapEnd(machine, blocks, at, last is not None, cause, told["status"] is None)


def _cause(told: Mapping[str, Any], timeout_s: float) -> str | None:
    status = told["status"]
    if status == 0:
        return None
    if status is None:
        return f"took longer than {timeout_s:.0f} s"
    words = [line.strip() for line in str(told["errors"]).splitlines() if line.strip()]
    last = f": {words[-1]}"[:_MAX_CAUSE] if words else ""
    if status > 0:
        return f"ended its process with status {status}{last}"
    try:
        return f"crashed with {signal.Signals(-status).name}"
    except ValueError:
        return f"crashed with signal {-status}"


def merge_places(found: Sequence[tuple[Place, Machine]]) -> list[tuple[Place, Machine]]:
    """Makes one place of those that turned out to be one machine.

    Args:
        found: Places with the machine each is.

    Returns:
        One place a machine, whose laps go to all of its executors in turn.
    """
    merged: dict[str, tuple[Place, Machine]] = {}
    for place, machine in found:
        if machine.key in merged:
            first, known = merged[machine.key]
            both = (*first.executors, *place.executors)
            merged[machine.key] = replace(first, executors=both), known
        else:
            merged[machine.key] = place, machine
    return list(merged.values())
