"""A tensor model that one bad row of a call makes fail as a whole, and a release of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepack.formats.golden import GoldenSet, GoldenTensors, TensorValue
from edgepack.formats.manifest import FileRecord, ModelInfo
from edgepack.formats.variants import RuntimeName
from edgepack.runner.engines import open_engine
from tests.e2e.real_models import make_onnx, write_real_release


def _write_lookup(path: Path) -> None:
    """`y = table[index]`, any number of rows: an index outside fails the whole call."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    table = np.arange(30, dtype=np.float32).reshape(10, 3)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "index"], ["rows"]),
            helper.make_node("Squeeze", ["rows", "one"], ["y"]),
        ],
        "lookup",
        [helper.make_tensor_value_info("index", TensorProto.INT32, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


def write_lookup_release(directory: Path, max_batch: int) -> None:
    """Puts the lookup in the place of a recommender's model."""
    path = directory / "lookup.onnx"
    _write_lookup(path)
    manifest = write_real_release(directory, make_onnx(directory, "batch"), RuntimeName.ONNXRUNTIME)
    engine = open_engine(RuntimeName.ONNXRUNTIME, path)
    golden = GoldenSet(
        1e-6,
        tensors=tuple(
            GoldenTensors(
                (TensorValue("index", "int32", (1, 1), (i,)),),
                (TensorValue("y", "float32", (1, 3), (3.0 * i, 3.0 * i + 1, 3.0 * i + 2)),),
            )
            for i in (2, 5, 7)
        ),
    )
    (candidate,) = manifest.candidates
    contents = {candidate.golden: golden.to_bytes(), candidate.file: path.read_bytes()}
    records = []
    for name, data in sorted(contents.items()):
        (directory / name).write_bytes(data)
        records.append(FileRecord(name, hashlib.sha256(data).hexdigest(), len(data), 0o644))
    candidate = replace(
        candidate,
        sha256=records[1].sha256,
        size=records[1].size,
        inputs=engine.inputs,
        outputs=engine.outputs,
        max_batch=max_batch,
    )
    engine.close()
    manifest = replace(
        manifest,
        model=ModelInfo("lookup", "1.0.0", "tensor", "unknown", "a" * 64),
        candidates=(candidate,),
        files=tuple(records),
        popular=(),
    )
    (directory / "manifest.json").write_bytes(manifest.to_bytes())
