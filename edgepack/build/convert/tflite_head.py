"""Finds the scoring head of a TFLite graph and makes its matrix product hybrid.

Hybrid: float activations in, int8 weights with one scale, float out; the runtimes have had it
since FULLY_CONNECTED 3, and version 9 is what the converter's own per-tensor dynamic int8
writes. A table that also embeds the input is kept once. Used by `tflite_static`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgepack.build.convert.tflite_edit import TfliteEditor
from edgepack.build.convert.tflite_file import constant, operator_name

#: The version with asymmetric quantisation of the activations.
#: Source: tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc, FULLY_CONNECTED.
_HYBRID_VERSION: Final = 9
_INT8_MOST: Final = 127
#: Share of a table's numbers that may lie outside its calibrated range.
_MOST_CUT: Final = 0.05
#: What may stand between the scoring product and the answer.
_BEHIND: Final = frozenset(
    {
        *("STRIDED_SLICE", "SLICE", "SOFTMAX", "LOGISTIC", "LOG_SOFTMAX", "RESHAPE", "ADD"),
        *("SQUEEZE", "TOPK_V2", "DEQUANTIZE", "CAST", "MUL"),
        # Item codes look scores of parts up and add them.
        *("GATHER", "PADV2"),
    }
)
#: Operators that hand int8 values on as they are, so that both sides have one scale.
_SAME_SCALE: Final = frozenset(
    {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "UNPACK", "SPLIT"}
)


def head_tensor_names(model: Any) -> list[str]:
    """Returns the names of what the head computes, from the scoring product to the outputs.

    Args:
        model: A float ModelT.

    Returns:
        Output tensors of the last FULLY_CONNECTED before each output and of everything behind
        it; empty where an output has no such product close behind it.
    """
    graph = model.subgraphs[0]
    makers = {int(i): op for op in graph.operators for i in op.outputs}
    names: list[str] = []
    for output in graph.outputs:
        path = _path_to_product(model, makers, int(output))
        for operator in _all_behind(graph, path):
            for i in operator.outputs:
                name = graph.tensors[i].name.decode()
                if name not in names:
                    names.append(name)
    return names


def make_hybrid(model: Any, head: Collection[str]) -> None:
    """Turns the float products of the head into hybrid ones, in place.

    Args:
        model: A ModelT whose head was left float.
        head: Names from `head_tensor_names`.
    """
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if operator_name(model, operator) != "FULLY_CONNECTED":
            continue
        weights = graph.tensors[operator.inputs[1]]
        output = graph.tensors[operator.outputs[0]]
        if weights.type != schema.TensorType.FLOAT32 or output.name.decode() not in head:
            continue
        table = constant(model, weights)
        if table is not None:
            _quantise_product(model, graph, operator, table)


def quantise_symmetric(table: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int8], float]:
    """Returns int8 values and the one scale that gives the table back.

    Source: the LiteRT 8-bit quantisation specification: weights are symmetric, -127 … 127.
    """
    scale = float(np.abs(table).max()) / _INT8_MOST or 1.0
    # The runtimes keep the scale as float32.
    scale = float(np.float32(scale))
    return np.clip(np.rint(table / scale), -_INT8_MOST, _INT8_MOST).astype(np.int8), scale


def _path_to_product(model: Any, makers: dict[int, Any], output: int) -> list[Any]:
    path: list[Any] = []
    place = output
    while place in makers:
        operator = makers[place]
        path.append(operator)
        name = operator_name(model, operator)
        if name == "FULLY_CONNECTED":
            return path
        if name not in _BEHIND:
            break
        place = int(operator.inputs[0])
    return []


def _all_behind(graph: Any, path: list[Any]) -> list[Any]:
    """Returns the product at a path's end and every operator that reads what comes of it."""
    if not path:
        return []
    found, reached = [path[-1]], {int(i) for i in path[-1].outputs}
    # Operators stand behind those they read.
    for operator in graph.operators:
        if operator is not path[-1] and reached.intersection(int(i) for i in operator.inputs):
            found.append(operator)
            reached.update(int(i) for i in operator.outputs)
    return found


def _quantise_product(model: Any, graph: Any, operator: Any, table: npt.NDArray[Any]) -> None:
    values, scale = quantise_symmetric(table)
    place = _tied_table(model, graph, table)
    if place is None:
        place = len(graph.tensors)
        graph.tensors.append(copy.copy(graph.tensors[operator.inputs[1]]))
    _fill(model, graph.tensors[place], values, scale)
    _spread_scale(model, graph, place, scale)
    inputs = np.array(operator.inputs, dtype=np.int32)
    inputs[1] = place
    operator.inputs = inputs
    operator.opcodeIndex = _hybrid_code(model)
    operator.builtinOptions.asymmetricQuantizeInputs = True


def _tied_table(model: Any, graph: Any, table: npt.NDArray[Any]) -> int | None:
    """Returns the int8 tensor that an embedding reads and that holds the same table."""
    for operator in graph.operators:
        if operator_name(model, operator) not in ("GATHER", "EMBEDDING_LOOKUP"):
            continue
        for i in operator.inputs:
            tensor = graph.tensors[i]
            if tensor.type != schema.TensorType.INT8:
                continue
            values = constant(model, tensor)
            if values is None or values.shape != table.shape or len(tensor.quantization.scale) != 1:
                continue
            if _is_rounded(values, tensor.quantization, table):
                return int(i)
    return None


def _is_rounded(values: npt.NDArray[Any], quantisation: Any, table: npt.NDArray[Any]) -> bool:
    """Whether int8 values are a float table's.

    The converter gives a table the range of what was looked up in it while it was calibrated;
    of items that were not, it cuts off what is beyond.
    """
    step, zero = float(quantisation.scale[0]), float(quantisation.zeroPoint[0])
    known = (values.astype(np.float32) - zero) * step
    lowest, highest = (-_INT8_MOST - 1 - zero) * step, (_INT8_MOST - zero) * step
    cut = np.clip(table, lowest, highest)
    few = np.mean(cut != table) <= _MOST_CUT
    return bool(few and np.abs(known - cut).max() <= step)


def _fill(model: Any, tensor: Any, values: npt.NDArray[np.int8], scale: float) -> None:
    TfliteEditor(model, model.subgraphs[0]).fill(tensor, values)
    tensor.type = schema.TensorType.INT8
    tensor.quantization = _symmetric(scale)


def _symmetric(scale: float) -> Any:
    quantisation = schema.QuantizationParametersT()
    quantisation.scale = np.array([scale], dtype=np.float32)
    quantisation.zeroPoint = np.array([0], dtype=np.int64)
    return quantisation


def _spread_scale(model: Any, graph: Any, place: int, scale: float) -> None:
    """Tells every tensor that hands the table's rows on as they are about the new scale."""
    changed = {place}
    for operator in graph.operators:
        name = operator_name(model, operator)
        sources = {int(i) for i in operator.inputs} & changed
        if not sources or (name not in _SAME_SCALE and name != "GATHER"):
            continue
        for i in operator.outputs:
            if graph.tensors[i].type == schema.TensorType.INT8:
                graph.tensors[i].quantization = _symmetric(scale)
                changed.add(int(i))


def _hybrid_code(model: Any) -> int:
    wanted = schema.BuiltinOperator.FULLY_CONNECTED
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == wanted and code.version == _HYBRID_VERSION:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = _HYBRID_VERSION
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
