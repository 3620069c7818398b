"""Holds our TFLite variants against the converter's options and AI Edge Quantizer's, in turns.

    python -m benchmarks.variants.quantisers FOLDER MODEL.keras SAMPLES.npz \
      --quantizer ENV/bin/python --old SITE/bin/python

`MODEL.keras` ranks a catalogue, `SAMPLES.npz` has its histories, targets and calibration. Every
file is made of one graph, history in and the best 20 items out. One thread, every file is called
in every round, medians. Whether a runtime takes a file is tried in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.variants.olive import open_tflite, timed

Array = npt.NDArray[Any]
_CUT, _RETURNED = 10, 20
#: Ours by which the times of a round are divided.
_OURS: Final = "edgepack-tflite-dynamic-int8-per-tensor"
#: Histories that each runtime is tried with.
_TRIED: Final = 200
#: As many as settle a share to two digits.
_MOST_HISTORIES: Final = 2_000
_STEPS: Final = ("graph", "converter", "ours", "quantizer")
#: Run by the Python of a runtime; the file, histories and where its answers go are its arguments.
_TRY: Final = """
import sys
import numpy as np
try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
rows = []
for history in np.load(sys.argv[2]):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], history[None])
    interpreter.invoke()
    answers = [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]
    rows.append(next(each[0] for each in answers if each.dtype == np.int32)[:10])
np.save(sys.argv[3], np.stack(rows))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; figures are NaN where LiteRT does not take the file.

    Attributes:
        file: Who made it, and how.
        size_bytes: Of the file; 0 where there is none.
        latency_us: Median of a call in LiteRT.
        ratio: Median over the rounds of its time to our per-tensor dynamic int8 file's.
        overlap: Share of fp32 Keras's ten best that it also names.
        top1: Share of histories with the same best.
        ndcg: NDCG@10 as a share of fp32 Keras's.
        litert: `yes`, or why LiteRT does not take it.
        old: The same of tflite-runtime.
    """

    file: str
    size_bytes: int = 0
    latency_us: float = math.nan
    ratio: float = math.nan
    overlap: float = math.nan
    top1: float = math.nan
    ndcg: float = math.nan
    litert: str = ""
    old: str = ""

    def __str__(self) -> str:
        """The table's line."""
        return (
            f"| {self.file} | {self.size_bytes / 1e3:,.0f} kB | {self.latency_us:.0f} | "
            f"{self.ratio:.2f} | {self.overlap:.3f} | {self.top1:.3f} | {self.ndcg:.3f} | "
            f"{self.litert} | {self.old} |"
        )


def write_graph(folder: Path, model: Path, samples: Path) -> None:
    """Writes the finished SavedModel and the calibration rows."""
    from edgepack.build.convert.graph import write_graphs
    from edgepack.build.convert.job import Job, JobKind

    out = folder / "graph"
    out.mkdir(exist_ok=True)
    write_graphs(Job(JobKind.GRAPH, model, out, samples, graph_top_k=_RETURNED))
    with np.load(samples) as archive:
        np.save(folder / "calibration.npy", archive["calibration"].astype(np.int32))
        np.save(folder / "histories.npy", archive["histories"][:_TRIED].astype(np.int32))


def _saved_model(folder: Path) -> Path:
    plain, unrolled = folder / "graph" / "plain", folder / "graph" / "unrolled"
    return plain if plain.is_dir() else unrolled


def write_converters(folder: Path) -> None:
    """Writes the converter's variants, and the float file that AI Edge Quantizer starts from."""
    import tensorflow as tf

    def feed() -> Iterator[dict[str, Array]]:
        for row in np.load(folder / "calibration.npy"):
            yield {"arg_00": row[None]}

    def convert(name: str, **settings: Any) -> None:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(_saved_model(folder)))
        for key, value in settings.items():
            setattr(converter, key, value)
        if sets := settings.get("supported_ops"):
            converter.target_spec.supported_ops = sets
        try:
            (folder / f"converter-{name}.tflite").write_bytes(converter.convert())
        except Exception as error:  # noqa: BLE001 - whatever it says is the benchmark's result
            words = " ".join(str(error).split()) or type(error).__name__
            (folder / f"converter-{name}.txt").write_text(words[:300])

    default = {"optimizations": [tf.lite.Optimize.DEFAULT]}
    calibrated = {**default, "representative_dataset": feed}
    wide = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    convert("fp32")
    convert("dynamic8", **default)
    convert("static8", **calibrated)
    convert("static16x8", **calibrated, supported_ops=[wide, tf.lite.OpsSet.TFLITE_BUILTINS])
    _write_lookup(folder)


