"""The element types of both protocols beside numpy's.

Used by everything that reads or writes a tensor. It is not aware of shapes or values.

Source: Open Inference Protocol V2, "Tensor Data Types"; tensorflow/core/framework/types.proto.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.runner.live.signature import TEXT


@dataclass(frozen=True, slots=True)
class Datatype:
    """One element type.

    Attributes:
        numpy: numpy's name; `bytes` for item ids.
        v2: The Open Inference Protocol's name.
        tensorflow: TensorFlow's name in words, as in its errors; `DT_` and capitals in protobuf.
        size_bytes: Bytes of an element; 0 where elements differ.
    """

    numpy: str
    v2: str
    tensorflow: str
    size_bytes: int


_ALL = (
    Datatype("bool", "BOOL", "bool", 1),
    Datatype("uint8", "UINT8", "uint8", 1),
    Datatype("uint16", "UINT16", "uint16", 2),
    Datatype("uint32", "UINT32", "uint32", 4),
    Datatype("uint64", "UINT64", "uint64", 8),
    Datatype("int8", "INT8", "int8", 1),
    Datatype("int16", "INT16", "int16", 2),
    Datatype("int32", "INT32", "int32", 4),
    Datatype("int64", "INT64", "int64", 8),
    Datatype("float16", "FP16", "half", 2),
    Datatype("float32", "FP32", "float", 4),
    Datatype("float64", "FP64", "double", 8),
    Datatype(TEXT, "BYTES", "string", 0),
)
BY_NUMPY = {each.numpy: each for each in _ALL}
BY_V2 = {each.v2: each for each in _ALL}
