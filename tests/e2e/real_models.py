"""Real tiny recommenders as TFLite and ONNX files, and releases made of them.

The graph is the one every recommender has: `history` int32[1, 20] in, top-k `scores` and `items`
out. It scores items by the mean of the history's embeddings. Used by the tests of this folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from edgepack.formats.golden import GoldenSequence, GoldenSet
from edgepack.formats.manifest import (
    Candidate,
    FileRecord,
    Manifest,
    ModelInfo,
    RuntimeInfo,
    TargetInfo,
)
from edgepack.formats.variants import Format, Precision, RuntimeName, VariantSpec, runtime_format
from edgepack.formats.vocabulary import Vocabulary
from edgepack.runner.engines import open_engine
from edgepack.runner.recommender import find_outputs

CATALOGUE = 200
LENGTH = 20
TOP_K = 10
GRAPH_TOP_K = TOP_K + LENGTH
ITEMS = tuple(f"sku-{i}" for i in range(1, CATALOGUE + 1))
_REPOSITORY = Path(__file__).resolve().parents[2]

# A process of its own: TensorFlow is large, and stays out of the tests' own memory.
_MAKE_TFLITE = """
import sys, numpy, tensorflow as tf
table = tf.constant(numpy.load(sys.argv[1]))
signature = [tf.TensorSpec([1, int(sys.argv[3])], tf.int32, name="history")]
@tf.function(input_signature=signature)
def rank(history):
    known = tf.cast(history > 0, tf.float32)[..., None]
    total = tf.reduce_sum(tf.gather(table, history) * known, 1)
    taste = total / (tf.reduce_sum(known, 1) + 1e-6)
    logits = tf.matmul(taste, table, transpose_b=True)
    scores, items = tf.math.top_k(logits[:, 1:], int(sys.argv[4]))
    return {"scores": scores, "items": items + 1}
converter = tf.lite.TFLiteConverter.from_concrete_functions([rank.get_concrete_function()], rank)
open(sys.argv[2], "wb").write(converter.convert())
"""


def embeddings() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The table both files carry: float32[CATALOGUE + 1, 16], row 0 for padding."""
    generator = np.random.default_rng(7)
    return generator.normal(size=(CATALOGUE + 1, 16)).astype(np.float32)


def make_tflite(directory: Path) -> Path:
    """Writes the model as a TFLite file."""
    table, model = directory / "table.npy", directory / "tiny.tflite"
    np.save(table, embeddings())
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = [str(table), str(model), str(LENGTH), str(GRAPH_TOP_K)]
    subprocess.run(
        [sys.executable, "-c", _MAKE_TFLITE, *arguments],
        check=True,
        capture_output=True,
        timeout=300,
        env=environment,
    )
    return model


