"""Answers `predict`, and says to `classify` and `regress` that the signature is not theirs.

It is not aware of connections or threads. Used by `routes`.

Source: tensorflow_serving/servables/tensorflow/{classifier,regressor}.cc; the order of the
checks, and so of the errors, is that of http_rest_api_handler.cc.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal, NoReturn

from edgepack.runner.http.app import App
from edgepack.runner.http.content import decoded_body, encoded
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.messages import RefusalError, Response
from edgepack.runner.http.tensors.statistics import TensorStatistics
from edgepack.runner.http.tensors.turn import OutputTensor, Turn, begin_job
from edgepack.runner.http.tfs.document import parse_document, refuse, refuse_value
from edgepack.runner.http.tfs.models import PREDICT_METHOD, ModelPath, find_servable
from edgepack.runner.http.tfs.request import (
    SIGNATURE_NAME,
    parse_predict_request,
    signature_name,
)
from edgepack.runner.http.tfs.response import predict_response
from edgepack.runner.http.wire import Request

_EXAMPLES = "examples"
_KINDS = {"classify": "classification", "regress": "regression"}


def predict(app: App, statistics: TensorStatistics, request: Request, path: ModelPath) -> Job:
    """Returns the work of a prediction.

    Args:
        app: The models.
        statistics: Where the request is counted.
        request: What came.
        path: The model it is for.

    Raises:
        RefusalError: A body that is not what the model takes, or no such model.
    """
    start_ns = app.clock.monotonic_ns()

    def read() -> Mapping[str, Any]:
        document = parse_document(decoded_body(request.headers, request.body, app.body_bytes))
        signature_name(document)
        return document

    def begin() -> Turn:
        began_ns = app.clock.monotonic_ns()
        asked = parse_predict_request(read(), live)
        write = functools.partial(_write, request, asked.in_rows)
        reading_ns = app.clock.monotonic_ns() - began_ns
        wait_ns = app.default_deadline_ns
        return Turn(app, statistics, live, engine, asked.feed, write, start_ns, reading_ns, wait_ns)

    try:
        live, engine = find_servable(app, path)
    except RefusalError:
        # The original reads what was sent before it looks for the model.
        read()
        raise
    return begin_job(live, request, begin)


def refuse_examples(
    app: App, method: Literal["classify", "regress"], request: Request, path: ModelPath
) -> NoReturn:
    """Refuses `classify` and `regress` as a signature made for `predict` does.

    Raises:
        RefusalError: 400 or 404, always.
    """
    document = parse_document(decoded_body(request.headers, request.body, app.body_bytes))
    named = signature_name(document)
    _check_examples(document)
    find_servable(app, path)
    if named != SIGNATURE_NAME:
        refuse(f"No signature was found with the name: {named[:80]}")
    refuse(
        f"Expected {_KINDS[method]} signature method_name to be tensorflow/serving/{method}. Was: "
        f"{PREDICT_METHOD}"
    )


def _check_examples(document: Mapping[str, Any]) -> None:
    if _EXAMPLES not in document:
        refuse_value(
            document, "When method is classify, key 'examples' is expected and was not found"
        )
    examples = document[_EXAMPLES]
    if not isinstance(examples, list):
        refuse_value(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        refuse_value(document, "'examples' value is an empty array")


def _write(request: Request, in_rows: bool, outputs: list[OutputTensor]) -> Response:
    return encoded(predict_response(outputs, in_rows=in_rows), request.headers)
