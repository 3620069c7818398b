"""Fuzzes for as long as a person likes: `python -m tests.fuzz.run --examples 1000000`.

Prints each kind of bug once, with the bytes that show it; 1 when there was one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.mutate import examples
from tests.fuzz.registry import NAMES, all_targets
from tests.fuzz.target import Target, folder_for_fuzzing

_SHOWN_BYTES = 600


def hunt(target: Target, count: int, seed: int) -> dict[str, bytes]:
    """Feeds a target.

    Args:
        target: What is fed.
        count: How many examples, before the target's cost is taken off.
        seed: Of the examples.

    Returns:
        Each kind of bug, in words, with the first bytes that showed it.
    """
    found: dict[str, bytes] = {}
    for data in examples(target.seeds, max(count // target.cost, len(target.seeds)), seed):
        error = target.bites(data)
        if error is not None:
            found.setdefault(f"{type(error).__name__}: {str(error)[:120]}", data)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program."""
    parser = argparse.ArgumentParser(description="Feed the parsers with odd bytes.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--examples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    bugs = 0
    with folder_for_fuzzing() as name:
        targets = all_targets(Path(name))
        for each in options.targets or NAMES:
            found = hunt(targets[each], options.examples, options.seed)
            bugs += len(found)
            print(f"{each}: {options.examples // targets[each].cost:,} examples, {len(found)} bugs")
            for words, data in found.items():
                print(f"  {words}\n    {data[:_SHOWN_BYTES]!r}", flush=True)
    return 1 if bugs else 0


if __name__ == "__main__":
    sys.exit(main())
