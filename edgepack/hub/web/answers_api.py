"""The answers as JSON and CSV: `/api/fleet`, `/api/fleet.csv` and the others.

Who may ask is settled before. It is not aware of how answers are found. Used by the app.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import fields, replace
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgepack.formats.errors import ConfigError, HubError
from edgepack.formats.typed import to_plain
from edgepack.hub import asking
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.params import (
    ParamReader,
    compare_query,
    device_days,
    fleet_query,
    select_query,
)
from edgepack.hub.answers.sheet import Answer, Sheet, sheet_of
from edgepack.hub.web.answer_charts import charts_of
from edgepack.hub.web.asked import BAD_REQUEST, BROKEN, NOT_FOUND, params_in, sentence, source_of

Clock = Callable[[], int]

_CSV: Final = ".csv"
_TABLE: Final = {"table": "Only the table of this name; CSV gives the first without it."}
_CHARTS: Final = {"charts": "With 1, JSON also has the page's charts, as SVG."}
_FLEET: Final = {each.name: "" for each in fields(FleetQuery)}
_COMPARE: Final = {
    **{each.name: "" for each in fields(CompareQuery) if each.name != "facts"},
    "fact": "A fact of the context as PATH=VALUE; may come more than once.",
}
_SELECT: Final = dict.fromkeys(
    ("target", "model", "box", "scenario", "max_p99_ms", "max_size_mb", "min_quality"), ""
)


def refusal(status: int, message: str) -> JSONResponse:
    """Returns what the API says where it does not answer."""
    return JSONResponse({"error": message}, status)


class AnswerRoute(APIRoute):
    """A route that says what is wrong with a question as JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns the handler that names faults."""
        handle = super().get_route_handler()

        async def named(request: Request) -> Response:
            try:
                return await handle(request)
            except ConfigError as error:
                return refusal(BAD_REQUEST, sentence(error.message))
            except HubError as error:
                return refusal(BROKEN, sentence(error.message))

        return named


def answers_router(engine: Engine, now_ms: Clock) -> APIRouter:
    """Makes the routes of the answers.

    Args:
        engine: The store.
        now_ms: The moment by which silence is judged.

    Returns:
        The router; whoever mounts it says who may read.
    """
    router = APIRouter(prefix="/api", route_class=AnswerRoute, tags=["answers"])
    _add_tables(router, engine, now_ms)
    _add_device(router, engine, now_ms)
    _add_select(router, engine, now_ms)
    return router


def _add_tables(router: APIRouter, engine: Engine, now_ms: Clock) -> None:
    def fleet(request: Request) -> Response:
        """The devices, those that need attention first."""
        with engine.connect() as connection:
            query = fleet_query(params_in(request))
            return _answered(request, asking.fleet(connection, query, now_ms=now_ms()))

    def compare(request: Request) -> Response:
        """Targets, runtimes and precisions, measured alike; or what differs."""
        query = compare_query(params_in(request))
        with engine.connect() as connection:
            return _answered(request, asking.compare(connection, query))

    def releases(request: Request) -> Response:
        """The releases, the newest first."""
        read = ParamReader(params_in(request))
        model, target = read.text("model"), read.text("target")
        read.checked(None)
        with engine.connect() as connection:
            found = asking.releases(connection, model=model, target=target)
        return _answered(request, found)

    def release(request: Request, bundle_id: str) -> Response:
        """A release against an earlier one on the same boxes."""
        read = ParamReader(params_in(request))
        before = read.checked(read.text("before"))
        with engine.connect() as connection:
            found = asking.release(connection, _plain(bundle_id), before=before)
        if found is None:
            return refusal(NOT_FOUND, release_unknown(bundle_id, before))
        return _answered(request, found)

    _add(router, "/fleet", fleet, _FLEET)
    _add(router, "/compare", compare, _COMPARE)
    _add(router, "/releases", releases, {"model": "", "target": ""})
    _add(
        router, "/releases/{bundle_id:path}", release, {"before": "The release it is held against."}
    )


def _add_device(router: APIRouter, engine: Engine, now_ms: Clock) -> None:
    def device(request: Request, name: str) -> Response:
        """A device over time; with `.csv` behind its name, a table of it."""
        days = device_days(params_in(request))
        with engine.connect() as connection:
            found = asking.device(connection, _plain(name), now_ms=now_ms(), days=days)
            # A device may be called so; only where there is none is it the ending.
            as_csv = found is None and name.endswith(_CSV)
            if as_csv:
                short = _plain(name.removesuffix(_CSV))
                found = asking.device(connection, short, now_ms=now_ms(), days=days)
        if found is None:
            return refusal(NOT_FOUND, device_unknown(name))
        return _answered(request, found, as_csv=as_csv)

    def document(name: str, report_id: str) -> Response:
        """A report as the device sent it."""
        with engine.connect() as connection:
            found = asking.document(connection, _plain(name), _plain(report_id))
        if found is None:
            return refusal(NOT_FOUND, document_unknown(name, report_id))
        return Response(found, media_type="application/json")

    description = _described({"days": "How far back."} | _TABLE | _CHARTS)
    # A name may hold a slash, so what is below it is looked for first.
    router.add_api_route("/devices/{name:path}/reports/{report_id}", document)
    router.add_api_route("/devices/{name:path}", device, openapi_extra=description)


def _add_select(router: APIRouter, engine: Engine, now_ms: Clock) -> None:
    def select(request: Request) -> Response:
        """A target's variants, ranked by trusted latency in the field; JSON is evidence.

        With `table` it is that table alone, as the other questions have theirs.
        """
        params = params_in(request)
        query = select_query(params)
        with engine.connect() as connection:
            found = asking.select(connection, query, now_ms=now_ms(), source=source_of(request))
        if request.url.path.endswith(_CSV) or ParamReader(params).text("table"):
            sheet = sheet_of(found)
            # The sheet says in sentences what is needed; a program wants rows.
            return _answered(request, replace(sheet, tables=(*sheet.tables, found.needed)))
        return _json(to_plain(found.evidence))

    _add(router, "/select", select, _SELECT)


def _add(
    router: APIRouter, path: str, handler: Callable[..., Response], params: dict[str, str]
) -> None:
    """Adds a question with its answer as JSON, and as CSV beside it."""
    description = _described(params | _TABLE | ({} if path == "/select" else _CHARTS))
    # The one with the ending comes first, or it would be taken for a part of a name.
    router.add_api_route(f"{path}{_CSV}", handler, openapi_extra=description, name=f"{path}{_CSV}")
    router.add_api_route(path, handler, openapi_extra=description, name=path)


def _described(params: dict[str, str]) -> dict[str, Any]:
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": {"type": "string"},
                **({"description": text} if text else {}),
            }
            for name, text in params.items()
        ]
    }


def _plain(part: str) -> str:
    """Returns a part of a path; what holds a zero byte is no name at all."""
    return "" if "\0" in part else part


def device_unknown(name: str) -> str:
    """Says that there is no such device."""
    return f"there is no device '{name:.200}'"


def document_unknown(name: str, report_id: str) -> str:
    """Says that there is no such report."""
    return f"there is no report {report_id:.64} of '{name:.200}', or its document is no longer kept"


def release_unknown(bundle_id: str, before: str | None) -> str:
    """Says that there is no such release."""
    against = f", or none other that begins with '{before:.64}'" if before else ""
    return f"there is no one release that begins with '{bundle_id:.64}'{against}"


def _answered(request: Request, answer: Answer | Sheet, *, as_csv: bool | None = None) -> Response:
    """Returns an answer as the address asks for it."""
    sheet = answer if isinstance(answer, Sheet) else sheet_of(answer)
    read = ParamReader(params_in(request))
    wanted = read.text("table")
    if read.checked(read.one_of("charts", ("1",))) and not isinstance(answer, Sheet):
        sheet = replace(sheet, charts=charts_of(answer))
    if wanted is not None:
        sheet = replace(sheet, tables=_chosen(sheet, wanted))
    if request.url.path.endswith(_CSV) if as_csv is None else as_csv:
        table = sheet.tables[0]
        # The name comes from us, never from a box.
        headers = {"Content-Disposition": f'attachment; filename="{_file_name(table.key)}.csv"'}
        return Response(table.to_csv(), media_type="text/csv; charset=utf-8", headers=headers)
    return _json(sheet.to_json())


def _file_name(key: str) -> str:
    return "".join(each for each in key if each.isascii() and each.isalnum()) or "table"


def _chosen(sheet: Sheet, wanted: str) -> tuple[Any, ...]:
    found = tuple(each for each in sheet.tables if each.key == wanted)
    if not found:
        known: Sequence[str] = [each.key for each in sheet.tables]
        raise ConfigError(
            f"the question: table: got '{wanted}', expected one of {', '.join(known)}"
        )
    return found[:1]


def _json(value: Any) -> Response:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), media_type="application/json")
