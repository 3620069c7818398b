"""The paths of the Open Inference Protocol V2 and what answers them.

It is not aware of connections. Used by `serving`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, NoReturn

from edgepack.runner.http.app import App
from edgepack.runner.http.content import encoded
from edgepack.runner.http.messages import RefusalError, Response
from edgepack.runner.http.tensors.statistics import TensorStatistics
from edgepack.runner.http.v2.infer import infer
from edgepack.runner.http.v2.metadata import (
    model_config,
    model_metadata,
    model_ready,
    server_live,
    server_metadata,
    server_ready,
)
from edgepack.runner.http.v2.repository import load_model, repository_index, unload_model
from edgepack.runner.http.v2.statistics import model_statistics
from edgepack.runner.http.wire import Request

_MODEL = r"/v2/models/([^/]+)(?:/versions/([^/]+))?"
_LABEL = "/v2/models/{model}"
_METHODS = ("GET", "POST")
#: Extensions of Triton and MLServer that a recommender on a box has no use for.
_NOT_SPOKEN = (
    (rf"{_MODEL}/(?:generate|generate_stream|infer_stream)", "generating text and streams"),
    (r"/v2(?:/models/[^/]+)?/trace/setting", "tracing"),
    (r"/v2/(?:system|cuda)sharedmemory(?:/region/[^/]+)?/[a-z]+", "shared memory"),
    (r"/v2/logging", "log settings"),
)


def add_v2_routes(app: App, statistics: TensorStatistics) -> None:
    """Adds the protocol to an app's routes.

    Args:
        app: The app.
        statistics: What inference requests are counted in.
    """
    routes = app.routes
    inference = functools.partial(infer, app, statistics)
    routes.add_pattern("POST", rf"{_MODEL}/infer", f"{_LABEL}/infer", inference)
    for path in ("/v2", "/v2/"):
        routes.add("GET", path, functools.partial(server_metadata, app))
    routes.add("GET", "/v2/health/live", functools.partial(server_live, app), public=True)
    routes.add("GET", "/v2/health/ready", functools.partial(server_ready, app), public=True)
    counted = functools.partial(model_statistics, app, statistics)
    routes.add("GET", "/v2/models/stats", counted)
    routes.add("POST", "/v2/repository/index", functools.partial(repository_index, app))
    ready = functools.partial(model_ready, app)
    routes.add_pattern("GET", rf"{_MODEL}/ready", f"{_LABEL}/ready", ready, public=True)
    routes.add_pattern("GET", rf"{_MODEL}/stats", f"{_LABEL}/stats", counted)
    for pattern, label, handler in (
        (_MODEL, _LABEL, model_metadata),
        (rf"{_MODEL}/config", f"{_LABEL}/config", model_config),
    ):
        routes.add_pattern("GET", pattern, label, _compressed(functools.partial(handler, app)))
    for action, control in (("load", load_model), ("unload", unload_model)):
        routes.add_pattern(
            "POST",
            rf"/v2/repository/models/([^/]+)/{action}",
            f"/v2/repository/models/{{model}}/{action}",
            functools.partial(control, app),
        )
    for pattern, what in _NOT_SPOKEN:
        for method in _METHODS:
            routes.add_pattern(
                method, pattern, "/v2/{not spoken}", functools.partial(_not_spoken, what)
            )


def _compressed(
    handler: Callable[[Request, Sequence[str]], Response],
) -> Callable[[Request, Sequence[str]], Response]:
    def answer(request: Request, parameters: Sequence[str]) -> Response:
        return encoded(handler(request, parameters), request.headers)

    return answer


def _not_spoken(what: str, *_: Any) -> NoReturn:
    raise RefusalError(HTTPStatus.NOT_IMPLEMENTED, f"{what} is not part of what this server speaks")
