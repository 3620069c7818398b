"""How long `edgepack --help` takes, as a share of importing TensorFlow, in one run.

    python benchmarks/startup.py [ROUNDS]

The two are run in turns, so that a noisy machine disturbs both; the medians are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

_COMMANDS = {
    "edgepack --help": [sys.executable, "-m", "edgepack.cli.main", "--help"],
    "edgepack build --help": [sys.executable, "-m", "edgepack.cli.main", "build", "--help"],
    "import tensorflow": [sys.executable, "-c", "import tensorflow"],
}


def main(rounds: int) -> None:
    """Prints the median milliseconds of each command and its share of the last one's."""
    seconds: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(rounds):
        for name, command in _COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    reference = medians["import tensorflow"]
    for name, median in medians.items():
        print(f"{name:<24} {median * 1000:7.0f} ms   {median / reference:6.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
