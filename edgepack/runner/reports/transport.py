"""Sends a report over HTTP; the only file of the runner that opens an outgoing connection.

It is not aware of the spool. Used by `report --send` and by the daemon's `sender`.
"""

from __future__ import annotations

import contextlib
import email.utils
import functools
import http.client
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgepack.formats.errors import ConfigError, HubError
from edgepack.runner.clock import Clock, SystemClock
from edgepack.runner.reports.address import check_url, is_loopback_url
from edgepack.runner.reports.delivery import Delivery, Verdict

#: Enough for any answer's sentence; a receiver that sends more is not listened to.
_MAX_ANSWER_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 200
_SUCCESS = range(200, 300)
_CONFLICT = 409
_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429
_UNAVAILABLE = 503
#: A hub that asks for a longer silence is taken at a day: its boxes must not forget it.
MAX_RETRY_AFTER_S = 86_400.0


class HttpTransport:
    """POSTs reports to a URL (a `Transport`).

    A step (to connect, to send it all, to hear a next byte) may take `timeout_s`, and all of a
    report `deadline_s`: a receiver that drips its answer ends there.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        ca_file: Path | None = None,
        timeout_s: float = 30.0,
        deadline_s: float = 120.0,
        clock: Clock | None = None,
    ) -> None:
        self._url = check_url(url, with_token=token is not None)
        self._token = token
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._clock = SystemClock() if clock is None else clock
        self._line = _Line()
        handlers: list[urllib.request.BaseHandler] = [
            _EveryAnswer(),
            _HttpHandler(self._line),
            _HttpsHandler(self._line, _tls_context(ca_file)),
        ]
        if is_loopback_url(url):
            # A token that may go to this box in the clear may not go to its proxy.
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, report_id: str, data: bytes) -> Delivery:
        """POSTs a report as JSON with its id as the idempotency key; see `Transport.send`."""
        try:
            with self._post(data, {"Idempotency-Key": report_id}) as answer:
                return self._judge(answer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Delivery(Verdict.UNREACHABLE, self._reason(error))

    def ask(self, document: bytes) -> tuple[int, bytes]:
        """POSTs a JSON document that is no report.

        Args:
            document: Its bytes.

        Returns:
            The status and the first 64 KiB of the answer.

        Raises:
            HubError: Nobody answers, or not in time.
        """
        try:
            with self._post(document, {}) as answer:
                return answer.status, answer.read(_MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise HubError(f"{self._url}: {self._reason(error)}") from error

    def cancel(self) -> None:
        """Ends a `send` that another thread is in, and every later one, at once."""
        self._line.cut("stopped")

    @contextlib.contextmanager
    def _post(self, data: bytes, more: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        headers = {"Content-Type": "application/json", **more}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(  # noqa: S310 - check_url has allowed only http(s)
            self._url, data=data, headers=headers, method="POST"
        )
        with (
            self._line.open_for(self._deadline_s),
            self._opener.open(request, timeout=self._timeout_s) as answer,
        ):
            if self._line.cut_off is not None:
                # To the parser, a connection that was cut ends the headers like any other.
                raise OSError(self._line.cut_off)
            yield answer

    def _reason(self, error: Exception) -> str:
        reason = self._line.cut_off or getattr(error, "reason", None) or error
        return (str(reason) or type(error).__name__)[:_SHOWN_CHARACTERS]

    def _judge(self, answer: http.client.HTTPResponse) -> Delivery:
        status, headers = answer.status, answer.headers
        if status in _SUCCESS and headers.get_content_type() == "text/html":
            # The sign-in page of a shop's network answers everything with 200.
            return Delivery(Verdict.UNREACHABLE, f"HTTP {status}: a web page, not a hub")
        wait_s = None
        if status in (_TOO_MANY_REQUESTS, _UNAVAILABLE):
            wait_s = parse_retry_after(
                headers.get("Retry-After", ""), headers.get("Date", ""), self._clock.utc_now()
            )
        return Delivery(_verdict_of(status), f"HTTP {status}{_text_of(answer)}", wait_s)


def parse_retry_after(text: str, date: str, now: datetime) -> float | None:
    """Reads when a hub wants to be asked again.

    Args:
        text: The header `Retry-After`; empty where there is none.
        date: The header `Date`, from which a date is counted where there is one.
        now: The box's own time, which may be wrong.

    Returns:
        Seconds, 0 to a day; None when it does not say, or nothing that can be read.

    Source: RFC 9110, 10.2.3 Retry-After: a number of seconds or an HTTP date.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        # More digits than this are more than a day whatever they say.
        return min(float(text[:10]), MAX_RETRY_AFTER_S)
    wanted = _parse_date(text)
    if wanted is None:
        return None
    sent = _parse_date(date) or now
    return min(max((wanted - sent).total_seconds(), 0.0), MAX_RETRY_AFTER_S)


