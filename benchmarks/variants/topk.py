"""How long ranking takes in a TFLite graph, in one stage and in two, by the size of the catalogue.

    python -m benchmarks.variants.topk

A dynamic int8 product with a table of random items, 64 wide, and the best forty of its scores; one
thread, the files in turns. Prints microseconds beyond those of the product alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from edgepack.build.convert import tflite_topk
from edgepack.build.convert.tflite_file import parse_tflite, tflite_bytes
from edgepack.build.quality.in_turn import time_in_turn
from edgepack.build.quality.timed_file import TimedFile

_K, _UNITS = 40, 64
_STRETCHES = (8, 16, 32, 64, 128)


def files(items: int) -> dict[str, bytes]:
    """The files that are compared: by name."""
    random = np.random.default_rng(0)
    table = random.normal(size=(_UNITS, items + 1)).astype(np.float32)
    bias = random.normal(size=items + 1).astype(np.float32)

    def product(state: Any) -> Any:
        return tf.matmul(state, table) + bias

    def ranked(state: Any) -> Any:
        scores, found = tf.math.top_k(product(state)[:, 1:], _K)
        return scores, found + 1

    one = _converted(ranked)
    found = {"product": _converted(product), "one stage": one}
    for stretch in _STRETCHES:
        if items >= _K * stretch:
            model = parse_tflite(one)
            with mock.patch.object(tflite_topk, "stretch_of", lambda *_, n=stretch: n):
                tflite_topk.stage_top_k(model, least_items=1)
            found[str(stretch)] = tflite_bytes(model)
    return found


def _converted(function: Any) -> bytes:
    traced = tf.function(function).get_concrete_function(tf.TensorSpec((1, _UNITS), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=1.0, help="a file")
    options = parser.parse_args(argv)
    print(f"| items | product | one stage | {' | '.join(map(str, _STRETCHES))} | chosen |")
    print("|---|---|---|---|---|---|---|---|---|")
    random = np.random.default_rng(1)
    rows = [[random.normal(size=(1, _UNITS)).astype(np.float32)] for _ in range(64)]
    for items in options.items or (1_000, 2_000, 3_000, 4_000, 10_000, 20_000, 100_000):
        made = files(items)
        opened = [TimedFile(each) for each in made.values()]
        times = time_in_turn(opened, rows, options.seconds * len(opened))
        each = dict(zip(made, times, strict=True))
        cells = [f"{(each[name] - each['product']) / 1000:.1f}" if name in each else ""
                 for name in ("one stage", *map(str, _STRETCHES))]  # fmt: skip
        chosen = tflite_topk.stretch_of(items, _K) if items >= tflite_topk.LEAST_ITEMS else "one"
        first = f"| {items:,} | {each['product'] / 1000:.1f} |"
        print(first, " | ".join(cells), f"| {chosen} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
