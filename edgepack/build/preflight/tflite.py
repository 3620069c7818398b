"""Reads which operators a TFLite file names, without TensorFlow and without trusting the file.

It is not aware of runtimes. Used by `edgepack.build.preflight.check`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edgepack.formats.errors import ConversionError

#: Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, the order of each table's fields.
_MODEL_OPERATOR_CODES, _MODEL_BUFFERS, _MODEL_METADATA = 1, 4, 6
_CODE_DEPRECATED, _CODE_CUSTOM, _CODE_VERSION, _CODE_BUILTIN = 0, 1, 2, 3
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0
#: `BuiltinOperator.CUSTOM`: the operator is named by its text instead.
_CUSTOM = 32
#: No converter writes more kinds of operator into one file.
_MAX_ITEMS = 100_000


@dataclass(frozen=True, slots=True)
class TfliteOperator:
    """One operator a file needs: its number, its version, and a name if it is a custom one."""

    code: int
    version: int
    custom: str | None = None


@dataclass(frozen=True, slots=True)
class TfliteModel:
    """What a file needs of its runtime.

    Attributes:
        operators: Every operator code, used or not: an interpreter maps all of them.
        min_runtime_version: What the converter noted; empty when it did not.
    """

    operators: tuple[TfliteOperator, ...]
    min_runtime_version: str


class _Flatbuffer:
    """Bounds-checked reading. Source: FlatBuffers internals, "On the wire"."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self, layout: str, position: int) -> int:
        if position < 0:
            raise ConversionError("the TFLite file is damaged: an offset points outside of it")
        try:
            return int(struct.unpack_from(f"<{layout}", self._data, position)[0])
        except struct.error:
            raise ConversionError(
                "the TFLite file is damaged or cut off: an offset points outside of it"
            ) from None

    def follow(self, position: int) -> int:
        return position + self.number("I", position)

    def field(self, table: int, index: int) -> int | None:
        """Returns where a table's field lies, or None when it has its default."""
        vtable = table - self.number("i", table)
        entry = 4 + 2 * index
        if entry + 2 > self.number("H", vtable):
            return None
        offset = self.number("H", vtable + entry)
        return table + offset if offset else None

    def integer(self, table: int, index: int, layout: str, default: int) -> int:
        where = self.field(table, index)
        return default if where is None else self.number(layout, where)

    def raw(self, table: int, index: int) -> bytes:
        where = self.field(table, index)
        if where is None:
            return b""
        start = self.follow(where)
        return self._data[start + 4 : start + 4 + self.number("I", start)]

    def tables(self, table: int, index: int) -> Iterator[int]:
        where = self.field(table, index)
        if where is None:
            return
        start = self.follow(where)
        count = self.number("I", start)
        if count > _MAX_ITEMS:
            raise ConversionError(f"the TFLite file is damaged: a list of {count} items")
        for item in range(count):
            yield self.follow(start + 4 + 4 * item)


def read_tflite(data: bytes) -> TfliteModel:
    """Reads the operators of a TFLite file.

    Args:
        data: The file's bytes.

    Returns:
        Its operators and the runtime version it asks for.

    Raises:
        ConversionError: It is not a TFLite file, or damaged.
    """
    if data[4:8] != b"TFL3":
        raise ConversionError("not a TFLite file: it does not begin with the identifier TFL3")
    file = _Flatbuffer(data)
    model = file.follow(0)
    operators = tuple(
        _read_operator(file, code) for code in file.tables(model, _MODEL_OPERATOR_CODES)
    )
    return TfliteModel(operators, _read_min_runtime_version(file, model))


def _read_operator(file: _Flatbuffer, code: int) -> TfliteOperator:
    # Numbers above 127 did not fit the first field; old files have only that one.
    # Source: tensorflow/lite/schema/schema_utils.cc, GetBuiltinCode.
    number = max(
        file.integer(code, _CODE_DEPRECATED, "b", 0), file.integer(code, _CODE_BUILTIN, "i", 0)
    )
    custom = None
    if number == _CUSTOM:
        custom = file.raw(code, _CODE_CUSTOM).decode("utf-8", errors="replace")
    return TfliteOperator(number, file.integer(code, _CODE_VERSION, "i", 1), custom)


def _read_min_runtime_version(file: _Flatbuffer, model: int) -> str:
    for entry in file.tables(model, _MODEL_METADATA):
        if file.raw(entry, _METADATA_NAME) == b"min_runtime_version":
            wanted = file.integer(entry, _METADATA_BUFFER, "I", 0)
            for index, buffer in enumerate(file.tables(model, _MODEL_BUFFERS)):
                if index == wanted:
                    text = file.raw(buffer, _BUFFER_DATA)
                    return text.rstrip(b"\0").decode("ascii", errors="replace")
    return ""
