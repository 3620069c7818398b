from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepack.build.preflight import tables
from edgepack.build.preflight.cuda import gpu_notes, notes_of
from edgepack.build.preflight.measure_cuda import compact
from edgepack.build.preflight.onnx_file import TypedNode, read_nodes
from edgepack.build.targets.find import load_target

GPU = load_target("gpu").runtime("onnxruntime-gpu")
_TENSORRT = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


def _save(path: Path, nodes: list[onnx.NodeProto], domains: tuple[str, ...] = ("",)) -> Path:
    """A model over x float32[n, 4] that ends in y, whatever is between."""
    weights = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weights],
    )
    opsets = [helper.make_opsetid(each, 1 if each else 17) for each in domains]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def test_a_float_model_runs_on_the_card_as_it_is(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Relu", ["p"], ["y"])]
    assert gpu_notes(_save(tmp_path / "m.onnx", nodes), GPU) == ()


def test_nodes_are_read_with_the_version_and_types_that_choose_a_kernel(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Relu", ["p"], ["y"])]
    assert read_nodes(_save(tmp_path / "m.onnx", nodes)) == (
        TypedNode("MatMul", 13, {"T": "float"}),
        TypedNode("Relu", 14, {"T": "float"}),
    )


def test_dynamic_int8_says_which_nodes_the_cpu_gets(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("DynamicQuantizeLinear", ["w"], ["wq", "ws", "wz"]),
        helper.make_node("MatMulInteger", ["q", "wq", "z", "wz"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
    ]
    (note,) = gpu_notes(_save(tmp_path / "m.onnx", nodes), GPU)
    assert "DynamicQuantizeLinear of float and uint8 (2)" in note
    assert "MatMulInteger of int32 and uint8 (1)" in note, "CUDA multiplies int8 by int8 only"
    assert "Cast" not in note
    assert note.endswith("these nodes run on the CPU")


def test_an_operator_of_the_runtimes_own_is_looked_up_by_its_whole_name(tmp_path: Path) -> None:
    nodes = [helper.make_node("DynamicQuantizeLSTM", ["x"], ["y"], domain="com.microsoft")]
    (note,) = gpu_notes(_save(tmp_path / "m.onnx", nodes, ("", "com.microsoft")), GPU)
    assert "com.microsoft.DynamicQuantizeLSTM (1)" in note


@pytest.mark.parametrize(
    ("kind", "providers", "words"),
    [
        ("int8", _TENSORRT, "TensorRT computes them in int8"),
        ("int8", _TENSORRT[1:], "and is not among the providers"),
        ("uint8", _TENSORRT, "symmetric int8 only, and these are uint8"),
    ],
)
def test_quantised_values_are_float_to_cuda_and_int8_to_tensorrt_where_symmetric(
    kind: str, providers: tuple[str, ...], words: str
) -> None:
    node = TypedNode("QuantizeLinear", 13, {"T1": "float", "T2": kind})
    (note,) = notes_of([node, node], replace(GPU, providers=providers))
    assert note.startswith("CUDA computes the 2 quantised values in float; ")
    assert words in note


def test_other_runtimes_have_nothing_to_be_noted(tmp_path: Path) -> None:
    nodes = [helper.make_node("DynamicQuantizeLSTM", ["x"], ["y"], domain="com.microsoft")]
    path = _save(tmp_path / "m.onnx", nodes, ("", "com.microsoft"))
    assert gpu_notes(path, load_target("cpu").runtime("onnxruntime")) == ()
    assert gpu_notes(path, replace(GPU, providers=("CPUExecutionProvider",))) == ()


@pytest.mark.parametrize(
    ("name", "since", "types", "known"),
    [
        ("TopK", 11, {"T": "float", "I": "int64"}, True),
        ("TopK", 11, {"T": "uint8"}, False),
        ("GRU", 14, {"T": "float16"}, True),
        ("LSTM", 22, {"T": "float"}, True),
        ("MatMulInteger", 10, {"T1": "int8", "T2": "int8"}, True),
        ("MatMulInteger", 10, {"T1": "uint8", "T2": "int8"}, False),
        ("Softmax", 13, {}, True),
        ("DynamicQuantizeLinear", 11, {}, False),
        ("com.microsoft.SkipLayerNormalization", 1, {}, True),
        ("NoSuchOperator", 1, {}, False),
    ],
)
def test_kernels_are_those_the_wheel_was_measured_to_have(
    name: str, since: int, types: dict[str, str], known: bool
) -> None:
    assert tables.has_cuda_kernel("1.24.4", name, since, types) is known


def test_kernels_that_differ_in_one_type_are_put_together() -> None:
    newest = 2**31 - 1
    rows = [
        ["", "Add", [7, 12], {"T": ["tensor(float)"]}],
        ["", "Add", [7, 12], {"T": ["tensor(double)"]}],
        ["", "Cmp", [1, newest], {"T": ["tensor(float)"], "T1": ["tensor(bool)"]}],
        ["", "Cmp", [1, newest], {"T": ["tensor(int8)"], "T1": ["tensor(int8)"]}],
        ["com.microsoft", "Gelu", [1, newest], {}],
    ]
    assert compact(rows) == {
        "Add": [[7, 12, {"T": ["double", "float"]}]],
        "Cmp": [
            [1, None, {"T": ["float"], "T1": ["bool"]}],
            [1, None, {"T": ["int8"], "T1": ["int8"]}],
        ],
        "com.microsoft.Gelu": [[1, None, {}]],
    }
