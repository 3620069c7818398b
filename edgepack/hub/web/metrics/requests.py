"""Counts every HTTP request on its way through the application, as a pure ASGI middleware.

It is not aware of what a route does. Used where the application is put together.

Source: ASGI 3.0, HTTP connection scope.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from edgepack.hub.web.metrics.counting import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What is answered by no route. A path that somebody made up never becomes a label.
OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What a server answers for an application that raised.
_BROKEN: Final = 500
#: A client that hung up before it was answered, as nginx writes it.
_GONE: Final = 499


class CountingRequests:
    """The middleware; outside of every other, so that their time counts as well."""

    def __init__(
        self, app: App, metrics: Metrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """Wraps an application.

        Args:
            app: The application.
            metrics: Where requests are counted.
            clock: Tells seconds from any beginning.
        """
        self._app = app
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a connection on and counts it where it is a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = _GONE
        began = self._clock()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._metrics.requests_in_progress.inc()
        try:
            await self._app(scope, receive, sending)
        except Exception:
            status = _BROKEN
            raise
        finally:
            self._metrics.requests_in_progress.dec()
            route, method = route_of(scope), method_of(scope)
            duration = self._metrics.request_duration.labels(route, method)
            duration.observe(self._clock() - began)
            self._metrics.requests.labels(route, method, str(int(status))).inc()


def route_of(scope: Scope) -> str:
    """Returns the route that answered, as it was declared: `/api/devices/{name}`.

    What is mounted, such as a folder of files, counts as one route.
    """
    # Starlette fills in the very scope it was handed. `app_root_path` is the proxy's part.
    if "app_root_path" in scope:
        return str(scope["root_path"]).removeprefix(str(scope["app_root_path"])) or OTHER
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path if isinstance(path, str) and path else OTHER


def method_of(scope: Scope) -> str:
    """Returns the request's method where it is one that is known."""
    method = scope.get("method", "")
    return method if method in _METHODS else OTHER