def _write_lookup(folder: Path) -> None:
    """Writes `lookup.tflite`: the fp32 file with its table read by EMBEDDING_LOOKUP.

    AI Edge Quantizer has no recipe for GATHER's table, so a table that is both looked up and
    scored against would be in the file twice. It finds tensors by name, so the scores get one.
    """
    from ai_edge_litert import schema_py_generated as schema

    from edgepack.build.convert.tflite_file import (
        constant,
        operator_name,
        parse_tflite,
        tflite_bytes,
    )

    model = parse_tflite((folder / "converter-fp32.tflite").read_bytes())
    graph = model.subgraphs[0]
    (gather,) = [
        op
        for op in graph.operators
        if operator_name(model, op) == "GATHER"
        and constant(model, graph.tensors[op.inputs[0]]) is not None
    ]
    table = int(gather.inputs[0])
    rows, width = (int(n) for n in graph.tensors[table].shape)
    ids, found = int(gather.inputs[1]), int(gather.outputs[0])
    steps = int(graph.tensors[ids].shape[-1])

    def tensor(kind: int, shape: list[int], name: str) -> int:
        new = schema.TensorT()
        new.type, new.shape, new.name = kind, np.array(shape, np.int32), name.encode()
        new.buffer = 0
        graph.tensors.append(new)
        return len(graph.tensors) - 1

    def reshape(source: int, target: int) -> Any:
        place = tensor(schema.TensorType.INT32, [len(graph.tensors[target].shape)], f"s{target}")
        buffer = schema.BufferT()
        shape = np.asarray(graph.tensors[target].shape, dtype=np.int32)
        buffer.data = np.frombuffer(shape.tobytes(), dtype=np.uint8)
        model.buffers.append(buffer)
        graph.tensors[place].buffer = len(model.buffers) - 1
        return _operator(model, "RESHAPE", [source, place], [target])

    flat = tensor(schema.TensorType.INT32, [steps], "flat_ids")
    vectors = tensor(schema.TensorType.FLOAT32, [steps, width], "flat_vectors")
    lookup = _operator(model, "EMBEDDING_LOOKUP", [flat, table], [vectors])
    place = graph.operators.index(gather)
    graph.operators[place : place + 1] = [reshape(ids, flat), lookup, reshape(vectors, found)]
    for operator in graph.operators:
        if operator_name(model, operator) == "FULLY_CONNECTED" and (
            list(graph.tensors[operator.inputs[1]].shape) == [rows, width]
        ):
            graph.tensors[operator.outputs[0]].name = b"edgepack_scores"
    (folder / "lookup.tflite").write_bytes(tflite_bytes(model))


