"""Times the ways to write a recurrent layer down as TFLite, in turns.

    python -m benchmarks.variants.forms FOLDER

Each model is Embedding(1000, width), one recurrent layer of that width, Dense(10); random
weights, whose values cost no time. One thread, every file of a model is called in every round,
medians. `FOLDER` keeps the files, so a second call only measures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.variants.olive import timed

Array = npt.NDArray[Any]
KINDS: Final = ("gru", "lstm", "bilstm")
STEPS: Final = (10, 20, 50)
WIDTHS: Final = (32, 64, 128, 256)
PRECISIONS: Final = ("fp32", "fp16", "dynamic-int8")
#: `keras`: each step multiplies its own input. `projected`: one product for all steps before.
FORMS: Final = ("keras-rolled", "keras-unrolled", "rolled", "unrolled", "fused")
_ITEMS, _CLASSES = 1_000, 10


@dataclass(frozen=True, slots=True)
class Cell:
    """One model of the grid.

    Attributes:
        kind: `gru`, `lstm` or `bilstm`.
        steps: Length of the sequence.
        width: Of the input and of the state, of each direction's for `bilstm`.
    """

    kind: str
    steps: int
    width: int

    def path(self, folder: Path, form: str, precision: str) -> Path:
        """Where a file of this model is kept."""
        return folder / f"{self.kind}.{self.steps}.{self.width}.{form}.{precision}.tflite"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one file.

    Attributes:
        kind: As in `Cell`.
        steps: As in `Cell`.
        width: As in `Cell`.
        precision: The variant's.
        form: How the layer is written.
        size_bytes: Of the file.
        latency_us: Median of a call.
        ratio: Median over the rounds of its time to the quickest form's in the same round.
        error: Largest distance of a class's logit from Keras's own loop in fp32.
    """

    kind: str
    steps: int
    width: int
    precision: str
    form: str
    size_bytes: int
    latency_us: float
    ratio: float
    error: float


def make(folder: Path, cell: Cell, forms: Sequence[str], precisions: Sequence[str]) -> None:
    """Converts what is missing of a model."""
    wanted = {
        form: [each for each in precisions if not cell.path(folder, form, each).exists()]
        for form in forms
    }
    for form, missing in wanted.items():
        if not missing or (form == "fused" and cell.kind == "gru"):
            continue
        for precision, data in _converted(cell, form, missing):
            cell.path(folder, form, precision).write_bytes(data)


