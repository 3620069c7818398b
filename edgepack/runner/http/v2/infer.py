"""Answers `POST /v2/models/…/infer`.

It is not aware of connections or threads. Used by `routes`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from edgepack.runner.http.app import App
from edgepack.runner.http.content import decoded_body, encoded
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.messages import Response
from edgepack.runner.http.tensors.statistics import TensorStatistics
from edgepack.runner.http.tensors.turn import OutputTensor, Turn, begin_job
from edgepack.runner.http.v2.lookup import engine_of, find_live
from edgepack.runner.http.v2.request import InferRequest, parse_infer_request
from edgepack.runner.http.v2.response import infer_response
from edgepack.runner.http.wire import Request
from edgepack.runner.live.model import LiveModel

_NS_PER_US = 1000


def infer(
    app: App, statistics: TensorStatistics, request: Request, parameters: Sequence[str]
) -> Job:
    """Returns the work of an inference request.

    Args:
        app: The models.
        statistics: Where the request is counted.
        request: What came.
        parameters: The model's name and version, as in the path.

    Raises:
        RefusalError: Another model, a body that is not what the model takes, or an unloaded one.
    """
    start_ns = app.clock.monotonic_ns()
    name, version = parameters
    live = find_live(app, name, version)
    engine = engine_of(live)

    def begin() -> Turn:
        began_ns = app.clock.monotonic_ns()
        body = decoded_body(request.headers, request.body, app.body_bytes)
        asked = parse_infer_request(request.headers, body, live)
        write = functools.partial(_write, request, asked, live)
        reading_ns = app.clock.monotonic_ns() - began_ns
        wait_ns = app.default_deadline_ns
        if asked.timeout_us is not None:
            wait_ns = asked.timeout_us * _NS_PER_US
        return Turn(app, statistics, live, engine, asked.feed, write, start_ns, reading_ns, wait_ns)

    return begin_job(live, request, begin)


def _write(
    request: Request, asked: InferRequest, live: LiveModel, outputs: list[OutputTensor]
) -> Response:
    return encoded(infer_response(asked, outputs, live), request.headers)
