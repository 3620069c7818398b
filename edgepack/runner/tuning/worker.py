"""Measures a lap in a process of its own: `edgepack.runner.tuning.worker`.

The first line of standard input is one JSON object that says what to measure, and the input's
end ends the worker. Standard output has one JSON object a line, written at once: the machine
first, then every trial as it begins and as it ends, so that the last line says what it died of.
A block that was measured is kept in a file at once, and one that is kept is not measured again.
It is not aware of other releases or of the choice. Started by `edgepack tune`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from edgepack.formats.options import EngineOptions
from edgepack.formats.tuning import Block, Machine, parse_block
from edgepack.formats.typed import from_plain, to_plain
from edgepack.runner.bench.device import this_platform
from edgepack.runner.bench.environment import kernel_clock_synced, read_environment
from edgepack.runner.bench.occupancy import read_core_times
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.candidates import open_candidate
from edgepack.runner.choice.trials import Trial
from edgepack.runner.clock import SystemClock
from edgepack.runner.durable import write_durably
from edgepack.runner.engines import Engine
from edgepack.runner.release import Release, load_release
from edgepack.runner.tuning.lap import Around, LapPlan, measure_lap
from edgepack.runner.tuning.machine import describe_machine


class Keeper:
    """Keeps blocks in files and writes what happens as lines (a `Listener`).

    A block lies in `FOLDER/CELL/MACHINE/ROUND.json`.
    """

    def __init__(
        self,
        stream: IO[str],
        folder: Path | None,
        machine: Machine,
        cells: Sequence[str],
        numbers: Sequence[int],
    ) -> None:
        """Remembers where blocks go.

        Args:
            stream: Where lines are written.
            folder: Where blocks are kept; None: nowhere.
            machine: Where they are measured.
            cells: Each trial's cell, by the trial's number in the request.
            numbers: The numbers of the trials that are measured.
        """
        self._stream = stream
        self._folder = folder
        self._machine = machine
        self._cells = cells
        self._numbers = numbers

    def trying(self, number: int) -> None:
        """See `Listener.trying`."""
        self.say({"trial": self._numbers[number]})

    def measured(self, number: int, block: Block) -> None:
        """See `Listener.measured`."""
        place = self._numbers[number]
        path = block_path(self._folder, self._cells[place], self._machine.key, block.round)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, block.to_bytes())
        self.say({"trial": place, "block": to_plain(block)})

    def say(self, value: Any) -> None:
        """Writes a line at once."""
        self._stream.write(json.dumps(value) + "\n")
        self._stream.flush()


def block_path(folder: Path | None, cell: str, machine: str, number: int) -> Path | None:
    """Returns where a block is kept, or None where none is."""
    return None if folder is None else folder / cell / machine / f"{number:03}.json"


def main() -> int:
    """Reads the request and measures; returns the exit status."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    system = SystemTree()

    def state() -> Any:
        return read_environment(system, kernel_clock_synced)

    machine = describe_machine(system, this_platform(), os.environ, state())
    trials: tuple[Trial, ...] = from_plain(tuple[Trial, ...], request["trials"])
    plan: LapPlan = from_plain(LapPlan, request["plan"])
    folder = None if request["keep"] is None else Path(request["keep"])
    cells = request["cells"]
    kept: dict[int, Block] = {}
    for number, cell in enumerate(cells):
        found = _read(block_path(folder, cell, machine.key, plan.round))
        if found is not None:
            kept[number] = found
    left = [number for number in range(len(trials)) if number not in kept]
    keeper = Keeper(sys.stdout, folder, machine, cells, left)
    keeper.say({"machine": to_plain(machine)})
    for number, block in kept.items():
        keeper.say({"trial": number, "block": to_plain(block)})
    if machine.device.emulated:
        # Its times say nothing; whoever asked reads that from the facts.
        return 0
    directory = Path(request["release"])

    def open_engine(release: Release, trial: Trial) -> Engine:
        options: EngineOptions = trial.options
        return open_candidate(release, options)

    around = Around(
        clock=SystemClock(),
        load=lambda variant: load_release(directory, variant),
        open_engine=open_engine,
        machine=machine,
        state=state,
        cores=lambda: read_core_times(system),
        own_ns=time.process_time_ns,
    )
    measure_lap([trials[number] for number in left], plan, around, keeper)
    return 0


def _read(path: Path | None) -> Block | None:
    try:
        return None if path is None else parse_block(path.read_bytes())
    except OSError:
        return None


def _end_with_parent() -> None:
    # A tuning that is killed must not leave a worker behind that takes the machine's cores.
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
