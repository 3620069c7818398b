"""A tensor model of every element type, behind both tensor protocols, in ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype

from edgepack.formats.golden import GoldenSet, GoldenTensors, TensorValue
from edgepack.formats.manifest import (
    Candidate,
    FileRecord,
    Manifest,
    ModelInfo,
    RuntimeInfo,
    TargetInfo,
)
from edgepack.formats.variants import Format, Precision, RuntimeName
from edgepack.runner.engines import open_engine
from tests.e2e.runners import Served, serving

_DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]
_WIDTH = 3


def _make_model(path: Path) -> None:
    """One input and one output of each type, copied; any number of rows."""
    import onnx
    from onnx import helper

    def value(name: str, dtype: str) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, ["rows", _WIDTH])

    graph = helper.make_graph(
        [helper.make_node("Identity", [each], [f"{each}_out"]) for each in _DTYPES],
        "copies",
        [value(each, each) for each in _DTYPES],
        [value(f"{each}_out", each) for each in _DTYPES],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


def _rows(dtype: str, count: int) -> Any:
    values = np.arange(count * _WIDTH).reshape(count, _WIDTH)
    return (values % 2 if dtype == "bool" else values).astype(dtype)


def _write_release(directory: Path) -> None:
    (directory / "models").mkdir()
    (directory / "golden").mkdir()
    model, golden = "models/onnx-fp32.onnx", "golden/onnx-fp32.json"
    _make_model(directory / model)
    engine = open_engine(RuntimeName.ONNXRUNTIME, directory / model)

    def values(suffix: str) -> tuple[TensorValue, ...]:
        return tuple(
            TensorValue(
                f"{each}{suffix}",
                each,
                (1, _WIDTH),
                tuple(float(n) for n in _rows(each, 1).ravel()),
            )
            for each in _DTYPES
        )

    answers = GoldenSet(1e-6, tensors=(GoldenTensors(values(""), values("_out")),))
    (directory / golden).write_bytes(answers.to_bytes())
    records = []
    for name in (golden, model):
        data = (directory / name).read_bytes()
        records.append(FileRecord(name, hashlib.sha256(data).hexdigest(), len(data), 0o644))
    candidate = Candidate(
        variant="onnx-fp32",
        format=Format.ONNX,
        precision=Precision.FP32,
        file=model,
        sha256=records[1].sha256,
        size=records[1].size,
        inputs=engine.inputs,
        outputs=engine.outputs,
        golden=golden,
    )
    manifest = Manifest(
        model=ModelInfo("copies", "2.0.0", "tensor", "unknown", "a" * 64),
        target=TargetInfo("cpu", "b" * 64, "x86_64", "linux", "2.36", "3.11", 1024, "max"),
        runtime=RuntimeInfo(RuntimeName.ONNXRUNTIME, engine.version),
        candidates=(candidate,),
        reason="made for a test",
        files=tuple(records),
    )
    (directory / "manifest.json").write_bytes(manifest.to_bytes())
    engine.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    release = tmp_path_factory.mktemp("release")
    _write_release(release)
    with serving(release) as running:
        yield running


@pytest.mark.parametrize("binary", [True, False])
def test_every_type_and_a_batch_go_through_a_triton_client(served: Served, binary: bool) -> None:
    arrays = {each: _rows(each, 5) for each in _DTYPES}
    inputs, outputs = [], []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        # Triton's client sends FP16 as bytes only.
        as_bytes = binary or name == "float16"
        tensor.set_data_from_numpy(array, binary_data=as_bytes)
        inputs.append(tensor)
        outputs.append(triton.InferRequestedOutput(f"{name}_out", binary_data=as_bytes))
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as client:
        metadata = client.get_model_metadata("copies")
        assert metadata["platform"] == "onnx_onnxv1"
        assert {each["shape"][0] for each in metadata["inputs"]} == {-1}
        result = client.infer("copies", inputs, outputs=outputs)
        for name, array in arrays.items():
            found = result.as_numpy(f"{name}_out")
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)
        (stats,) = client.get_inference_statistics("copies")["model_stats"]
        # Its batch is open: five rows are one call.
        assert 5 in [each["batch_size"] for each in stats["batch_stats"]]


def test_every_type_goes_through_rows_and_columns(served: Served) -> None:
    url = f"http://127.0.0.1:{served.port}/v1/models/copies:predict"
    columns = {each: _rows(each, 2).tolist() for each in _DTYPES}
    answer = requests.post(url, json={"inputs": columns}, timeout=20).json()
    assert answer["outputs"] == {f"{name}_out": values for name, values in columns.items()}
    rows = [{name: values[i] for name, values in columns.items()} for i in range(2)]
    answer = requests.post(url, json={"instances": rows}, timeout=20).json()
    assert answer["predictions"][1]["int8_out"] == columns["int8"][1]
    assert answer["predictions"][0]["bool_out"] == columns["bool"][0]


def test_nan_goes_through_as_tensorflow_serving_writes_it(served: Served) -> None:
    url = f"http://127.0.0.1:{served.port}/v1/models/copies:predict"
    columns: dict[str, Any] = {each: _rows(each, 1).tolist() for each in _DTYPES}
    columns["float32"] = [[math.nan, math.inf, -math.inf]]
    body = json.dumps({"inputs": columns})
    text = requests.post(url, data=body, timeout=20).text
    assert "[[NaN,Infinity,-Infinity]]" in text