def _operator(model: Any, name: str, inputs: list[int], outputs: list[int]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = 1
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    return operator


def write_ours(folder: Path, model: Path, samples: Path) -> None:
    """Writes edgepack's TFLite variants."""
    from edgepack.build.artifacts import Gate, TrainedModel
    from edgepack.build.cache import Cache
    from edgepack.build.convert import convert_variants
    from edgepack.formats.variants import ALL_VARIANTS, Format

    trained = TrainedModel(
        name=model.stem,
        version="1",
        kind="recommender",
        architecture="unknown",
        directory=folder,
        model_path=model,
        sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
        samples_path=samples,
        samples_sha256=hashlib.sha256(samples.read_bytes()).hexdigest(),
        gate=Gate(),
        graph_top_k=_RETURNED,
    )
    wanted = [each for each in ALL_VARIANTS if each.format is Format.TFLITE]
    for each in convert_variants(trained, wanted, Cache(folder / "cache"), jobs=1):
        if each.path is None:
            (folder / f"edgepack-{each.spec.name}.txt").write_text(str(each.failure))
        else:
            (folder / f"edgepack-{each.spec.name}.tflite").write_bytes(each.path.read_bytes())


def write_quantizers(folder: Path, python: Path) -> None:
    """Writes AI Edge Quantizer's files of the two float files."""
    script = Path(__file__).with_name("edge_quantizer.py")
    for source, prefix in (("converter-fp32", "quantizer-"), ("lookup", "quantizer-lookup-")):
        given = (python, script, folder / f"{source}.tflite", folder / "calibration.npy")
        subprocess.run(
            [*map(str, given), str(folder / prefix)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def takes(python: Path, path: Path, histories: Path) -> tuple[str, Array | None]:
    """Says whether a runtime's Python runs a file: `yes`, or how it ends; and its ten best."""
    answers = path.with_suffix(".npy")
    command = [str(python), "-c", _TRY, str(path), str(histories), str(answers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return "yes", np.asarray(np.load(answers))
    if done.returncode < 0:
        return f"signal {-done.returncode}", None
    lines = [line for line in done.stderr.splitlines() if "Didn't find op" in line]
    lines += [line for line in done.stderr.splitlines() if "Error" in line]
    return (lines or ["no"])[0].split("registered.")[0][:90], None


def taken_by(python: Path, path: Path, histories: Path) -> tuple[str, str]:
    """Says whether LiteRT and an older runtime run a file, and whether they agree on it."""
    litert, right = takes(Path(sys.executable), path, histories)
    old, found = takes(python, path, histories)
    if right is not None and found is not None:
        shares = [len(np.intersect1d(*pair)) / _CUT for pair in zip(right, found, strict=True)]
        old = f"yes, {np.mean(shares):.3f} of LiteRT's items"
    return litert, old


def expected(model: Path, histories: Array) -> Array:
    """Returns fp32 Keras's ten best of each history, int64[n, 10]."""
    import keras

    import edgepack.build.models.layers  # noqa: F401 - registers the layers

    loaded = keras.saving.load_model(model, compile=False)
    scores = np.asarray(loaded.predict(histories, verbose=0))[:, 1:]
    return np.argsort(-scores, axis=1, kind="stable")[:, :_CUT] + 1


def ndcg(items: Array, targets: Array) -> float:
    """NDCG@10 of ranked items int[n, 10] with one right answer each."""
    hit = items == targets[:, None]
    return float((hit / np.log2(np.arange(2, _CUT + 2))).sum(axis=1).mean())


def ranked(call: Callable[[Array], list[Array]], histories: Array) -> Array:
    """Returns the ten best items of each history, int[n, 10]."""
    rows = []
    for history in histories:
        outputs = call(history[None])
        # Scores may be integers too, of 8 or 16 bits.
        rows.append(next(each for each in outputs if each.dtype == np.int32)[0, :_CUT])
    return np.stack(rows)


def measure(folder: Path, model: Path, samples: Path, old: Path, rounds: int) -> list[Row]:
    """Measures every file that is there."""
    with np.load(samples) as archive:
        histories, targets = (archive[name].astype(np.int32) for name in ("histories", "targets"))
    histories, targets = histories[:_MOST_HISTORIES], targets[:_MOST_HISTORIES]
    right = expected(model, histories)
    paths = {path.stem: path for path in sorted(folder.glob("*-*.tflite"))}
    tried = folder / "histories.npy"
    loads = {name: taken_by(old, path, tried) for name, path in paths.items()}
    calls = {name: open_tflite(path) for name, path in paths.items() if loads[name][0] == "yes"}
    taken = timed(calls, histories, rounds)
    rows = [Row(path.stem, litert=path.read_text()[:60]) for path in folder.glob("*-*.txt")]
    for name, path in paths.items():
        size = path.stat().st_size
        if name not in calls:
            rows.append(Row(name, size, litert=loads[name][0], old=loads[name][1]))
            continue
        items = ranked(calls[name], histories)
        same = [len(np.intersect1d(*pair)) / _CUT for pair in zip(items, right, strict=True)]
        ratios = [one / two for one, two in zip(taken[name], taken[_OURS], strict=True)]
        rows.append(
            Row(
                name,
                size,
                statistics.median(taken[name]) / 1e3,
                statistics.median(ratios),
                float(np.mean(same)),
                float((items[:, 0] == right[:, 0]).mean()),
                ndcg(items, targets) / ndcg(right, targets),
                *loads[name],
            )
        )
    return sorted(rows, key=lambda row: row.file)


def main() -> int:
    """Makes what is missing, each step in a process of its own, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--quantizer", type=Path, required=True, help="Python with its package")
    parser.add_argument("--old", type=Path, required=True, help="Python with tflite-runtime")
    parser.add_argument("--step", choices=_STEPS)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.step == "graph":
        write_graph(given.folder, given.model, given.samples)
    elif given.step == "converter":
        write_converters(given.folder)
    elif given.step == "ours":
        write_ours(given.folder, given.model, given.samples)
    elif given.step == "quantizer":
        write_quantizers(given.folder, given.quantizer)
    if given.step:
        return 0
    for step in _STEPS:
        command = [sys.executable, "-m", "benchmarks.variants.quantisers", *sys.argv[1:]]
        subprocess.run([*command, "--step", step], check=True)
    rows = measure(given.folder, given.model, given.samples, given.old, given.rounds)
    if given.json:
        print(json.dumps([asdict(row) for row in rows]))
        return 0
    print("| file | bytes | us | of ours | overlap | top-1 | NDCG | LiteRT | tflite-runtime |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
