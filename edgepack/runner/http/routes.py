"""The table of ways in: method and path to handler.

Paths without names in them are looked up; those with names are matched in the order they were
added. It is not aware of what handlers do. Used by `app` and filled by the modules that answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from edgepack.runner.http.jobs import Job, Later
from edgepack.runner.http.messages import RefusalError, Response
from edgepack.runner.http.wire import Request

#: Takes the request and the parts of the path that the pattern's groups matched ('' where an
#: optional group did not). Answers, or returns the work the model has to do for it.
Handler = Callable[[Request, Sequence[str]], "Response | Job | Later"]


class Route(NamedTuple):
    """One way in.

    Attributes:
        label: Its name in metrics: labels must not grow with what clients type.
        handler: What answers it.
        public: Whether it is answered without the bearer token, as health checks are.
    """

    label: str
    handler: Handler
    public: bool = False


class Match(NamedTuple):
    """A route that was found, and what its path's groups matched."""

    route: Route
    parameters: tuple[str, ...] = ()


class Routes:
    """All ways in."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[str, Match]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []

    def add(self, method: str, path: str, handler: Handler, *, public: bool = False) -> None:
        """Adds a path as it stands; its label is the path."""
        route = Route(path, handler, public)
        self._exact.setdefault(path, {})[method] = Match(route)

    def add_pattern(
        self, method: str, pattern: str, label: str, handler: Handler, *, public: bool = False
    ) -> None:
        """Adds paths with names in them.

        Args:
            method: Such as `GET`.
            pattern: A regular expression for the whole path.
            label: The route's name in metrics.
            handler: Gets the pattern's groups.
            public: See `Route`.
        """
        route = Route(label, handler, public)
        for known, methods in self._patterns:
            if known.pattern == pattern:
                methods[method] = route
                return
        self._patterns.append((re.compile(pattern), {method: route}))

    def all(self) -> list[Route]:
        """Returns every route."""
        exact = [match.route for methods in self._exact.values() for match in methods.values()]
        return [*exact, *(route for _, methods in self._patterns for route in methods.values())]

    def find(self, method: str, path: str) -> Match:
        """Finds what answers a request.

        Raises:
            RefusalError: 404 with the known paths, or 405 with the methods the path takes.
        """
        wanted = "GET" if method == "HEAD" else method
        exact = self._exact.get(path)
        if exact is not None:
            found = exact.get(wanted)
            if found is None:
                raise _wrong_method(path, exact)
            return found
        refusal = None
        for pattern, methods in self._patterns:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            route = methods.get(wanted)
            if route is not None:
                return Match(route, match.groups(default=""))
            refusal = refusal or _wrong_method(path, methods)
        if refusal is not None:
            raise refusal
        known = ", ".join([*self._exact, *self._prefixes()])
        raise RefusalError(HTTPStatus.NOT_FOUND, f"there is no such path; there are {known}")

    def _prefixes(self) -> list[str]:
        labels = (route.label for _, methods in self._patterns for route in methods.values())
        return sorted({f"{label.split('{', 1)[0].rstrip('/')}/…" for label in labels})


def _wrong_method(path: str, methods: dict[str, Match] | dict[str, Route]) -> RefusalError:
    allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
    return RefusalError(
        HTTPStatus.METHOD_NOT_ALLOWED, f"{path[:80]} takes {allowed}", (("Allow", allowed),)
    )
