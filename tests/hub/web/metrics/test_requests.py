from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from edgepack.hub.web.metrics import CountingRequests, Metrics
from tests.hub.web.metrics.test_counting import samples


def _application() -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/api")

    @router.get("/devices/{name}")
    async def _device(name: str) -> dict[str, str]:
        if name == "gone":
            raise HTTPException(404)
        if name == "broken":
            raise RuntimeError(name)
        return {"name": name}

    async def _file(_: Any) -> PlainTextResponse:
        return PlainTextResponse("body {}")

    app.include_router(router)
    app.router.routes.append(Mount("/static", routes=[Route("/{file}", _file)]))
    return app


async def _ask(app: Any, method: str, path: str) -> int:
    """Sends a request without a server and returns the status; -1: no answer began."""
    status = -1

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("192.0.2.7", 5000),
        "server": ("127.0.0.1", 8000),
        "scheme": "http",
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    return status


def _asked(*requests: tuple[str, str], app: ASGIApp | None = None) -> dict[str, float]:
    metrics = Metrics()
    counting = CountingRequests(app or _application(), metrics)

    async def ask_all() -> None:
        for method, path in requests:
            await _ask(counting, method, path)

    asyncio.run(ask_all())
    return samples(metrics)


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/api/devices/till-7", 'code="200",method="GET",route="/api/devices/{name}"'),
        ("GET", "/api/devices/gone", 'code="404",method="GET",route="/api/devices/{name}"'),
        ("POST", "/api/devices/x", 'code="405",method="POST",route="/api/devices/{name}"'),
        ("GET", "/static/site.css", 'code="200",method="GET",route="/static"'),
        ("GET", "/wp-login.php", 'code="404",method="GET",route="other"'),
        ("BREW", "/wp-login.php", 'code="404",method="other",route="other"'),
    ],
)
def test_a_request_counts_under_its_route_not_its_path(method: str, path: str, labels: str) -> None:
    found = _asked((method, path))
    assert found[f"edgepack_hub_http_requests_total{{{labels}}}"] == 1
    route = labels.partition(",")[2]
    assert found[f"edgepack_hub_http_request_duration_seconds_count{{{route}}}"] == 1
    assert found["edgepack_hub_http_requests_in_progress{}"] == 0
    assert not any("till-7" in series or "192.0.2.7" in series for series in found)


def test_an_application_that_raises_counts_as_500_and_the_error_goes_on() -> None:
    metrics = Metrics()
    counting = CountingRequests(_application(), metrics)
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(_ask(counting, "GET", "/api/devices/broken"))
    labels = 'code="500",method="GET",route="/api/devices/{name}"'
    found = samples(metrics)
    assert found[f"edgepack_hub_http_requests_total{{{labels}}}"] == 1
    assert found["edgepack_hub_http_requests_in_progress{}"] == 0


def test_a_client_that_hangs_up_before_its_answer_is_told_apart() -> None:
    async def cancelled(_scope: Any, _receive: Any, _send: Any) -> None:
        raise asyncio.CancelledError

    metrics = Metrics()

    async def ask() -> None:
        with pytest.raises(asyncio.CancelledError):
            await _ask(CountingRequests(cancelled, metrics), "GET", "/")

    asyncio.run(ask())
    labels = 'code="499",method="GET",route="other"'
    assert samples(metrics)[f"edgepack_hub_http_requests_total{{{labels}}}"] == 1


def test_what_is_no_request_passes_uncounted() -> None:
    seen = []

    async def lifespan(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["type"])

    metrics = Metrics()
    before = samples(metrics)

    async def nothing() -> Any:
        return {}

    async def nowhere(_: Any) -> None:
        return

    asyncio.run(CountingRequests(lifespan, metrics)({"type": "lifespan"}, nothing, nowhere))
    assert seen == ["lifespan"]
    assert {k for k in samples(metrics) if "http" in k} == {k for k in before if "http" in k}
