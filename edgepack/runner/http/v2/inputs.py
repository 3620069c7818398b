"""The input tensors of `infer`, from JSON or from the bytes behind it, checked and made arrays.

It is not aware of outputs or of how answers look. Used by `request`.

Source: Open Inference Protocol V2, "Tensor Data"; Triton,
docs/protocol/extension_binary_data.md, "raw binary request".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edgepack.formats.tensors import TensorSpec
from edgepack.formats.vocabulary import Vocabulary
from edgepack.runner.engines.contract import Array
from edgepack.runner.http.tensors.binary import array_from_bytes, texts_from_bytes
from edgepack.runner.http.tensors.datatypes import BY_NUMPY, BY_V2
from edgepack.runner.http.tensors.histories import history_indices
from edgepack.runner.http.tensors.turn import Feed
from edgepack.runner.http.tensors.values import (
    Flat,
    RaggedError,
    UnfitValueError,
    check_kinds,
    flatten,
    to_array,
)
from edgepack.runner.http.v2.fields import parameters_of, refuse, shown
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.signature import TEXT, Batching, Signature, fits

_BYTES = BY_NUMPY[TEXT].v2


class Blobs:
    """The bytes behind the JSON, taken from the front by one tensor after the other."""

    def __init__(self, data: memoryview) -> None:
        self._left = data

    def take(self, size: object, name: str) -> memoryview:
        """Returns a tensor's bytes.

        Raises:
            RefusalError: 400, the size is none or more than is left.
        """
        if type(size) is not int or size < 0:
            refuse(f"input '{name}': binary_data_size is {shown(size)}, expected a byte count")
        if size > len(self._left):
            refuse(
                f"input '{name}': binary_data_size is {size}, but {len(self._left)} bytes are "
                "left in the body"
            )
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def check_empty(self) -> None:
        """Refuses bytes that belong to no tensor.

        Raises:
            RefusalError: 400, there are some.
        """
        if len(self._left):
            refuse(f"{len(self._left)} bytes at the end of the body belong to no input")


def read_inputs(value: object, blobs: Blobs, live: LiveModel) -> Feed:
    """Reads the `inputs` of a request.

    Args:
        value: What the request has there.
        blobs: The bytes behind the JSON.
        live: Whose inputs they have to be.

    Raises:
        RefusalError: 400, naming the tensor, what it was and what was expected.
    """
    signature = live.signature
    takes = ", ".join(spec.name for spec in signature.inputs)
    if not isinstance(value, list):
        refuse(f"inputs is expected to be a list of tensors; {live.name} takes {takes}")
    found: dict[str, Array] = {}
    text = False
    for tensor in value:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            refuse("each of inputs is expected to be an object with a name")
        name = tensor["name"]
        spec = signature.input_named(name)
        if spec is None:
            refuse(f"unexpected input '{shown(name)}'; {live.name} takes {takes}")
        if name in found:
            refuse(f"input '{name}' is there twice")
        datatype = tensor.get("datatype")
        vocabulary = live.release.vocabulary
        if datatype == _BYTES and vocabulary is not None:
            found[name] = _read_histories(tensor, name, blobs, live, vocabulary)
            text = True
        else:
            found[name] = _read_numbers(tensor, datatype, spec, blobs)
    blobs.check_empty()
    missing = [spec.name for spec in signature.inputs if spec.name not in found]
    if missing:
        refuse(f"input '{missing[0]}' is missing; {live.name} takes {takes}")
    arrays = [found[spec.name] for spec in signature.inputs]
    _check_feed(signature, arrays)
    return Feed(arrays, text)


def read_raw(data: memoryview, live: LiveModel) -> Feed:
    """Reads a body that is nothing but the one input's bytes, one row of it.

    Raises:
        RefusalError: 400, the model takes more than one input, its shape is not told by the
            number of bytes, or the bytes are too few or too many.
    """
    signature = live.signature
    if len(signature.inputs) != 1:
        refuse(f"a raw request is for a model with one input; {live.name} has more")
    (spec,) = signature.inputs
    shape = list(spec.shape)
    if signature.batching is not Batching.NONE:
        shape[0] = 1
    size_bytes = BY_NUMPY[spec.dtype].size_bytes * math.prod(n for n in shape if n > 0)
    open_at = [i for i, n in enumerate(shape) if n < 0]
    if len(open_at) > 1:
        refuse(f"input '{spec.name}' has several variable extents, which a raw request cannot tell")
    if open_at:
        shape[open_at[0]] = len(data) // size_bytes
        size_bytes *= shape[open_at[0]]
    if len(data) != size_bytes:
        refuse(f"a raw request for '{spec.name}' {shape} has {size_bytes} bytes, got {len(data)}")
    arrays = [array_from_bytes(data, spec.dtype).reshape(shape)]
    _check_feed(signature, arrays)
    return Feed(arrays)


def _check_feed(signature: Signature, arrays: Sequence[Array]) -> None:
    if signature.batching is not Batching.NONE:
        rows = {len(array) for array in arrays}
        if len(rows) != 1:
            refuse("the inputs differ in their first extent, which is the batch")
        _check_rows(max(rows), signature)
    if signature.catalogue is not None:
        history = arrays[0]
        if history.min() < 0 or history.max() > signature.catalogue:
            refuse(
                f"input 'history' has an item index outside 0 to {signature.catalogue}; item "
                "ids are sent with the datatype BYTES"
            )


def _read_numbers(
    tensor: dict[str, Any], datatype: object, spec: TensorSpec, blobs: Blobs
) -> Array:
    expected = BY_NUMPY[spec.dtype]
    if datatype != expected.v2:
        is_known = isinstance(datatype, str) and datatype in BY_V2
        known = "" if is_known else ", which is no datatype"
        refuse(
            f"input '{spec.name}' has the datatype {shown(datatype)}{known}; the model takes "
            f"{expected.v2}"
        )
    shape = _shape(tensor, spec.name)
    if not fits(spec, shape):
        refuse(f"input '{spec.name}' has the shape {shape}; the model takes {list(spec.shape)}")
    count = math.prod(shape)
    if not count:
        refuse(f"input '{spec.name}' has the shape {shape}, which is empty")
    blob = _blob(tensor, spec.name, blobs)
    if blob is None:
        flat = _json_data(tensor, spec.name, shape)
        try:
            return to_array(flat.values, spec.dtype).reshape(shape)
        except UnfitValueError as error:
            refuse(f"input '{spec.name}' has the value {error}, which is no {expected.v2}")
    if len(blob) != count * expected.size_bytes:
        refuse(
            f"input '{spec.name}' has {len(blob)} bytes; {expected.v2} {shape} has "
            f"{count * expected.size_bytes}"
        )
    return array_from_bytes(blob, spec.dtype).reshape(shape)


def _read_histories(
    tensor: dict[str, Any], name: str, blobs: Blobs, live: LiveModel, vocabulary: Vocabulary
) -> Array:
    match _shape(tensor, name):
        case [rows, width]:
            _check_rows(rows, live.signature)
        case shape:
            refuse(
                f"input '{name}' has the shape {shape}; item ids come as [histories, items], "
                "short histories filled with empty strings"
            )
    blob = _blob(tensor, name, blobs)
    if blob is None:
        values: list[str] = _json_data(tensor, name, [rows, width]).values
        try:
            check_kinds(values, TEXT)
        except UnfitValueError as error:
            refuse(f"input '{name}' has the value {error}, expected an item id as a string")
    else:
        try:
            # What is not UTF-8 is no item's id, and skipped like any other unknown one.
            values = [each.decode("utf-8", "replace") for each in texts_from_bytes(blob)]
        except ValueError as error:
            refuse(f"input '{name}' is not valid {_BYTES}: {error}")
    if len(values) != rows * width:
        refuse(f"input '{name}' has {len(values)} elements, its shape {rows * width}")
    length = live.signature.inputs[0].shape[1]
    histories = [values[i * width : (i + 1) * width] for i in range(rows)]
    return history_indices(vocabulary, histories, length)


def _check_rows(rows: int, signature: Signature) -> None:
    if not 1 <= rows <= signature.max_rows:
        refuse(f"the batch is {rows}, expected 1 to {signature.max_rows}")


def _shape(tensor: dict[str, Any], name: str) -> list[int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        refuse(f"input '{name}': shape is expected to be a list of whole numbers")
    return shape


def _blob(tensor: dict[str, Any], name: str, blobs: Blobs) -> memoryview | None:
    parameters = parameters_of(tensor, f"input '{name}'")
    if "binary_data_size" not in parameters:
        return None
    if "data" in tensor:
        refuse(f"input '{name}' has both data and binary_data_size")
    return blobs.take(parameters["binary_data_size"], name)


def _json_data(tensor: dict[str, Any], name: str, shape: Sequence[int]) -> Flat:
    data = tensor.get("data")
    if not isinstance(data, list):
        refuse(f"input '{name}': data is expected to be a list, flat or nested as its shape")
    try:
        flat = flatten(data)
    except RaggedError as error:
        refuse(f"input '{name}': data is not a regular tensor at depth {error.level}")
    # A flat list is row-major; an empty tensor may be nested as far as it goes.
    if len(flat.values) != math.prod(shape) or (
        len(flat.shape) > 1 and flat.values and list(flat.shape) != list(shape)
    ):
        refuse(f"input '{name}': data is {list(flat.shape)}; its shape says {list(shape)}")
    return flat
