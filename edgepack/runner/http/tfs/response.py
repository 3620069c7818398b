"""The answer of `predict`, in rows or in columns.

It is not aware of requests beyond that. Used by `predict`.

Source: tensorflow_serving/util/json_tensor.cc, `MakeJsonFromTensors`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import numpy as np

from edgepack.runner.http.messages import JSON_TYPE, Response
from edgepack.runner.http.tensors.turn import OutputTensor
from edgepack.runner.http.tfs.document import refuse

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def predict_response(outputs: Sequence[OutputTensor], *, in_rows: bool) -> Response:
    """Makes the answer; NaN and the infinities are written as such, as the original does.

    Args:
        outputs: What the model gave.
        in_rows: Whether the request was in rows.

    Raises:
        RefusalError: 400, the outputs have no rows in common.
    """
    body = {"predictions": _rows(outputs)} if in_rows else {"outputs": _columns(outputs)}
    return Response(HTTPStatus.OK, _ENCODER.encode(body).encode("ascii"), JSON_TYPE)


def _rows(outputs: Sequence[OutputTensor]) -> list[Any]:
    count = -1
    for output in outputs:
        if not output.shape:
            refuse(f"Tensor name: {output.name} has no shape information ")
        if count not in (-1, output.shape[0]):
            refuse(
                f"Tensor name: {output.name} has inconsistent batch size: {output.shape[0]} "
                f"expecting: {count}"
            )
        count = output.shape[0]
    columns = [_nested(output) for output in outputs]
    if len(columns) == 1:
        rows: list[Any] = columns[0]
        return rows
    names = [output.name for output in outputs]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _columns(outputs: Sequence[OutputTensor]) -> Any:
    if len(outputs) == 1:
        return _nested(outputs[0])
    return {output.name: _nested(output) for output in outputs}


def _nested(output: OutputTensor) -> Any:
    values = output.values
    if isinstance(values, list):
        return np.array(values, dtype=object).reshape(output.shape).tolist()
    return values.tolist()
