"""Reads, mends and writes TFLite files through the schema's own objects. Runs in a worker.

It is not aware of how a file was made. Imports LiteRT's schema, not TensorFlow; used by `tflite`
and `tflite_head`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
#: The one metadata entry a box may want; the others hold versions and hashes of the host.
_KEPT_METADATA = b"min_runtime_version"

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


def compact(model: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Gives the inputs and outputs their names and order, and drops what no box reads.

    The converter names its tensors after layers, repeats a constant for each step of an
    unrolled layer, and records the host. Constants that are equal in type, shape, bytes and
    scales become one tensor.

    Args:
        model: A ModelT with the signature `arg_00` …, `out_00` …; changed in place.
        inputs: What the inputs are called, in order.
        outputs: What the outputs are called, in order.
    """
    _name_signature(model, inputs, outputs)
    model.metadata = [each for each in model.metadata or [] if each.name == _KEPT_METADATA]
    for graph in model.subgraphs:
        _merge_constants(model, graph)
        named = {int(i) for i in [*graph.inputs, *graph.outputs]}
        for index, tensor in enumerate(graph.tensors):
            if index not in named or graph is not model.subgraphs[0]:
                tensor.name = b""
    _drop_unused_tensors(model)
    _drop_unused_buffers(model)
    _drop_unused_codes(model)


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


def _name_signature(
    model: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    graph = model.subgraphs[0]
    if not model.signatureDefs:
        raise ConversionError("the converter wrote a file without a signature")
    signature = model.signatureDefs[0]
    places = []
    for maps, specs in ((signature.inputs, inputs), (signature.outputs, outputs)):
        maps.sort(key=lambda each: each.name)
        for each, spec in zip(maps, specs, strict=True):
            each.name = spec.name.encode()
            graph.tensors[each.tensorIndex].name = spec.name.encode()
        places.append([each.tensorIndex for each in maps])
    graph.inputs, graph.outputs = (np.array(each, dtype=np.int32) for each in places)


def _merge_constants(model: Any, graph: Any) -> None:
    first: dict[Any, int] = {}
    merged = {}
    for index, tensor in enumerate(graph.tensors):
        data = model.buffers[tensor.buffer].data
        if data is None or len(data) == 0 or tensor.isVariable:
            continue
        identity = (
            *(tensor.type, _listed(tensor.shape), _quantisation(tensor.quantization)),
            bytes(data),
        )
        merged[index] = first.setdefault(identity, index)
    _renumber(graph, merged)


def _quantisation(value: Any) -> Any:
    if value is None:
        return None
    return (
        *(_listed(value.scale), _listed(value.zeroPoint), value.quantizedDimension),
        *(_listed(value.min), _listed(value.max)),
    )


def _listed(values: Any) -> Any:
    return None if values is None else tuple(float(each) for each in values)


def _renumber(graph: Any, numbers: Mapping[int, int]) -> None:
    for operator in graph.operators:
        for name in ("inputs", "outputs", "intermediates"):
            if (places := getattr(operator, name)) is not None:
                renamed = [numbers.get(int(i), int(i)) for i in places]
                setattr(operator, name, np.array(renamed, dtype=np.int32))
    graph.inputs = np.array([numbers.get(int(i), int(i)) for i in graph.inputs], dtype=np.int32)
    graph.outputs = np.array([numbers.get(int(i), int(i)) for i in graph.outputs], dtype=np.int32)


def _drop_unused_tensors(model: Any) -> None:
    for position, graph in enumerate(model.subgraphs):
        used = {int(i) for i in [*graph.inputs, *graph.outputs]}
        for operator in graph.operators:
            for name in ("inputs", "outputs", "intermediates"):
                places = getattr(operator, name)
                used |= set() if places is None else {int(i) for i in places}
        kept = [i for i in range(len(graph.tensors)) if i in used]
        numbers = {old: new for new, old in enumerate(kept)}
        graph.tensors = [graph.tensors[i] for i in kept]
        _renumber(graph, numbers)
        if position == 0:
            signature = model.signatureDefs[0]
            for each in [*signature.inputs, *signature.outputs]:
                each.tensorIndex = numbers[each.tensorIndex]


def _drop_unused_buffers(model: Any) -> None:
    # Buffer 0 is the empty one by convention.
    used = {0, *(tensor.buffer for graph in model.subgraphs for tensor in graph.tensors)}
    used |= {each.buffer for each in model.metadata}
    kept: list[int] = []
    numbers: dict[int, int] = {}
    first: dict[bytes, int] = {}
    for index in sorted(used):
        data = model.buffers[index].data
        content = b"" if data is None else bytes(data)
        # Computed tensors all have an empty buffer; equal bytes are kept once.
        place = first.setdefault(content, len(kept))
        if place == len(kept):
            kept.append(index)
        numbers[index] = place
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = numbers[tensor.buffer]
    for each in model.metadata:
        each.buffer = numbers[each.buffer]
    model.metadataBuffer = None
    model.buffers = [model.buffers[i] for i in kept]


def _drop_unused_codes(model: Any) -> None:
    used = sorted({op.opcodeIndex for graph in model.subgraphs for op in graph.operators})
    numbers = {old: new for new, old in enumerate(used)}
    model.operatorCodes = [model.operatorCodes[i] for i in used]
    for graph in model.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = numbers[operator.opcodeIndex]
