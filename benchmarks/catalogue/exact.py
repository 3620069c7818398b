"""Top ten of a large catalogue: model files beside numpy, FAISS and reading the table once.

    python -m benchmarks.catalogue.files OUT --items 1000000 \\
        --variant tflite-dynamic-int8-per-tensor
    python -m benchmarks.catalogue.exact OUT/tflite-dynamic-int8-per-tensor.tflite --items 1000000

Every way is a fresh process with one thread; they take turns, call by call. A model file does
the whole road, history in and ranked items out; numpy and FAISS only score a state. Medians of
the thread's own time and of the wall's: on a busy machine only the first says much. FAISS is no
dependency of the project: `--faiss-python` names a Python that has it (`pip install faiss-cpu`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
_ROOT = Path(__file__).parents[2]
_NS_PER_MS = 1e6
_MB = 1e6


class _Way:
    """A process of `benchmarks.catalogue.scoring`."""

    def __init__(self, name: str, python: str, items: int) -> None:
        self.name = Path(name).name
        self.own: list[int] = []
        self.wall: list[int] = []
        environment = {**os.environ, **dict.fromkeys(_ONE_THREAD, "1"), "PYTHONPATH": str(_ROOT)}
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.catalogue.scoring", name, str(items)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def run(self) -> None:
        """Makes one call."""
        wall, own = self._ask("run")
        self.wall.append(wall)
        self.own.append(own)

    def memory(self) -> list[int]:
        """Resident and proportional bytes."""
        return self._ask("memory")

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=60)

    def _ask(self, what: str) -> list[int]:
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the process has pipes")
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name}: the process ended")
        return [int(each) for each in answer.split()]


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--faiss-python")
    options = parser.parse_args(argv)
    ways = [_Way(name, sys.executable, options.items) for name in ("read", "numpy", *options.files)]
    if options.faiss_python:
        ways += [
            _Way(name, options.faiss_python, options.items) for name in ("faiss-flat", "faiss-8bit")
        ]
    for _ in range(options.rounds):
        for way in ways:
            way.run()
    read = median(ways[0].own)
    print("| way | own ms | of reading | wall ms | RSS MB | PSS MB |")
    print("|---|---|---|---|---|---|")
    for way in ways:
        resident, proportional = (each / _MB for each in way.memory())
        own, wall = median(way.own), median(way.wall)
        print(
            f"| {way.name} | {own / _NS_PER_MS:.2f} | {own / read:.2f} | {wall / _NS_PER_MS:.2f} "
            f"| {resident:.0f} | {proportional:.0f} |",
            flush=True,
        )
        way.close()


if __name__ == "__main__":
    main(sys.argv[1:])
