"""Times our variants beside Olive's, ONNX Runtime's and LiteRT's own, in turns.

    python -m benchmarks.variants.making FOLDER --olive OLIVE/bin/olive
    python -m benchmarks.variants.olive FOLDER

Everybody's file starts from the same trained Keras model. One thread each, a call of every file
in each round, medians. Olive's files and the plain ones end with the scores of all items; ours
end with the best 20, which is work of ours alone. `+ top-k` is their file with NumPy's
`argpartition` behind it, which is what somebody who serves it has to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.variants.making import MODELS

Array = npt.NDArray[Any]
_CUT, _RETURNED = 10, 20
_THEIRS = ("olive.onnx", "ort-dynamic.onnx", "litert-dynamic.tflite")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        file: The file's name.
        size_bytes: Of the file.
        latency_us: Median of a call.
        ratio: Median over the rounds of its time to Olive's in the same round.
        overlap: Share of fp32 Keras's ten best that it also names, ten outputs for a classifier.
        top1: Share of histories with the same best.
    """

    file: str
    size_bytes: int
    latency_us: float
    ratio: float
    overlap: float
    top1: float

    def __str__(self) -> str:
        """The table's line."""
        return (
            f"| {self.file} | {self.size_bytes / 1e3:.0f} kB | {self.latency_us:.0f} | "
            f"{self.ratio:.2f} | {self.overlap:.3f} | {self.top1:.3f} |"
        )


def open_onnx(path: Path) -> Callable[[Array], list[Array]]:
    """Opens a file in ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda history: list(session.run(None, {name: history}))


def open_tflite(path: Path) -> Callable[[Array], list[Array]]:
    """Opens a file in LiteRT on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    outputs = [each["index"] for each in interpreter.get_output_details()]

    def call(history: Array) -> list[Array]:
        interpreter.set_tensor(place, history)
        interpreter.invoke()
        return [interpreter.get_tensor(each) for each in outputs]

    return call


def with_top_k(call: Callable[[Array], list[Array]]) -> Callable[[Array], list[Array]]:
    """Ranks the scores of all items outside the graph."""

    def ranked(history: Array) -> list[Array]:
        scores = call(history)[0][0, 1:]
        some = np.argpartition(-scores, _RETURNED)[:_RETURNED]
        best = some[np.argsort(-scores[some])]
        return [scores[best][None], (best + 1)[None]]

    return ranked


def best_items(outputs: Sequence[Array], *, ranks: bool) -> Array:
    """Returns the ten best items, best first, whether the graph ranks or not."""
    items = next((each for each in outputs if np.issubdtype(each.dtype, np.integer)), None)
    if items is not None:
        return np.asarray(items[0, :_CUT])
    scores = outputs[0][0, 1:] if ranks else outputs[0][0]
    return np.argsort(-scores, kind="stable")[:_CUT] + (1 if ranks else 0)


def expected(folder: Path, name: str, histories: Array) -> Array:
    """Returns fp32 Keras's ten best of each history, int64[n, 10]."""
    import keras

    import edgepack.build.models.layers  # noqa: F401 - registers the layers

    model = keras.saving.load_model(folder / f"{name}.keras", compile=False)
    scores = np.asarray(model.predict(histories, verbose=0))
    ranks = name != "bilstm"
    return np.stack([best_items([row[None]], ranks=ranks) for row in scores])


def contestants(folder: Path, name: str) -> dict[str, Callable[[Array], list[Array]]]:
    """Opens every file of a model that is there, by its name without the model's."""
    found: dict[str, Callable[[Array], list[Array]]] = {}
    for path in sorted(folder.glob(f"{name}.*")):
        word = path.name.removeprefix(f"{name}.")
        if word == "exported.onnx" or path.suffix not in (".onnx", ".tflite"):
            continue
        found[word] = (open_onnx if path.suffix == ".onnx" else open_tflite)(path)
        if word in _THEIRS and name != "bilstm":
            found[f"{word} + top-k"] = with_top_k(found[word])
    return found


def timed(
    calls: Mapping[str, Callable[[Array], list[Array]]], histories: Array, rounds: int
) -> dict[str, list[int]]:
    """Returns nanoseconds of each round by name; every file is called in every round.

    A round's time is the median of five calls behind one that warms the caches up.
    """
    taken: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(rounds):
        history = histories[number % len(histories)][None]
        for name, call in calls.items():
            call(history)
            five = []
            for _ in range(5):
                start = time.perf_counter_ns()
                call(history)
                five.append(time.perf_counter_ns() - start)
            taken[name].append(int(statistics.median(five)))
    return taken


def measure(folder: Path, name: str, rounds: int) -> list[Row]:
    """Measures every file of a model."""
    with np.load(folder / "samples.npz") as archive:
        histories = archive["histories"]
    right = expected(folder, name, histories)
    calls = contestants(folder, name)
    taken = timed(calls, histories, rounds)
    rows = []
    for word, call in calls.items():
        answers = [best_items(call(each[None]), ranks=name != "bilstm") for each in histories]
        same = [len(np.intersect1d(*pair)) / _CUT for pair in zip(answers, right, strict=True)]
        first = [int(one[0] == two[0]) for one, two in zip(answers, right, strict=True)]
        olive = taken.get("olive.onnx", taken[word])
        ratios = [one / two for one, two in zip(taken[word], olive, strict=True)]
        rows.append(
            Row(
                file=word,
                size_bytes=_size(folder, name, word),
                latency_us=statistics.median(taken[word]) / 1e3,
                ratio=statistics.median(ratios),
                overlap=float(np.mean(same)),
                top1=float(np.mean(first)),
            )
        )
    return sorted(rows, key=lambda row: row.ratio)


def _size(folder: Path, name: str, word: str) -> int:
    return (folder / f"{name}.{word.removesuffix(' + top-k')}").stat().st_size


def main() -> int:
    """Measures, then prints a table a model, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {
        name: measure(given.folder, name, given.rounds) for name in given.model or list(MODELS)
    }
    if given.json:
        print(json.dumps({name: [asdict(row) for row in rows] for name, rows in found.items()}))
        return 0
    for name, rows in found.items():
        print(f"\n{name}\n\n| file | bytes | us | of Olive's | overlap | top-1 |")
        print("|---|---|---|---|---|---|")
        for row in rows:
            print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
