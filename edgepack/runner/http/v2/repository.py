"""The model repository as Triton's clients see it: what there is, load, unload.

A box has one model; loading means taking the release that is installed now. It is not aware of
how releases are loaded. Used by `routes`.

Source: Triton, docs/protocol/extension_model_repository.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from edgepack.runner.http.app import App
from edgepack.runner.http.content import decoded_body
from edgepack.runner.http.jobs import Later
from edgepack.runner.http.messages import JSON_TYPE, RefusalError, Response, json_response
from edgepack.runner.http.v2.fields import flag, parameters_of, parse_object, refuse, shown
from edgepack.runner.http.v2.lookup import check_model
from edgepack.runner.http.wire import Request

#: What a reload says that changed nothing because the new release does not run here.
_REFUSED = "refused"
_DONE = Response(HTTPStatus.OK, b"", JSON_TYPE)


def repository_index(app: App, request: Request, _parameters: Sequence[str]) -> Response:
    """Answers `POST /v2/repository/index`."""
    asked = _optional_object(app, request)
    only_ready = flag(asked, "ready", "the request")
    entries = []
    for _, live in app.models.all():
        ready = live.usable_engine is not None
        if ready or not only_ready:
            entries.append(
                {
                    "name": live.name,
                    "version": live.version,
                    "state": "READY" if ready else "UNAVAILABLE",
                    "reason": "" if ready else "unloaded",
                }
            )
    return json_response(entries)


def load_model(app: App, request: Request, parameters: Sequence[str]) -> Response | Later:
    """Answers `POST /v2/repository/models/…/load`: takes the release that is installed now.

    Raises:
        RefusalError: Another model, parameters, no way to load, or the release was refused.
    """
    _refuse_web_page(request)
    (name,) = parameters
    check_model(app, name)
    given = parameters_of(_optional_object(app, request), "the request")
    if given:
        refuse(
            f"the parameter {shown(min(given))} is not supported: what is loaded is "
            "the release that is installed"
        )
    reload = app.reload
    if reload is None:
        refuse("explicit model load / unload is not allowed if polling is enabled")

    async def wait() -> Response:
        if await reload() == _REFUSED:
            refuse(
                f"failed to load '{app.models.name}': the installed release was refused; the "
                "server's log says why"
            )
        return _DONE

    return Later(wait)


def unload_model(app: App, request: Request, parameters: Sequence[str]) -> Response:
    """Answers `POST /v2/repository/models/…/unload`: gives the engine's memory back.

    Requests that run are answered first; recommendations are the popular items from now on.

    Raises:
        RefusalError: Another model, or the request is a web page's.
    """
    _refuse_web_page(request)
    (name,) = parameters
    check_model(app, name)
    given = parameters_of(_optional_object(app, request), "the request")
    flag(given, "unload_dependents", "the request")
    for _, live in app.models.all():
        if live.usable_engine is not None:
            live.withdraw()
            app.retire(live)
    return _DONE


def _optional_object(app: App, request: Request) -> dict[str, object]:
    body = decoded_body(request.headers, request.body, app.body_bytes)
    return parse_object(body) if body else {}


def _refuse_web_page(request: Request) -> None:
    # A page open on the box's own screen could send this to loopback without being asked first.
    if "origin" in request.headers:
        raise RefusalError(
            HTTPStatus.FORBIDDEN, "the model repository is not controlled from a web page"
        )
