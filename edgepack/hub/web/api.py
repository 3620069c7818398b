"""The interface for boxes: reports, enrolment, rotation; and the health of the process.

It is not aware of pages or of the database. Used by `app`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from edgepack.formats.canonical import parse_json
from edgepack.formats.errors import BundleError, Problem
from edgepack.hub.access.credentials import Bearer, Credentials, EnrolError
from edgepack.hub.access.roles import Role
from edgepack.hub.intake.committing import BusyError, GroupCommitter, NotWrittenError
from edgepack.hub.intake.rates import RateLimiter
from edgepack.hub.intake.submission import (
    MAX_BODY_BYTES,
    Refused,
    Sender,
    UnreadableError,
    decode_body,
    read_report,
    split_lines,
)
from edgepack.hub.store.recording import Accepted, Outcome
from edgepack.hub.web.gate import Gate, token_of
from edgepack.hub.web.metrics import Metrics, Refusal, Taken
from edgepack.hub.web.openapi import ENROL, REPORTS, ROTATE

REPORTS_PATH: Final = "/api/reports"
_STATUS: Final = {Outcome.NEW: 201, Outcome.SEEN: 200, Outcome.CONFLICT: 409}
_TAKEN: Final = {201: Taken.NEW, 200: Taken.SEEN}
_MULTI_STATUS: Final = 207
_MAX_ENROL_BYTES: Final = 4096
#: When a hub that is full or whose disk is wants to be asked again.
_COME_BACK: Final = {"Retry-After": "5"}
#: Judging a report takes about a millisecond; more of them are judged beside the event loop.
_JUDGED_INLINE: Final = 2


@dataclass(frozen=True, slots=True)
class Intake:
    """What the interface works with."""

    gate: Gate
    credentials: Credentials
    committer: GroupCommitter
    rates: RateLimiter
    metrics: Metrics
    now_ms: Callable[[], int]


def api_router(intake: Intake) -> APIRouter:
    """Makes the routes.

    Args:
        intake: What they work with.
    """
    router = APIRouter(tags=["boxes"])

    @router.post(REPORTS_PATH, openapi_extra=REPORTS, status_code=201)
    async def reports(request: Request) -> Response:
        """Takes one report, or several as JSON lines; answered when they are on disk."""
        return await take_reports(request, intake)

    @router.post("/api/enrol", openapi_extra=ENROL, status_code=201)
    async def enrol(request: Request) -> Response:
        """Makes a device and its token."""
        bearer = await intake.gate.require(request, Role.ENROL)
        asked = _object(await _body(request, _MAX_ENROL_BYTES))
        name, label = asked.get("device_id"), asked.get("label", "")
        if not isinstance(name, str) or not isinstance(label, str):
            raise HTTPException(422, "expected an object with device_id and, if wanted, label")
        token = await _or_refuse(intake.credentials.enrol, bearer, name, label, intake.now_ms())
        return JSONResponse({"token": token, "device_id": name}, 201)

    @router.post("/api/rotate", openapi_extra=ROTATE, status_code=201)
    async def rotate(request: Request) -> Response:
        """Replaces a device's token; the old one ends at once."""
        bearer = await intake.gate.require(request, Role.DEVICE)
        token = await _or_refuse(intake.credentials.rotate, bearer, intake.now_ms())
        intake.gate.forget(token_of(request) or "")
        return JSONResponse({"token": token, "device_id": bearer.device}, 201)

    return router


async def take_reports(request: Request, intake: Intake) -> Response:
    """Takes one report, or several as JSON lines; answered when they are on disk.

    Args:
        request: Its body is not read yet.
        intake: What it works with.

    Raises:
        HTTPException: Nothing of it was taken.
    """
    begin = time.monotonic()
    try:
        answer = await _take(request, intake)
    except _StoreError:
        intake.metrics.count_refused(Refusal.STORE)
        raise
    except HTTPException as error:
        intake.metrics.count_refused(Refusal.of_status(error.status_code))
        raise
    intake.metrics.observe_ingest(time.monotonic() - begin)
    return answer


