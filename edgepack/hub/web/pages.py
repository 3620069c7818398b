"""The pages: fleet, device, comparison, choice, releases; each view has an address.

Who may read is settled before. It is not aware of how answers are found or drawn. Used by the app.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from edgepack.formats.errors import ConfigError, HubError
from edgepack.hub import asking
from edgepack.hub.answers.params import (
    ParamReader,
    compare_query,
    device_days,
    fleet_query,
    select_query,
)
from edgepack.hub.web.answers_api import (
    Clock,
    device_unknown,
    document_unknown,
    release_unknown,
)
from edgepack.hub.web.asked import (
    BAD_REQUEST,
    BROKEN,
    NOT_FOUND,
    addresses_of,
    params_in,
    sentence,
    source_of,
)
from edgepack.hub.web.rendering import error_page, render
from edgepack.hub.web.views.compare import compare_view
from edgepack.hub.web.views.device import device_view, document_view
from edgepack.hub.web.views.fleet import fleet_view
from edgepack.hub.web.views.releases import release_view, releases_view
from edgepack.hub.web.views.select import select_view
from edgepack.hub.web.views.tables import Place


class PageRoute(APIRoute):
    """A route that says what is wrong with a question as a page."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns the handler that names faults."""
        handle = super().get_route_handler()

        async def named(request: Request) -> Response:
            try:
                return await handle(request)
            except ConfigError as error:
                return _refused(request, BAD_REQUEST, "This cannot be asked", error.message)
            except HubError as error:
                return _refused(request, BROKEN, "This cannot be shown", error.message)

        return named


def pages_router(engine: Engine, now_ms: Clock) -> APIRouter:
    """Makes the routes of the pages.

    Args:
        engine: The store.
        now_ms: The moment by which silence is judged.

    Returns:
        The router; whoever mounts it says who may read, and serves `/static`.
    """
    router = APIRouter(route_class=PageRoute, include_in_schema=False)
    _add_devices(router, engine, now_ms)
    _add_comparisons(router, engine)
    _add_select(router, engine, now_ms)
    return router


def _add_devices(router: APIRouter, engine: Engine, now_ms: Clock) -> None:
    @router.get("/")
    def fleet(request: Request) -> Response:
        params = params_in(request)
        query = fleet_query(params)
        with engine.connect() as connection:
            answer = asking.fleet(connection, query, now_ms=now_ms())
        place = Place(addresses_of(request), (), ("fleet",), params)
        return _page(request, "fleet.html", fleet_view(answer, place))

    # A name may hold a slash, so what is below it is looked for first.
    @router.get("/devices/{name:path}/reports/{report_id}")
    def document(request: Request, name: str, report_id: str) -> Response:
        with engine.connect() as connection:
            found = asking.document(connection, _plain(name), _plain(report_id))
        if found is None:
            return _refused(request, NOT_FOUND, "No such report", document_unknown(name, report_id))
        path = ("devices", name, "reports", report_id)
        place = Place(addresses_of(request), path, path)
        return _page(request, "document.html", document_view(name, report_id, found, place))

    @router.get("/devices/{name:path}")
    def device(request: Request, name: str) -> Response:
        params = params_in(request)
        days = device_days(params)
        with engine.connect() as connection:
            answer = asking.device(connection, _plain(name), now_ms=now_ms(), days=days)
        if answer is None:
            return _refused(request, NOT_FOUND, "No such device", device_unknown(name))
        path = ("devices", name)
        place = Place(addresses_of(request), path, path, params)
        return _page(request, "device.html", device_view(answer, place))


def _add_comparisons(router: APIRouter, engine: Engine) -> None:
    @router.get("/compare")
    def compare(request: Request) -> Response:
        params = params_in(request)
        query = compare_query(params)
        with engine.connect() as connection:
            answer = asking.compare(connection, query)
        place = Place(addresses_of(request), ("compare",), ("compare",), params)
        return _page(request, "compare.html", compare_view(answer, place))

    @router.get("/releases")
    def releases(request: Request) -> Response:
        params = params_in(request)
        read = ParamReader(params)
        model, target = read.text("model"), read.text("target")
        read.checked(None)
        with engine.connect() as connection:
            answer = asking.releases(connection, model=model, target=target)
        place = Place(addresses_of(request), ("releases",), ("releases",), params)
        return _page(request, "releases.html", releases_view(answer, place))

    @router.get("/releases/{bundle_id:path}")
    def release(request: Request, bundle_id: str) -> Response:
        params = params_in(request)
        read = ParamReader(params)
        before = read.checked(read.text("before"))
        with engine.connect() as connection:
            answer = asking.release(connection, _plain(bundle_id), before=before)
        if answer is None:
            message = release_unknown(bundle_id, before)
            return _refused(request, NOT_FOUND, "No such release", message)
        path = ("releases", bundle_id)
        place = Place(addresses_of(request), path, path, params)
        return _page(request, "release.html", release_view(answer, place))


def _add_select(router: APIRouter, engine: Engine, now_ms: Clock) -> None:
    @router.get("/select")
    def select(request: Request) -> Response:
        params = params_in(request)
        # Without a target there is nothing to rank yet, but the limits are kept in the form.
        named = any(name == "target" for name, _ in params)
        query = select_query(params if named else [*params, ("target", "-")])
        with engine.connect() as connection:
            known = asking.releases(connection).releases
            answer = (
                asking.select(connection, query, now_ms=now_ms(), source=source_of(request))
                if named
                else None
            )
        place = Place(addresses_of(request), ("select",), ("select",), params)
        return _page(request, "select.html", select_view(answer, known, place))


def _page(request: Request, template: str, values: dict[str, Any]) -> Response:
    return render(template, addresses=addresses_of(request), **values)


def _refused(request: Request, status: int, title: str, message: str) -> Response:
    text = sentence(message)
    shown = f"{text[:1].upper()}{text[1:]}."
    return error_page(status, title, shown, addresses=addresses_of(request))


def _plain(part: str) -> str:
    """Returns a part of a path; what holds a zero byte is no name at all."""
    return "" if "\0" in part else part
