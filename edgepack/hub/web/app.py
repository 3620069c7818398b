"""Puts the hub together: the interface for boxes, the answers, the pages, the metrics.

It is not aware of what any of them does. Used by the command line, which serves it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgepack import __version__
from edgepack.formats.report import Report
from edgepack.formats.sound import prepare
from edgepack.hub.access.credentials import Credentials
from edgepack.hub.intake.committing import GroupCommitter, Watching
from edgepack.hub.intake.rates import RateLimiter
from edgepack.hub.store.keeping import Pruned
from edgepack.hub.store.pruning import Pruner, Told
from edgepack.hub.store.recording import Recorder
from edgepack.hub.web.answers_api import answers_router
from edgepack.hub.web.api import REPORTS_PATH, Intake, api_router, take_reports
from edgepack.hub.web.gate import Gate
from edgepack.hub.web.metrics import CountingRequests, Metrics
from edgepack.hub.web.metrics.store import StoreCollector
from edgepack.hub.web.openapi import SECURITY_SCHEMES
from edgepack.hub.web.pages import pages_router
from edgepack.hub.web.rendering import error_page
from edgepack.hub.web.settings import HubSettings
from edgepack.hub.web.shortcut import Excuse, Shortcut
from edgepack.hub.web.signing_in import (
    SignInError,
    page_gate,
    send_to_sign_in,
    sign_in_router,
)

#: Nothing a report says can run, be framed, or call anywhere: scripts and styles are our files.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_LOG: Final = logging.getLogger("edgepack.hub")
_COME_BACK_S: Final = 5
_SECURITY_HEADERS: Final = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def create_app(
    engine: Engine,
    settings: HubSettings | None = None,
    *,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    monotonic: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """Makes the hub's application.

    Args:
        engine: A database at today's tables.
        settings: The limits of this process.
        now_ms: The wall clock.
        monotonic: Seconds.

    Returns:
        The application; its lifespan starts and ends the threads that write and prune.
    """
    settings = settings or HubSettings()
    credentials, metrics = Credentials(engine), Metrics()

    def failed(error: Exception) -> None:
        metrics.count_commit_failure(error)
        _LOG.warning("the store did not take reports: %s", str(error).partition("\n")[0])

    watching = Watching(committed=metrics.observe_commit, failed=failed)
    committer = GroupCommitter(
        Recorder(engine), monotonic, most_waiting=settings.most_waiting, watching=watching
    )
    metrics.add(StoreCollector.over(engine, now_ms))
    metrics.watch_queue(lambda: committer.depth, settings.most_waiting)
    gate = Gate(credentials, now_ms, monotonic)
    rates = RateLimiter(settings.reports_per_minute, settings.burst, monotonic)
    pruner = _pruner(engine, settings, metrics, now_ms)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        prepare(Report)
        committer.start()
        if pruner is not None:
            pruner.start()
        yield
        if pruner is not None:
            pruner.stop()
        committer.stop()

    app = FastAPI(
        title="edgepack hub",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    intake = Intake(gate, credentials, committer, rates, metrics, now_ms)
    app.include_router(api_router(intake))
    app.include_router(answers_router(engine, now_ms), dependencies=[Depends(gate.reader)])
    app.include_router(pages_router(engine, now_ms), dependencies=[Depends(page_gate(gate))])
    app.include_router(sign_in_router(gate, secure_cookie=settings.secure_cookie))
    app.mount("/static", StaticFiles(packages=[("edgepack.hub.web", "static")]), name="static")
    _add_watching(app, engine, metrics, gate)
    for kind, excuse in _EXCUSES.items():
        app.add_exception_handler(kind, excuse)
    _describe(app)
    app.add_middleware(
        Shortcut,
        path=REPORTS_PATH,
        take=lambda request: take_reports(request, intake),
        excuses=_EXCUSES,
    )
    app.add_middleware(_SecurityHeaders)
    app.add_middleware(CountingRequests, metrics=metrics)
    return app


def _pruner(
    engine: Engine, settings: HubSettings, metrics: Metrics, now_ms: Callable[[], int]
) -> Pruner | None:
    if settings.prune_every_s is None:
        return None

    def failed(error: Exception) -> None:
        metrics.count_prune_failure()
        _LOG.warning("the store was not pruned: %s", str(error).partition("\n")[0])

    def pruned(found: Pruned) -> None:
        metrics.count_pruned(now_ms(), asdict(found))

    # A series that is not there yet has no rate.
    metrics.count_pruned(0, asdict(Pruned()))
    told = Told(pruned=pruned, failed=failed)
    return Pruner(engine, settings.retention, settings.prune_every_s, now_ms, told=told)


class _SecurityHeaders:
    """Puts the headers that keep a browser safe on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_SECURITY_HEADERS]
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def _add_watching(app: FastAPI, engine: Engine, metrics: Metrics, gate: Gate) -> None:
    @app.get("/healthz", tags=["watching"])
    def healthz() -> Response:
        """Says whether this process can reach its database."""
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not healthy
            return JSONResponse({"status": "unhealthy", "error": type(error).__name__}, 503)
        return JSONResponse({"status": "ok", "version": __version__})

    @app.get("/metrics", tags=["watching"], dependencies=[Depends(gate.reader)])
    def exposition() -> Response:
        """Tells Prometheus what this process counts; a reader's token is needed."""
        data, kind = metrics.exposition()
        return Response(data, media_type=kind)


async def _refused(request: Request, error: StarletteHTTPException) -> Response:
    if error.status_code == HTTPStatus.NOT_FOUND and "text/html" in request.headers.get(
        "Accept", ""
    ):
        return error_page(404, "No such page", "There is nothing at this address.")
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _no_database(_request: Request, error: OperationalError) -> Response:
    # The database is away or full: not a fault of the question, and it may be back soon.
    _LOG.warning("the database does not answer: %s", str(error.orig).splitlines()[0])
    return JSONResponse(
        {"error": "the store does not answer now"}, 503, {"Retry-After": str(_COME_BACK_S)}
    )


async def _not_signed_in(_request: Request, error: SignInError) -> Response:
    return send_to_sign_in(error)


async def _invalid(_request: Request, error: RequestValidationError) -> Response:
    problems = [
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
    ]
    return JSONResponse({"error": "the request is wrong", "problems": problems}, 400)


_EXCUSES: Final[Mapping[type[Exception], Excuse]] = {
    StarletteHTTPException: _refused,
    OperationalError: _no_database,
    SignInError: _not_signed_in,
    RequestValidationError: _invalid,
}


def _describe(app: FastAPI) -> None:
    """Has the description name how tokens come, which FastAPI cannot see."""

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schema.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
            for path, operations in schema["paths"].items():
                if path == "/metrics" or (path.startswith("/api/") and "get" in operations):
                    operations["get"]["security"] = [{name: []} for name in SECURITY_SCHEMES]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
