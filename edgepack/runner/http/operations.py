"""What operators ask: `/healthz` and `/metrics`.

It is not aware of connections. Used by `serving`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Later
from edgepack.runner.http.messages import Response, json_response
from edgepack.runner.http.wire import Request


def add_operation_routes(app: App) -> None:
    """Adds `/healthz` and `/metrics` to an app's routes."""
    app.routes.add("GET", "/healthz", functools.partial(_health, app), public=True)
    app.routes.add("GET", "/metrics", functools.partial(_metrics, app))


def _health(app: App, _request: Request, _parameters: Sequence[str]) -> Response:
    stable = app.models.stable
    status: dict[str, Any] = {
        "status": "stopping" if app.stopping else "ok",
        "model": {"name": stable.name, "version": stable.version, "variant": stable.variant},
        "loaded": stable.engine is not None,
    }
    engine = stable.engine
    if engine is not None:
        status["provider"] = engine.provider
        if engine.fallback is not None:
            status["fallback"] = engine.fallback
    if app.models.canary is not None:
        status["canary"] = {"version": app.models.canary.version}
    code = HTTPStatus.SERVICE_UNAVAILABLE if app.stopping else HTTPStatus.OK
    return json_response(status, code)


def _metrics(app: App, _request: Request, _parameters: Sequence[str]) -> Later:
    async def wait() -> Response:
        # Writing takes milliseconds, the first time much more: not in the event loop.
        body, content_type = await asyncio.to_thread(app.metrics.exposition)
        return Response(HTTPStatus.OK, body, content_type)

    return Later(wait)
