"""Tensors as raw bytes: little-endian, row-major, nothing between the elements.

It is not aware of headers or JSON. Used by `v2`.

Source: Triton, docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from edgepack.runner.engines.contract import Array

_LENGTH = struct.Struct("<I")


def array_from_bytes(data: memoryview, dtype: str) -> Array:
    """Reads numbers.

    Args:
        data: As many bytes as whole elements have.
        dtype: numpy's name, not `bytes`.

    Returns:
        An array of one dimension that owns its memory, which the blob's place in the body
        may not align.
    """
    if dtype == "bool":
        return np.frombuffer(data, np.uint8).astype(np.bool_)
    little = np.dtype(dtype).newbyteorder("<")
    array: Array = np.frombuffer(data, little).astype(np.dtype(dtype))
    return array


def array_to_bytes(array: Array) -> bytes:
    """Writes numbers."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8).tobytes()
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def texts_from_bytes(data: memoryview) -> list[bytes]:
    """Reads elements of `BYTES`, each a length of four bytes and as many bytes.

    Raises:
        ValueError: The lengths do not add up to the data.
    """
    texts = []
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError(f"{len(data) - at} bytes are left where a length of 4 was expected")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if length > len(data) - at:
            raise ValueError(f"an element has {length} bytes, {len(data) - at} are left")
        texts.append(bytes(data[at : at + length]))
        at += length
    return texts


def texts_to_bytes(texts: Sequence[bytes]) -> bytes:
    """Writes elements of `BYTES`."""
    return b"".join(_LENGTH.pack(len(each)) + each for each in texts)