def _parse_date(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    # A zone of -0000 comes without one.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _verdict_of(status: int) -> Verdict:
    # A receiver that already has the report is as good as one that takes it.
    if status in _SUCCESS or status == _CONFLICT:
        return Verdict.ACCEPTED
    # The report itself was judged: sending it again would change nothing.
    judged = 400 <= status < 500 and status not in (_REQUEST_TIMEOUT, _TOO_MANY_REQUESTS)  # noqa: PLR2004
    # A wrong token or address is the box's fault, not the report's: keep it.
    return Verdict.REFUSED if judged and status not in (401, 403, 404) else Verdict.UNREACHABLE


def _text_of(answer: http.client.HTTPResponse) -> str:
    try:
        text = answer.read(_MAX_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException, ValueError):
        # The status has been heard, and is what counts.
        return ""
    return f": {text[:_SHOWN_CHARACTERS]}" if text else ""


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"{ca_file}: no certificate to trust can be read: {reason}",
            hint="it must be a PEM file of certificates",
        ) from error


class _Line:
    """A transport's connection, which a deadline or another thread can cut."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._twin: socket.socket | None = None
        self._ended = False
        self.cut_off: str | None = None

    @contextlib.contextmanager
    def open_for(self, deadline_s: float) -> Iterator[None]:
        """Lets one exchange happen, and cuts it when its time is up."""
        with self._lock:
            if self._ended:
                raise OSError(self.cut_off)
            self.cut_off = None
        timer = threading.Timer(deadline_s, self._expire, (f"no end within {deadline_s:g} s",))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                if self._twin is not None:
                    self._twin.close()
                    self._twin = None

    def connected(self, connection: socket.socket) -> None:
        """Takes a connection in.

        Its twin is kept: TLS takes the socket itself away, and shutting down either ends both.
        """
        with self._lock:
            if self._twin is not None:
                self._twin.close()
            self._twin = connection.dup()
            if self.cut_off is not None:
                raise OSError(self.cut_off)

    def cut(self, why: str) -> None:
        """Ends the exchange and every later one."""
        with self._lock:
            self._ended = True
        self._expire(why)

    def _expire(self, why: str) -> None:
        with self._lock:
            self.cut_off = why
            if self._twin is not None:
                with contextlib.suppress(OSError):
                    self._twin.shutdown(socket.SHUT_RDWR)


class _HttpConnection(http.client.HTTPConnection):
    line: _Line

    def connect(self) -> None:
        super().connect()
        self.line.connected(self.sock)


class _HttpsConnection(http.client.HTTPSConnection, _HttpConnection):
    """Connects through the class beside it first, so that the handshake can be cut as well."""


def _on_line(
    line: _Line, kind: type[_HttpConnection], host: str, **options: Any
) -> _HttpConnection:
    connection = kind(host, **options)
    connection.line = line
    return connection


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_on_line, self._line, _HttpConnection), req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, line: _Line, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._line = line
        self._trusted = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        connection = functools.partial(_on_line, self._line, _HttpsConnection)
        return self.do_open(connection, req, context=self._trusted)


class _EveryAnswer(urllib.request.HTTPErrorProcessor):
    """Returns every answer as it is.

    Above all a redirect: following one would repeat the POST as a GET, or carry the token
    elsewhere.
    """

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response
