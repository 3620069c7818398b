"""Sends a report over HTTP; the only file of the runner that opens an outgoing connection.

It is not aware of the spool. Used by `sending`; tests pass a transport of their own.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any, NoReturn, Protocol

from edgepack.runner.reports.address import check_url

#: Enough for any answer's sentence; a receiver that sends more is not listened to.
_MAX_ANSWER_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 200
_TOO_MANY_REQUESTS = 429
_CONFLICT = 409
_REQUEST_TIMEOUT = 408


class Verdict(StrEnum):
    """What became of a report."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer to one report: what became of it, and in the receiver's words why."""

    verdict: Verdict
    detail: str


class Transport(Protocol):
    """Brings one report to its receiver."""

    def send(self, report_id: str, data: bytes) -> Delivery:
        """Sends a report once.

        Args:
            report_id: Its UUID, by which the receiver knows a second copy.
            data: Its bytes.

        Returns:
            What became of it; a network that is down is an answer, not an exception.
        """
        ...


class HttpTransport:
    """POSTs reports to a URL (a `Transport`)."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 10.0) -> None:
        self._url = check_url(url, with_token=token is not None)
        self._token = token
        self._timeout_s = timeout_s
        # A redirect would repeat the POST as a GET, or carry the token elsewhere.
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, report_id: str, data: bytes) -> Delivery:
        """POSTs a report as JSON with its id as the idempotency key; see `Transport.send`."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": report_id}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310 - check_url has allowed only http(s)
            self._url, data=data, headers=headers, method="POST"
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return Delivery(Verdict.ACCEPTED, f"HTTP {answer.status}{_text_of(answer)}")
        except urllib.error.HTTPError as error:
            with error:
                return Delivery(_verdict_of(error.code), f"HTTP {error.code}{_text_of(error)}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            return Delivery(Verdict.UNREACHABLE, str(reason)[:_SHOWN_CHARACTERS])


def _verdict_of(status: int) -> Verdict:
    # A receiver that already has the report is as good as one that takes it.
    if status == _CONFLICT:
        return Verdict.ACCEPTED
    # The report itself was judged: sending it again would change nothing.
    judged = 400 <= status < 500 and status not in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS)  # noqa: PLR2004
    # A wrong token or address is the box's fault, not the report's: keep it.
    return Verdict.REFUSED if judged and status not in (401, 403, 404) else Verdict.UNREACHABLE


def _text_of(answer: IO[bytes] | Any) -> str:
    try:
        text = answer.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return f": {text[:_SHOWN_CHARACTERS]}" if text else ""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> NoReturn:
        raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302
