"""The shortest way for what a hub is asked most: the reports of boxes.

FastAPI finds a route, its dependencies and the end of its request anew each time, which takes as
long as checking a report against its schema. The route is declared there all the same: what
describes the interface, and what answers everything else, is FastAPI. It is not aware of what a
report is. Used by `app`, as a pure ASGI middleware inside of those that count and add headers.

Source: ASGI 3.0, HTTP connection scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

#: Answers a request.
Take = Callable[[Request], Awaitable[Response]]
#: Answers for an exception.
Excuse = Callable[[Request, Any], Awaitable[Response]]


class Shortcut:
    """The middleware; `POST` to one path goes straight to what answers it."""

    def __init__(
        self, app: ASGIApp, *, path: str, take: Take, excuses: Mapping[type[Exception], Excuse]
    ) -> None:
        """Wraps an application.

        Args:
            app: The application; it has the same route.
            path: The route.
            take: Answers it.
            excuses: Answers in its place where it raises; as the application's handlers.
        """
        self._app = app
        self._path = path
        self._take = take
        self._excuses = excuses
        # Those that count look at it.
        self._route = Route(path, take, methods=["POST"], include_in_schema=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes a connection on."""
        if (
            scope["type"] != "http"
            or scope["path"] != self._path
            or scope["method"] != "POST"
            or scope.get("root_path")
        ):
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive, send)
        try:
            response = await self._take(request)
        except tuple(self._excuses) as error:
            response = await self._excuse(error)(request, error)
        await response(scope, receive, send)

    def _excuse(self, error: Exception) -> Excuse:
        return next(self._excuses[kind] for kind in type(error).__mro__ if kind in self._excuses)
