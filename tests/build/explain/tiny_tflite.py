"""Two dense layers as TFLite files: in float, and with int8 weights, one of them made bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgepack.build.convert.tflite_file import tflite_bytes

WIDTH = 32
NAMES = ["input", "m_1/good_1/MatMul/w", "m_1/good_1/MatMul", "m_1/bad_1/MatMul/w", "m_1/bad_1/Add"]
#: The bad layer's scale is this much too small, so its weights are cut off.
TOO_SMALL = 6.0


def weights(seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)).astype(np.float32)


def dense_model(*, quantised: bool) -> Any:
    """`y = bad(good(x))`, each a product with a matrix; without biases."""
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    model.operatorCodes = [_code(9 if quantised else 1)]
    model.metadata, model.signatureDefs = [], []
    graph = schema.SubGraphT()
    graph.tensors = [
        _tensor("x", [1, WIDTH]),
        _weights(model, weights(1), quantised=quantised, shrink=1.0),
        _tensor("", [1, WIDTH]),
        _weights(model, weights(2), quantised=quantised, shrink=TOO_SMALL),
        _tensor("y", [1, WIDTH]),
    ]
    graph.operators = [_product(0, 1, 2, quantised), _product(2, 3, 4, quantised)]
    graph.inputs, graph.outputs = (np.array([i], dtype=np.int32) for i in (0, 4))
    model.subgraphs = [graph]
    return model


def write_pair(folder: Path) -> tuple[Path, Path, Path]:
    """Writes the twin, the names of its tensors and the variant."""
    twin, names, variant = (folder / name for name in ("twin.tflite", "names.json", "v.tflite"))
    twin.write_bytes(tflite_bytes(dense_model(quantised=False)))
    variant.write_bytes(tflite_bytes(dense_model(quantised=True)))
    names.write_text(json.dumps(NAMES))
    return twin, names, variant


def _code(version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = version
    return code


def _tensor(name: str, shape: list[int]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name.encode(), np.array(shape, dtype=np.int32)
    tensor.type = schema.TensorType.FLOAT32
    return tensor


def _weights(model: Any, matrix: npt.NDArray[np.float32], *, quantised: bool, shrink: float) -> Any:
    tensor = _tensor("", list(matrix.shape))
    data = matrix.tobytes()
    if quantised:
        scale = float(np.float32(np.abs(matrix).max() / 127 / shrink))
        data = np.clip(np.rint(matrix / scale), -127, 127).astype(np.int8).tobytes()
        tensor.type = schema.TensorType.INT8
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], dtype=np.float32)
        tensor.quantization.zeroPoint = np.array([0], dtype=np.int64)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, dtype=np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    return tensor


def _product(given: int, matrix: int, answer: int, quantised: bool) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs = np.array([given, matrix, -1], dtype=np.int32)
    operator.outputs = np.array([answer], dtype=np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    operator.builtinOptions.asymmetricQuantizeInputs = quantised
    return operator