def make_onnx(directory: Path, rows: int | str = 1, *, mixing: bool = False) -> Path:
    """Writes the model as an ONNX file.

    Args:
        directory: Where.
        rows: The batch: 1, or the name of an extent that is open.
        mixing: Whether the other rows of a call change a row's scores.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def node(kind: str, inputs: str, outputs: str, **attributes: object) -> object:
        return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)

    table = embeddings()
    constants = {
        "table": table,
        "columns": np.ascontiguousarray(table[1:].T),
        "zero": np.array(0, np.int32),
        "one": np.array(1, np.int64),
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
        "small": np.array(1e-6, np.float32),
        "k": np.array([GRAPH_TOP_K], np.int64),
    }
    nodes = [
        node("Greater", "history zero", "is_known"),
        node("Cast", "is_known", "flat", to=TensorProto.FLOAT),
        node("Unsqueeze", "flat last", "known"),
        node("Gather", "table history", "rows"),
        node("Mul", "rows known", "kept"),
        node("ReduceSum", "kept middle", "total", keepdims=0),
        node("ReduceSum", "known middle", "count", keepdims=0),
        node("Add", "count small", "divisor"),
        node("Div", "total divisor", "taste"),
        *(
            [
                node("ReduceMax", "taste", "loudest", axes=[0], keepdims=1),
                node("Add", "taste loudest", "own"),
                node("MatMul", "own columns", "logits"),
            ]
            if mixing
            else [node("MatMul", "taste columns", "logits")]
        ),
        node("TopK", "logits k", "scores found"),
        node("Add", "found one", "shifted"),
        node("Cast", "shifted", "items", to=TensorProto.INT32),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("history", TensorProto.INT32, [rows, LENGTH])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [rows, GRAPH_TOP_K]),
            helper.make_tensor_value_info("items", TensorProto.INT32, [rows, GRAPH_TOP_K]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path = directory / f"tiny-{rows}{'-mixing' * mixing}.onnx"
    onnx.save(model, str(path))
    return path


def write_real_release(
    directory: Path,
    model: Path,
    runtime: RuntimeName,
    version: str = "1.0.0",
    max_batch: int = 1,
) -> Manifest:
    """Lays out a release of a model, with the golden answers it gives in this process."""
    kind = runtime_format(runtime)
    spec = VariantSpec(kind, Precision.FP32)
    vocabulary = Vocabulary(ITEMS)
    engine = open_engine(runtime, model)
    scores_at, items_at = find_outputs(engine.outputs)
    generator = np.random.default_rng(3)
    sequences = []
    for count in (1, 2, 3, 5, 8, 13, 20, 30):
        history = tuple(ITEMS[int(i)] for i in generator.integers(0, CATALOGUE, count))
        indices, _ = vocabulary.encode(history, LENGTH)
        answer = engine.run([np.array([indices], np.int32)])
        items = tuple(vocabulary.item_at(int(i)) for i in answer[items_at][0][:TOP_K].tolist())
        scores = tuple(float(s) for s in answer[scores_at][0][:TOP_K].tolist())
        sequences.append(GoldenSequence(history, items, scores))
    contents = {
        f"golden/{spec.name}.json": GoldenSet(1e-4, tuple(sequences)).to_bytes(),
        f"models/{spec.file_name}": model.read_bytes(),
        "vocabulary.json": vocabulary.to_bytes(),
    }
    records = []
    for name, data in sorted(contents.items()):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
        records.append(FileRecord(name, hashlib.sha256(data).hexdigest(), len(data), 0o644))
    data = contents[f"models/{spec.file_name}"]
    candidate = Candidate(
        variant=spec.name,
        format=Format(kind),
        precision=spec.precision,
        file=f"models/{spec.file_name}",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        inputs=engine.inputs,
        outputs=engine.outputs,
        golden=f"golden/{spec.name}.json",
        max_batch=max_batch,
    )
    manifest = Manifest(
        model=ModelInfo(
            "tiny",
            version,
            "recommender",
            "sasrec",
            "a" * 64,
            LENGTH,
            TOP_K,
            GRAPH_TOP_K,
            CATALOGUE,
            vocabulary.sha256,
        ),
        target=TargetInfo("cpu", "b" * 64, "x86_64", "linux", "2.36", "3.11", 1024, "max"),
        runtime=RuntimeInfo(runtime, engine.version),
        candidates=(candidate,),
        reason="made for a test",
        files=tuple(records),
        popular=ITEMS[:30],
    )
    (directory / "manifest.json").write_bytes(manifest.to_bytes())
    engine.close()
    return manifest


def runner_command(*arguments: str) -> list[str]:
    """The command line that starts the runner from the checkout."""
    return [sys.executable, "-m", "edgepack.runner.main", *arguments]


def runner_environment(**more: str) -> dict[str, str]:
    """An environment in which the checkout is imported and no installation is known."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("EDGEPACK_")}
    return {**known, "PYTHONPATH": str(_REPOSITORY), **more}


def port_of(process: subprocess.Popen[str]) -> int:
    """Reads a starting server's log up to the line that says where it listens."""
    assert process.stdout is not None
    for line in process.stdout:
        told = json.loads(line)
        if told["event"] == "listening":
            return int(told["url"].rsplit(":", 1)[1])
    raise AssertionError(process.stderr.read() if process.stderr else "it ended without a word")