def _converted(cell: Cell, form: str, precisions: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    import tempfile

    import tensorflow as tf

    from benchmarks.variants.fused import fuse
    from edgepack.build.convert.recurrent import project_first

    model, layers = _model(cell)
    if form == "fused":
        fuse(layers)
    elif not form.startswith("keras"):
        project_first(layers)
    for layer in layers:
        layer.unroll = form.endswith("unrolled")
    module = tf.Module()
    module.kept = [each.value for each in model.variables]
    module.call = tf.function(
        lambda history: model(history, training=False),
        input_signature=[tf.TensorSpec((1, cell.steps), tf.int32)],
        autograph=False,
    )
    with tempfile.TemporaryDirectory() as saved:
        tf.saved_model.save(module, saved, signatures={"serving_default": module.call})
        for precision in precisions:
            converter = tf.lite.TFLiteConverter.from_saved_model(saved)
            if precision != "fp32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            yield precision, bytes(converter.convert())


def _model(cell: Cell) -> tuple[Any, list[Any]]:
    """Returns a model with the same weights at every call, and its recurrent layers."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    kind = layers.GRU if cell.kind == "gru" else layers.LSTM
    layer: Any = kind(cell.width)
    if cell.kind == "bilstm":
        layer = layers.Bidirectional(layer)
    model = keras.Sequential(
        [
            keras.Input((cell.steps,), dtype="int32"),
            layers.Embedding(_ITEMS, cell.width, embeddings_initializer="normal"),
            layer,
            layers.Dense(_CLASSES),
        ]
    )
    wrapped = cell.kind == "bilstm"
    return model, [layer.forward_layer, layer.backward_layer] if wrapped else [layer]


def open_file(path: Path) -> Callable[[Array], list[Array]]:
    """Opens a file in LiteRT on one thread; a fused layer's state is cleared before a call."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    output = interpreter.get_output_details()[0]["index"]
    remembers = ".fused." in path.name

    def call(history: Array) -> list[Array]:
        if remembers:
            interpreter.reset_all_variables()
        interpreter.set_tensor(place, history)
        interpreter.invoke()
        return [interpreter.get_tensor(output)]

    return call


def timed_cold(
    calls: Mapping[str, Callable[[Array], list[Array]]], histories: Array, rounds: int
) -> dict[str, list[int]]:
    """As `timed`, but a core's cache holds something else at every call.

    So it is in a model that also scores a catalogue of more bytes than the cache.
    """
    other = np.ones(8 << 20, dtype=np.uint8)
    taken: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(rounds):
        history = histories[number % len(histories)][None]
        for name, call in calls.items():
            other.sum()
            start = time.perf_counter_ns()
            call(history)
            taken[name].append(time.perf_counter_ns() - start)
    return taken


def measure(
    folder: Path, cell: Cell, precisions: Sequence[str], rounds: int, *, cold: bool = False
) -> list[Row]:
    """Measures every file of a model that is there."""
    rng = np.random.default_rng(3)
    histories = rng.integers(1, _ITEMS, (64, cell.steps), dtype=np.int32)
    exact = open_file(cell.path(folder, "keras-rolled", "fp32"))
    right = np.stack([exact(each[None])[0][0] for each in histories])
    rows: list[Row] = []
    for precision in precisions:
        paths = {form: cell.path(folder, form, precision) for form in FORMS}
        calls = {form: open_file(path) for form, path in paths.items() if path.exists()}
        taken = (timed_cold if cold else timed)(calls, histories, rounds)
        least = [min(each) for each in zip(*taken.values(), strict=True)]
        for form, call in calls.items():
            found = np.stack([call(each[None])[0][0] for each in histories])
            ratios = [one / two for one, two in zip(taken[form], least, strict=True)]
            rows.append(
                Row(
                    **asdict(cell),
                    precision=precision,
                    form=form,
                    size_bytes=paths[form].stat().st_size,
                    latency_us=statistics.median(taken[form]) / 1e3,
                    ratio=statistics.median(ratios),
                    error=float(np.abs(found - right).max()),
                )
            )
    return rows


def _print_table(rows: Sequence[Row], precision: str) -> None:
    print(f"\n{precision}\n\n| layer | steps | width | {' | '.join(FORMS)} |")
    print(f"|---|---|---|{'---|' * len(FORMS)}")
    found = {(row.kind, row.steps, row.width, row.form): row for row in rows}
    for kind, steps, width in dict.fromkeys(key[:3] for key in found):
        cells = [found.get((kind, steps, width, form)) for form in FORMS]
        texts = [f"{each.latency_us:.0f}" if each else "" for each in cells]
        print(f"| {kind} | {steps} | {width} | {' | '.join(texts)} |")


def main() -> int:
    """Makes what is missing, each kind of layer in a process of its own, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--steps", type=int, choices=STEPS, action="append")
    parser.add_argument("--width", type=int, choices=WIDTHS, action="append")
    parser.add_argument("--precision", choices=PRECISIONS, action="append")
    parser.add_argument("--form", choices=FORMS, action="append")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--cold", action="store_true", help="read 8 MB between calls")
    parser.add_argument("--make", action="store_true", help="convert what is missing, no more")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    precisions = given.precision or PRECISIONS
    cells = [
        Cell(kind, steps, width)
        for kind in given.kind or KINDS
        for steps in given.steps or STEPS
        for width in given.width or WIDTHS
    ]
    if given.make:
        for cell in cells:
            make(given.folder, cell, given.form or FORMS, precisions)
        return 0
    command = [sys.executable, "-m", "benchmarks.variants.forms", *sys.argv[1:], "--make"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    rows = [
        row
        for cell in cells
        for row in measure(given.folder, cell, precisions, given.rounds, cold=given.cold)
    ]
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    for precision in precisions:
        _print_table([row for row in rows if row.precision == precision], precision)
    return 0


if __name__ == "__main__":
    sys.exit(main())
