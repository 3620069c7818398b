"""Answers requests: a table of routes over a model. No sockets, no threads.

It is not aware of connections, parsing or time-outs, which are `protocol`'s. Used by `serving`
and, without any socket, by tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from edgepack.runner.clock import Clock
from edgepack.runner.http.messages import RefusalError, Response, error_response, json_response
from edgepack.runner.http.metrics import Metrics
from edgepack.runner.http.requests import check_json_headers, parse_recommend_request
from edgepack.runner.log import Log
from edgepack.runner.recommender import Recommender

Handler = Callable[[Mapping[str, str], bytes], Response]
#: The label of every path that is not in the table: labels must not grow with what clients type.
_OTHER = "other"


@dataclass(frozen=True, slots=True)
class Route:
    """One way in: what answers it, and whether that runs the model."""

    handler: Handler
    runs_model: bool = False


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What answers say about the model behind them."""

    name: str
    version: str
    variant: str
    kind: str

    def to_json(self) -> dict[str, str]:
        """Returns the `model` object of an answer."""
        return {"name": self.name, "version": self.version, "variant": self.variant}


class App:
    """The routes of one served model.

    Attributes:
        metrics: What `/metrics` shows.
        offload: Whether running the model takes so long that a thread of its own must do it.
        stopping: Set when the server is on its way out; `/healthz` says so.
    """

    def __init__(
        self,
        model: ServedModel,
        recommender: Recommender | None,
        metrics: Metrics,
        clock: Clock,
        log: Log,
        *,
        offload: bool,
    ) -> None:
        self.metrics = metrics
        self.offload = offload
        self.stopping = False
        self._model = model
        self._model_json = model.to_json()
        self._recommender = recommender
        self._clock = clock
        self._log = log
        # Protocols with names in their paths (V2, TF Serving) get a second, matching table.
        self._routes: dict[str, dict[str, Route]] = {
            "/recommend": {"POST": Route(self._recommend, runs_model=True)},
            "/healthz": {"GET": Route(self._health)},
            "/metrics": {"GET": Route(self._metrics)},
        }

    def runs_model(self, method: str, path: str) -> bool:
        """Whether answering this runs the model."""
        route = self._routes.get(path, {}).get(method)
        return route is not None and route.runs_model

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Answers a request; it never raises.

        Args:
            method: Such as `POST`.
            path: Without the query.
            headers: Names in lower case.
            body: All of it.

        Returns:
            The answer; for HEAD that of GET, whose body the caller leaves out.
        """
        route_label = path if path in self._routes else _OTHER
        try:
            response = self._find(method, path).handler(headers, body)
        except RefusalError as refusal:
            response = refusal.response()
        except Exception as error:  # noqa: BLE001 - one bad request may not end the daemon
            self._log.write_rarely("error", "bug", route=route_label, error=repr(error)[:500])
            response = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        self.metrics.count_request(route_label, response.status)
        return response

    def _find(self, method: str, path: str) -> Route:
        methods = self._routes.get(path)
        if methods is None:
            known = ", ".join(self._routes)
            raise RefusalError(HTTPStatus.NOT_FOUND, f"there is no such path; there are {known}")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join([*methods, "HEAD"] if "GET" in methods else methods)
            raise RefusalError(
                HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes {allowed}", (("Allow", allowed),)
            )
        return route

    def _recommend(self, headers: Mapping[str, str], body: bytes) -> Response:
        recommender = self._recommender
        if recommender is None:
            model = self._model
            raise RefusalError(
                HTTPStatus.NOT_FOUND,
                f"the model {model.name} {model.version} is a {model.kind} model: it has no "
                "vocabulary and ranks no items, so there is no /recommend",
            )
        start_ns = self._clock.monotonic_ns()
        check_json_headers(headers)
        request = parse_recommend_request(body, recommender.top_k)
        answer = recommender.recommend(
            request.history, request.k, exclude_seen=request.exclude_seen
        )
        response = json_response(
            {
                "items": [
                    {"id": item, "score": score}
                    for item, score in zip(answer.items, answer.scores, strict=True)
                ],
                "model": self._model_json,
                "unknown": answer.unknown,
                "fallback": answer.fallback,
            }
        )
        if answer.failure is not None:
            self._log.write_rarely("error", "inference failed", error=answer.failure)
        duration_ns = self._clock.monotonic_ns() - start_ns
        self.metrics.observe_answer(answer, len(request.history), duration_ns)
        return response

    def _health(self, _headers: Mapping[str, str], _body: bytes) -> Response:
        status: dict[str, Any] = {
            "status": "stopping" if self.stopping else "ok",
            "model": self._model_json,
        }
        code = HTTPStatus.SERVICE_UNAVAILABLE if self.stopping else HTTPStatus.OK
        return json_response(status, code)

    def _metrics(self, _headers: Mapping[str, str], _body: bytes) -> Response:
        body, content_type = self.metrics.exposition()
        return Response(HTTPStatus.OK, body, content_type)
