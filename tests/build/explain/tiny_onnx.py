"""Two dense layers as ONNX files: in float, and quantised in both ways, one layer made bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 32
NAMES = {"a": "m_1/good_1/MatMul:0", "r": "m_1/good_1/Relu:0", "y": "m_1/bad_1/MatMul:0"}
#: The bad layer's scale is this much too small, so its weights are cut off.
TOO_SMALL = 6.0


def weights(seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(WIDTH, WIDTH)).astype(np.float32)


def write_pair(folder: Path, *, rounded: bool = True) -> tuple[Path, Path, Path]:
    """Writes the twin, its names and a variant; `rounded` puts its activations on grids too."""
    names = folder / "base.names.json"
    names.write_text(json.dumps(NAMES))
    twin, variant = folder / "base.onnx", folder / "v.onnx"
    onnx.save(_model(_float_nodes(), [_constant("w", 1), _constant("v", 2)]), str(twin))
    onnx.save(_quantised(rounded=rounded), str(variant))
    # As `save_onnx` does: this file's own names, and what they were in the twin.
    variant.with_suffix(".names.json").write_text(json.dumps({"t0_": "a", "t1_": "r"}))
    return twin, names, variant


def _float_nodes() -> list[Any]:
    return [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], "second"),
    ]


def _quantised(*, rounded: bool) -> Any:
    constants = [
        *_integers("w", weights(1), 1.0),
        *_integers("v", weights(2), TOO_SMALL),
        numpy_helper.from_array(np.array(0.05, np.float32), "r_scale"),
        numpy_helper.from_array(np.array(0, np.uint8), "r_zero"),
    ]
    nodes = [
        _dequantise("w"),
        _dequantise("v"),
        helper.make_node("MatMul", ["x", "w_back"], ["t0_"], "first_q"),
        helper.make_node("Relu", ["t0_"], ["t1_"], "relu"),
    ]
    if rounded:
        grid = ["r_scale", "r_zero"]
        nodes += [
            helper.make_node("QuantizeLinear", ["t1_", *grid], ["r_q"], "round"),
            helper.make_node("DequantizeLinear", ["r_q", *grid], ["r_back"], "back"),
        ]
    given = "r_back" if rounded else "t1_"
    nodes.append(helper.make_node("MatMul", [given, "v_back"], ["y"], "second_q"))
    return _model(nodes, constants)


def _dequantise(name: str) -> Any:
    inputs = [f"{name}_quantized", f"{name}_scale", f"{name}_zero"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}_back"], f"{name}_dequantise")


def _integers(name: str, matrix: npt.NDArray[np.float32], shrink: float) -> list[Any]:
    scale = np.float32(np.abs(matrix).max() / 127 / shrink)
    values = np.clip(np.rint(matrix / scale) + 128, 0, 255).astype(np.uint8)
    return [
        numpy_helper.from_array(values, f"{name}_quantized"),
        numpy_helper.from_array(np.array(scale, np.float32), f"{name}_scale"),
        numpy_helper.from_array(np.array(128, np.uint8), f"{name}_zero"),
    ]


def _constant(name: str, seed: int) -> Any:
    return numpy_helper.from_array(weights(seed), name)


def _model(nodes: list[Any], constants: list[Any]) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
