"""Tensors as TensorFlow Serving reads them from JSON, and its words for those that are none.

A tensor that is right is checked by rows; only one that is wrong is walked through, value by
value, for the message. It is not aware of requests. Used by `request`.

Source: tensorflow_serving/util/json_tensor.cc, `AddValueToTensor`, `FillTensorProto`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NoReturn

import numpy as np

from edgepack.runner.engines.contract import Array
from edgepack.runner.http.tensors.datatypes import BY_NUMPY
from edgepack.runner.http.tensors.values import RaggedError, UnfitValueError, flatten, to_array
from edgepack.runner.http.tfs.document import refuse, refuse_value, type_text, value_text
from edgepack.runner.live.signature import TEXT

_BASE64 = "b64"
#: More extents than any tensor has here, and fewer than Python can recurse.
_MAX_RANK = 16


def is_base64(value: object) -> bool:
    """Whether a value is `{"b64": "…"}`, an object that stands for a string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_BASE64), str)


def is_object(value: object) -> bool:
    """Whether a value is an object of named tensors."""
    return isinstance(value, dict) and not is_base64(value)


def read_tensor(value: Any, dtype: str) -> Array:
    """Makes a JSON value, a list or lists of lists into an array of the same nesting.

    Args:
        value: What came.
        dtype: numpy's name, not `bytes`.

    Raises:
        RefusalError: 400 in TensorFlow Serving's words.
    """
    try:
        flat = flatten(value)
        if len(flat.shape) > _MAX_RANK:
            refuse(f"a tensor has {len(flat.shape)} dimensions, at most {_MAX_RANK} are read")
        _refuse_lossy(flat.values, dtype)
        return to_array(flat.values, dtype).reshape(flat.shape)
    except UnfitValueError as error:
        if error.lossy and np.dtype(dtype).kind == "f":
            _refuse_lossy_value(error.value, dtype)
        _refuse_type(error.value, dtype)
    except RaggedError:
        _explain(value, _dense_shape(value), 0, dtype)
        refuse("the lists are no regular tensor")


def read_histories(value: Any) -> list[list[str]]:
    """Reads lists of item ids, which may differ in length.

    Raises:
        RefusalError: 400 in TensorFlow Serving's words.
    """
    if not isinstance(value, list):
        _refuse_type(value, TEXT)
    histories = []
    for row in value:
        if not isinstance(row, list):
            refuse_value(row, "found at incorrect level: 2 in the JSON DOM. Expected at level: 2")
        histories.append([_text(item) for item in row])
    return histories


def holds_text(value: Any) -> bool:
    """Whether the first value at the bottom of some lists is a string."""
    level = [value]
    while level:
        found = level.pop()
        if isinstance(found, list):
            level.extend(reversed(found))
        else:
            return isinstance(found, str) or is_base64(found)
    return False


def _text(item: Any) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        _refuse_type(item, TEXT)
    if not is_base64(item):
        refuse_value(item, "not formatted correctly for base64 data")
    try:
        return base64.b64decode(item[_BASE64], validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        refuse("Unable to base64 decode")


def _refuse_lossy(values: list[Any], dtype: str) -> None:
    target = np.dtype(dtype)
    if target.kind != "f" or int not in set(map(type, values)):
        return
    largest = 2 ** (np.finfo(target).nmant + 1) - 1
    for each in values:
        if type(each) is int and abs(each) > largest:
            _refuse_lossy_value(each, dtype)


def _refuse_lossy_value(value: object, dtype: str) -> NoReturn:
    refuse(
        f"Cannot convert JSON value: {value_text(value)} to {BY_NUMPY[dtype].tensorflow} without "
        "loss of precision."
    )


def _refuse_type(value: object, dtype: str) -> NoReturn:
    expected = BY_NUMPY[dtype].tensorflow
    refuse_value(value, f"Type: {type_text(value)} is not of expected type: {expected}")


def _dense_shape(value: Any) -> list[int]:
    shape: list[int] = []
    while isinstance(value, list) and len(shape) <= _MAX_RANK:
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _explain(value: Any, shape: list[int], level: int, dtype: str) -> None:
    """Refuses the first value that is not where the first values of the lists say it should be."""
    if not isinstance(value, list):
        if level != len(shape):
            refuse_value(
                value,
                f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: "
                f"{len(shape)}",
            )
        return
    if level >= len(shape):
        refuse(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        refuse(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for each in value:
        _explain(each, shape, level + 1, dtype)
