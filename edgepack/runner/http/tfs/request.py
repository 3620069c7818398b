"""The request of `predict`: rows (`instances`) or columns (`inputs`).

It is not aware of engines or threads. Used by `predict`.

Source: tensorflow_serving/util/json_tensor.cc, `FillPredictRequestFromJson`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack.formats.tensors import TensorSpec
from edgepack.runner.engines.contract import Array
from edgepack.runner.http.messages import RefusalError
from edgepack.runner.http.tensors.histories import history_indices
from edgepack.runner.http.tensors.turn import Feed
from edgepack.runner.http.tfs.document import refuse, refuse_value, value_text
from edgepack.runner.http.tfs.tensors import (
    holds_text,
    is_object,
    read_histories,
    read_tensor,
)
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.signature import Batching, Signature, fits

#: The one signature; what a client gets that names none.
SIGNATURE_NAME = "serving_default"
_ROWS, _COLUMNS = "instances", "inputs"


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What a client asks for: the model's inputs, and whether the answer is in rows."""

    feed: Feed
    in_rows: bool


def signature_name(document: Mapping[str, Any]) -> str:
    """Returns the signature that a request names, or the default one.

    Raises:
        RefusalError: 400, it is no string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        refuse_value(
            document, "not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or SIGNATURE_NAME


def parse_predict_request(document: Mapping[str, Any], live: LiveModel) -> PredictRequest:
    """Reads the tensors of a request.

    Args:
        document: The body's object.
        live: The model it is for.

    Raises:
        RefusalError: 400 in TensorFlow Serving's words where it has some.
    """
    named = signature_name(document)
    if named != SIGNATURE_NAME:
        refuse(f'Serving signature name: "{named[:80]}" not found in signature def')
    if _ROWS in document and _COLUMNS in document:
        refuse_value(
            document,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    if _ROWS not in document and _COLUMNS not in document:
        refuse("Missing 'inputs' or 'instances' key")
    if _COLUMNS in document:
        return PredictRequest(_feed(_from_columns(document[_COLUMNS], live), live), in_rows=False)
    instances = document[_ROWS]
    if not isinstance(instances, list):
        refuse_value(document, "Excepting 'instances' to be an list/array")
    if not instances:
        refuse_value(document, "No values in 'instances' array")
    return PredictRequest(_feed(_from_rows(instances, live), live), in_rows=True)


class _Column:
    """One input's values as they came, and as an array."""

    __slots__ = ("array", "text")

    def __init__(self, value: Any, spec: TensorSpec, live: LiveModel) -> None:
        vocabulary = live.release.vocabulary
        self.text = vocabulary is not None and holds_text(value)
        if vocabulary is not None and self.text:
            histories = read_histories(value)
            _check_rows(len(histories), live.signature)
            self.array: Array = history_indices(vocabulary, histories, spec.shape[1])
        else:
            self.array = read_tensor(value, spec.dtype)


def _from_rows(instances: Sequence[Any], live: LiveModel) -> list[_Column]:
    specs = live.signature.inputs
    if not is_object(instances[0]):
        if len(specs) > 1:
            refuse(
                "instances is a plain list, but expecting list of objects as multiple input "
                "tensors required as per tensorinfo_map"
            )
        for i, each in enumerate(instances):
            if is_object(each):
                refuse(f"Expecting value/list but got object at item {i} of input list")
        return [_rows_column(instances, specs[0], live, "")]
    names = {spec.name for spec in specs}
    for i, each in enumerate(instances):
        if not is_object(each):
            refuse(f"Expecting object but got list at item {i} of input list")
        if each.keys() != names:
            _refuse_keys(i, each, names)
    return [
        _rows_column([each[spec.name] for each in instances], spec, live, f" key: {spec.name}")
        for spec in specs
    ]


def _rows_column(values: Sequence[Any], spec: TensorSpec, live: LiveModel, key: str) -> _Column:
    values = list(values)
    try:
        return _Column(values, spec, live)
    except RefusalError:
        _explain_rows(values, spec, live, key)
        raise


def _explain_rows(values: Sequence[Any], spec: TensorSpec, live: LiveModel, key: str) -> None:
    """Refuses the first row that is wrong, by its number, as a whole or beside the first one."""
    first: Array | None = None
    if live.release.vocabulary is not None and holds_text(list(values)):
        return
    for i, value in enumerate(values):
        try:
            array = read_tensor(value, spec.dtype)
            if first is None:
                first = array
            elif array.size != first.size:
                refuse(f"Expecting tensor size: {first.size} but got: {array.size}")
            elif array.shape != first.shape:
                refuse(f"Expecting shape {_shape(first)} but got: {_shape(array)}")
        except RefusalError as error:
            refuse(
                f"Failed to process element: {i}{key} of 'instances' list. Error: "
                f"INVALID_ARGUMENT: {error.message}"
            )


def _refuse_keys(number: int, element: Mapping[str, Any], names: set[str]) -> None:
    for name in element:
        if name not in names:
            refuse(
                f"Failed to process element: {number} key: {name[:80]} of 'instances' list. Error: "
                f"INVALID_ARGUMENT: JSON object: does not have named input: {name[:80]}"
            )
    refuse(
        f"Failed to process element: {number} of 'instances' list. JSON object: "
        f"{value_text(element)} keys must be equal to: {','.join(sorted(names))}"
    )


def _from_columns(value: Any, live: LiveModel) -> list[_Column]:
    specs = live.signature.inputs
    if not is_object(value):
        if len(specs) > 1:
            refuse(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        return [_Column(value, specs[0], live)]
    for spec in specs:
        if spec.name not in value:
            refuse(f"Missing named input: {spec.name} in 'inputs' object.")
    return [_Column(value[spec.name], spec, live) for spec in specs]


def _feed(columns: Sequence[_Column], live: LiveModel) -> Feed:
    signature = live.signature
    for column, spec in zip(columns, signature.inputs, strict=True):
        array = column.array
        if not fits(spec, array.shape) or not array.size:
            refuse(
                f"input '{spec.name}' has the shape {_shape(array)}; the model takes "
                f"{list(spec.shape)}"
            )
    if signature.batching is not Batching.NONE:
        rows = {len(column.array) for column in columns}
        if len(rows) != 1:
            refuse("the inputs differ in their first extent, which is the batch")
        _check_rows(max(rows), signature)
    if signature.catalogue is not None:
        history = columns[0].array
        if history.min() < 0 or history.max() > signature.catalogue:
            refuse(
                f"input 'history' has an item index outside 0 to {signature.catalogue}; item "
                "ids are sent as strings"
            )
    return Feed([column.array for column in columns], any(each.text for each in columns))


def _check_rows(rows: int, signature: Signature) -> None:
    if not 1 <= rows <= signature.max_rows:
        refuse(f"the batch is {rows}, expected 1 to {signature.max_rows}")


def _shape(array: Array) -> str:
    return f"[{','.join(str(n) for n in array.shape)}]"