async def _take(request: Request, intake: Intake) -> Response:
    bearer = await intake.gate.require(request, Role.DEVICE)
    sender = _sender(bearer)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/x-ndjson"):
        raise HTTPException(
            415, f"got the content type {kind[:60]!r}; application/json or application/x-ndjson"
        )
    body = await _body(request, MAX_BODY_BYTES)
    try:
        coding = request.headers.get("Content-Encoding", "")
        plain = decode_body(body, coding)
        lines = split_lines(plain) if kind == "application/x-ndjson" else [plain]
    except UnreadableError as error:
        raise HTTPException(error.status, error.message) from error
    wait_s = intake.rates.wait_s(sender.name, len(lines))
    if wait_s:
        raise HTTPException(
            429, "this device sends too much", {"Retry-After": str(int(wait_s) + 1)}
        )
    judged, written = await _judge_and_put(lines, sender, intake)
    outcomes = await _outcomes(written)
    answers = _answers(judged, outcomes)
    for answer in answers:
        _count(intake.metrics, answer)
    if kind == "application/json":
        return JSONResponse(answers[0].document, answers[0].status)
    statuses = {answer.status for answer in answers}
    # Of several that were all taken, some now and some before, 200 is true of each.
    alike = len(statuses) == 1 or statuses <= set(_TAKEN)
    status = min(statuses) if alike else _MULTI_STATUS
    return JSONResponse(
        {"reports": [{"status": each.status, **each.document} for each in answers]}, status
    )


async def _judge_and_put(
    lines: Sequence[bytes], sender: Sender, intake: Intake
) -> tuple[list[Accepted | Refused], asyncio.Future[list[Outcome]] | None]:
    now_ms = intake.now_ms()

    def judge() -> list[Accepted | Refused]:
        return [read_report(line, sender, now_ms) for line in lines]

    if len(lines) > _JUDGED_INLINE:
        judged = await run_in_threadpool(judge)
        return judged, _put(judged, intake)
    with intake.committer.coming():
        # Whoever else is here by now says so as well, before the first is judged.
        await asyncio.sleep(0)
        judged = judge()
        return judged, _put(judged, intake)


def _put(
    judged: Sequence[Accepted | Refused], intake: Intake
) -> asyncio.Future[list[Outcome]] | None:
    accepted = [each for each in judged if isinstance(each, Accepted)]
    try:
        return intake.committer.put(accepted) if accepted else None
    except BusyError as error:
        raise HTTPException(503, "more reports wait than the hub takes", _COME_BACK) from error


async def _outcomes(written: asyncio.Future[list[Outcome]] | None) -> list[Outcome]:
    try:
        return [] if written is None else await written
    except NotWrittenError as error:
        raise _StoreError(503, "the store does not take reports now", _COME_BACK) from error


class _StoreError(HTTPException):
    """The store failed: not the sender's fault, nor that there are too many."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    document: Mapping[str, Any]


def _answers(judged: Sequence[Accepted | Refused], outcomes: Sequence[Outcome]) -> list[_Answer]:
    written = iter(outcomes)
    answers = []
    for each in judged:
        if isinstance(each, Refused):
            answers.append(_Answer(each.status, _refusal(each)))
            continue
        outcome = next(written)
        document: dict[str, Any] = {"report_id": each.report_id, "outcome": str(outcome)}
        if outcome is Outcome.CONFLICT:
            document["error"] = "another report has this id"
        answers.append(_Answer(_STATUS[outcome], document))
    return answers


def _refusal(refused: Refused) -> dict[str, Any]:
    document: dict[str, Any] = {"error": refused.message}
    if refused.report_id is not None:
        document["report_id"] = refused.report_id
    if refused.problems:
        document["problems"] = [_told(problem) for problem in refused.problems]
    return document


def _told(problem: Problem) -> str:
    return str(problem)[:300]


def _count(metrics: Metrics, answer: _Answer) -> None:
    taken = _TAKEN.get(answer.status)
    if taken is None:
        metrics.count_refused(Refusal.of_status(answer.status))
    else:
        metrics.count_taken(taken)


async def _body(request: Request, limit: int) -> bytes:
    told = request.headers.get("Content-Length", "")
    if told.isascii() and told.isdigit() and int(told[:18]) > limit:
        raise HTTPException(413, f"the body has {told[:18]} bytes; at most {limit} are taken")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise HTTPException(413, f"the body has more than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return parse_json(body, what="the body")
    except BundleError as error:
        raise HTTPException(400, error.message) from error


def _sender(bearer: Bearer) -> Sender:
    if bearer.device_id is None or bearer.device is None:
        raise HTTPException(403, "the token is of no device")
    return Sender(bearer.device_id, bearer.device)


async def _or_refuse(act: Callable[..., str], *arguments: Any) -> str:
    try:
        return await run_in_threadpool(act, *arguments)
    except EnrolError as error:
        raise HTTPException(error.status, error.message) from error
