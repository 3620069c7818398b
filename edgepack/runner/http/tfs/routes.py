"""The paths of TensorFlow Serving's REST API and what answers them.

It is not aware of connections. Used by `serving`.

Source: tensorflow_serving/model_servers/http_rest_api_handler.cc and http_rest_api_util.cc, whose
patterns ignore case and whose every other path is a malformed request.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NoReturn

from edgepack.runner.http.app import App
from edgepack.runner.http.content import encoded
from edgepack.runner.http.jobs import Job
from edgepack.runner.http.messages import Response
from edgepack.runner.http.tensors.statistics import TensorStatistics
from edgepack.runner.http.tfs.document import refuse
from edgepack.runner.http.tfs.models import ModelPath, model_metadata, model_status
from edgepack.runner.http.tfs.predict import predict, refuse_examples
from edgepack.runner.http.wire import Request

_VERSION = r"(?:/versions/([0-9]+)|/labels/([^/:]+))?"
_PREDICT = rf"(?i)/v1/models/([^/:]+){_VERSION}:predict"
_EXAMPLES = rf"(?i)/v1/models/([^/:]+){_VERSION}:(classify|regress)"
_STATUS = rf"(?i)/v1/models(?:/([^/:]+))?{_VERSION}(/metadata)?"
_ANY = r"(?i)/v1/.*"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_LABEL = "/v1/models/{model}"


def add_tfs_routes(app: App, statistics: TensorStatistics) -> None:
    """Adds the API to an app's routes.

    Args:
        app: The app.
        statistics: What predictions are counted in.
    """
    add = app.routes.add_pattern
    add("POST", _PREDICT, f"{_LABEL}:predict", functools.partial(_predict, app, statistics))
    add("POST", _EXAMPLES, f"{_LABEL}:examples", functools.partial(_examples, app))
    add("GET", _STATUS, _LABEL, functools.partial(_describe, app))
    for method in _METHODS:
        add(method, _ANY, "/v1/{malformed}", _malformed)


def _predict(
    app: App, statistics: TensorStatistics, request: Request, parameters: Sequence[str]
) -> Job:
    return predict(app, statistics, request, ModelPath.of(*parameters))


def _examples(app: App, request: Request, parameters: Sequence[str]) -> NoReturn:
    name, version, label, method = parameters
    path = ModelPath.of(name, version, label)
    refuse_examples(app, "classify" if method.lower() == "classify" else "regress", request, path)


def _describe(app: App, request: Request, parameters: Sequence[str]) -> Response:
    name, version, label, metadata = parameters
    if not name:
        refuse("Missing model name in request.")
    describe = model_metadata if metadata else model_status
    return encoded(describe(app, ModelPath.of(name, version, label)), request.headers)


def _malformed(request: Request, _parameters: Sequence[str]) -> NoReturn:
    refuse(f"Malformed request: {request.method} {request.path[:200]}")
