"""Times TFLite files in turn: `python -m edgepack.build.quality.in_turn IN.npz FILE ...`.

Whatever else the machine does hits all of them alike, so that their ratios hold even where their
times do not. It prints a JSON list of the median nanoseconds of one call of each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import numpy as np

from edgepack.build.quality.timed_file import Row, Rows, TimedFile

_SECONDS_EACH: Final = 1.0
_LEAST_ROUNDS: Final = 31


def time_in_turn(files: Sequence[TimedFile], rows: Rows, seconds: float) -> list[float]:
    """Times open files.

    Args:
        files: All are open at once.
        rows: Inputs, given in turn.
        seconds: About how long to measure.

    Returns:
        The median nanoseconds of one call of each.
    """
    for file in files:
        file.settle(rows)
    deadline = perf_counter_ns() + round(seconds * 1e9)
    times: list[list[float]] = []
    while len(times) < _LEAST_ROUNDS or perf_counter_ns() < deadline:
        row = rows[len(times) % len(rows)]
        # Each round begins with another, as the first finds the caches as the last left them.
        first = len(times) % len(files)
        order = [*range(first, len(files)), *range(first)]
        found = {place: files[place].time(row) for place in order}
        times.append([found[place] for place in range(len(files))])
    return [float(median) for median in np.median(np.asarray(times), axis=0)]


def main(argv: Sequence[str] | None = None) -> int:
    """Times the files of the command line.

    Args:
        argv: An npz with one array [rows, ...] an input, in the files' order, and the files.
    """
    source, *names = argv or sys.argv[1:]
    with np.load(source, allow_pickle=False) as archive:
        arrays = [archive[name] for name in archive.files]
    rows: list[Row] = [[array[i : i + 1] for array in arrays] for i in range(len(arrays[0]))]
    files = [TimedFile(Path(name).read_bytes()) for name in names]
    sys.stdout.write(json.dumps(time_in_turn(files, rows, _SECONDS_EACH * len(files))) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
