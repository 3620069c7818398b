"""The answer of `infer`: JSON, and the bytes of binary tensors behind it.

It is not aware of requests beyond what they want. Used by `infer`.

Source: Open Inference Protocol V2, "Inference Response JSON Object"; Triton,
docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from edgepack.runner.http.messages import JSON_TYPE, RefusalError, Response
from edgepack.runner.http.tensors.binary import array_to_bytes, texts_to_bytes
from edgepack.runner.http.tensors.datatypes import BY_NUMPY
from edgepack.runner.http.tensors.turn import OutputTensor
from edgepack.runner.http.v2.request import HEADER_LENGTH, InferRequest
from edgepack.runner.live.model import LiveModel

BINARY_TYPE = "application/octet-stream"
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def infer_response(
    asked: InferRequest, outputs: Sequence[OutputTensor], live: LiveModel
) -> Response:
    """Makes the answer.

    Args:
        asked: What is wanted, and how.
        outputs: What the model gave, in the signature's order.
        live: The model that gave it.

    Raises:
        RefusalError: 400, a number that JSON has not was to be JSON.
    """
    document: dict[str, Any] = {"model_name": live.name, "model_version": live.version}
    if asked.id is not None:
        document["id"] = asked.id
    blobs: list[bytes] = []
    tensors = []
    for wanted in asked.outputs:
        output = outputs[wanted.place]
        tensor: dict[str, Any] = {
            "name": output.name,
            "datatype": BY_NUMPY[output.dtype].v2,
            "shape": list(output.shape),
        }
        if wanted.binary:
            blobs.append(_to_bytes(output))
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            values = output.values
            tensor["data"] = values if isinstance(values, list) else values.ravel().tolist()
        tensors.append(tensor)
    document["outputs"] = tensors
    try:
        head = _ENCODER.encode(document).encode("ascii")
    except ValueError as error:
        raise RefusalError(
            HTTPStatus.BAD_REQUEST,
            "the answer holds NaN or an infinity, which JSON has not; ask for it with the "
            "parameter binary_data",
        ) from error
    if not any(wanted.binary for wanted in asked.outputs):
        return Response(HTTPStatus.OK, head, JSON_TYPE)
    return Response(
        HTTPStatus.OK,
        b"".join([head, *blobs]),
        BINARY_TYPE,
        ((HEADER_LENGTH, str(len(head))),),
    )


def _to_bytes(output: OutputTensor) -> bytes:
    values = output.values
    if isinstance(values, list):
        return texts_to_bytes([each.encode("utf-8") for each in values])
    return array_to_bytes(values)
