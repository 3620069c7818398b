"""Reads, mends and writes TFLite files through the schema's own objects. Runs in a worker.

It is not aware of how a file was made. Imports LiteRT's schema, not TensorFlow; used by the
other `tflite` modules.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgepack.formats.errors import ConversionError
from edgepack.formats.tensors import TensorSpec

#: What the runtimes ask of a constant's place in the file.
#: Source: `force_align: 16` of `Buffer.data` in tensorflow/compiler/mlir/lite/schema/schema.fbs.
_ALIGNMENT = 16
_IDENTIFIER = b"TFL3"

_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.FLOAT64: "float64",
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT64: "int64",
    schema.TensorType.BOOL: "bool",
}


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """The generated writer forgets the schema's alignment; this one keeps it for all bytes."""

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> int:  # noqa: N802 - flatbuffers' own name
        """Writes a one-dimensional array at an aligned place."""
        if x.dtype != np.uint8:
            return int(super().CreateNumpyVector(x))
        self.StartVector(1, x.size, _ALIGNMENT)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = x.tobytes()
        self.vectorNumElems = x.size
        return int(self.EndVector())


def parse_tflite(data: bytes) -> Any:
    """Returns a file as the schema's ModelT."""
    return schema.ModelT.InitFromPackedBuf(data, 0)


def tflite_bytes(model: Any) -> bytes:
    """Writes a ModelT; the same model is always the same bytes."""
    builder = _AlignedBuilder(1 << 20)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def file_specs(model: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Returns the inputs and outputs of a file, in its order."""
    graph = model.subgraphs[0]
    return (
        tuple(_spec(graph.tensors[i]) for i in graph.inputs),
        tuple(_spec(graph.tensors[i]) for i in graph.outputs),
    )


def operator_name(model: Any, operator: Any) -> str:
    """Returns an operator's name, such as `FULLY_CONNECTED`; a custom one's own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return str(code.customCode.decode())
    return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def type_name(tensor: Any) -> str:
    """Returns a tensor's type, such as `int8`; a type without a numpy name as its number."""
    return _DTYPES.get(tensor.type, f"type {tensor.type}")


def constant(model: Any, tensor: Any) -> npt.NDArray[Any] | None:
    """Returns a constant tensor's elements in its shape; None when it is computed."""
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) == 0:
        return None
    shape = tuple(int(n) for n in (tensor.shape if tensor.shape is not None else ()))
    return np.frombuffer(bytes(data), dtype=_DTYPES[tensor.type]).reshape(shape)


def refuse_foreign_operators(model: Any) -> None:
    """Refuses TensorFlow's own operators, which no edge runtime has.

    Raises:
        ConversionError: There is one; it is named.
    """
    custom = sorted({c.customCode.decode() for c in model.operatorCodes if c.customCode})
    if custom:
        raise ConversionError(f"TFLite has no operator for {', '.join(custom)}")


_NAMES: dict[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}


def _spec(tensor: Any) -> TensorSpec:
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    extents = () if shape is None else tuple(int(n) for n in shape)
    return TensorSpec(tensor.name.decode(), _DTYPES[tensor.type], extents)
