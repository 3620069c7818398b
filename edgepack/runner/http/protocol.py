"""HTTP/1.1 on one connection: parsing, limits, keep-alive, pipelining, one write an answer.

The only file that imports `httptools` (Node's llhttp), which refuses what could be read in two
ways: two lengths, a length beside chunks, odd line ends. It is not aware of routes. Used by
`server`, which owns what all connections share.
"""

from __future__ import annotations

import asyncio
import enum
import socket
from collections import deque
from http import HTTPStatus
from typing import Any, NoReturn, Protocol, cast

import httptools

from edgepack.runner.http.limits import Limits
from edgepack.runner.http.messages import RefusalError, Response, error_response
from edgepack.runner.http.wire import Request, decode_headers, path_of, response_head

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# What all connections receive into: it is parsed before the loop turns to the next one. With a
# buffer of its own the loop would make one of 256 KiB for every call.
_RECEIVED = memoryview(bytearray(64 * 1024))
#: Left out of a request that asked for another protocol and gets HTTP/1.1 all the same.
_UPGRADE_HEADERS = frozenset((b"upgrade", b"connection", b"http2-settings"))


class Owner(Protocol):
    """What a connection needs of the server."""

    @property
    def limits(self) -> Limits:
        """The limits that hold for every connection."""
        ...

    @property
    def date(self) -> bytes:
        """The present `Date` header line, made once a second."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether connections close after the answer they are at."""
        ...

    def now(self) -> float:
        """The event loop's time in seconds."""
        ...

    def opened(self, connection: Connection) -> bool:
        """Takes a connection in; False when there are too many."""
        ...

    def closed(self, connection: Connection) -> None:
        """Forgets a connection."""
        ...

    def answer(self, connection: Connection, request: Request) -> Response | None:
        """Answers now, or returns None and calls `connection.respond` later."""
        ...


class _State(enum.Enum):
    IDLE = enum.auto()
    READING = enum.auto()
    WORKING = enum.auto()
    LINGERING = enum.auto()


class Connection(asyncio.BufferedProtocol):
    """One client's connection."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._state = _State.IDLE
        self._queue: deque[Request | Response] = deque()
        self._current: Request | None = None
        self._scheduled = False
        self._writable = True
        self._paused = False
        # Set once nothing that comes can be a request any more.
        self._deaf = False
        self._deadline = 0.0
        self._decoded: dict[str, str] = {}
        self._http_1_0 = False
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepares the connection, or sends it away when there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        connection = transport.get_extra_info("socket")
        if connection is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser = httptools.HttpRequestParser(self)
        self._deadline = self._owner.now() + self._owner.limits.read_timeout_s
        if not self._owner.opened(self):
            self._end_with(
                error_response(
                    HTTPStatus.SERVICE_UNAVAILABLE, "too many connections", (("Retry-After", "1"),)
                )
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets everything; an answer that is still being computed goes nowhere."""
        self._transport = None
        self._queue.clear()
        self._owner.closed(self)

    def pause_writing(self) -> None:
        """The client does not read: answer nothing more until it does."""
        self._writable = False
        self._deadline = self._owner.now() + self._owner.limits.write_timeout_s

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable = True
        self._deadline = self._owner.now() + self._owner.limits.idle_timeout_s
        self._schedule()

    def eof_received(self) -> bool:
        """The client sends no more; answers on their way are still written."""
        if self._state is not _State.WORKING and not self._queue:
            return False
        self._keep_no_longer()
        return True

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what it receives."""
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        """Something was received."""
        self.data_received(_RECEIVED[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Parses what came; whole requests are queued and answered in their order."""
        if self._deaf or self._state is _State.LINGERING:
            return
        self._head_bytes += 0 if self._head_done else len(data)
        try:
            self._feed(data)
            if not self._head_done and self._head_bytes > self._owner.limits.header_bytes:
                self._refuse_large_head()
        except RefusalError as refusal:
            self._refuse(refusal.response())
        except httptools.HttpParserError as error:
            self._refuse(error_response(HTTPStatus.BAD_REQUEST, f"not HTTP: {error}"))
        self._schedule()

    def respond(self, response: Response) -> None:
        """Writes the answer to the request that is being worked on."""
        request, self._current = self._current, None
        if request is None or self._transport is None:
            return
        keep = request.keep_alive and not self._owner.stopping
        self._write(response, keep=keep, request=request)
        if not keep:
            self._close_gently()
            return
        self._state = _State.READING if self._reading else _State.IDLE
        limits = self._owner.limits
        wait_s = limits.read_timeout_s if self._reading else limits.idle_timeout_s
        self._deadline = self._owner.now() + wait_s
        if self._paused and len(self._queue) < self._owner.limits.queued:
            self._paused = False
            self._transport.resume_reading()
        self._schedule()

    def check_deadline(self, now: float) -> None:
        """Ends what has waited too long; called about once a second."""
        if now < self._deadline or self._transport is None:
            return
        if not self._writable:
            self._transport.abort()
        elif self._state is _State.READING and not self._queue:
            self._end_with(
                error_response(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
            )
        elif self._state in (_State.IDLE, _State.LINGERING):
            self._transport.close()

    def stop(self) -> None:
        """Closes now when nothing is being asked or answered, else after the answer."""
        if self._transport is not None and self._state is _State.IDLE and not self._queue:
            self._transport.close()

    def abort(self) -> None:
        """Closes at once, whatever is going on."""
        if self._transport is not None:
            self._transport.abort()

    # The parser's callbacks. What they raise comes out of `feed_data` as its context.

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._reset()
        self._reading = True
        if self._state is _State.IDLE:
            self._state = _State.READING
            self._deadline = self._owner.now() + self._owner.limits.read_timeout_s

    def on_url(self, url: bytes) -> None:
        """A part of the request line's target."""
        self._url += url
        self._counted_bytes += len(url)
        if self._counted_bytes > self._owner.limits.header_bytes:
            self._refuse_large_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line, or a trailer after a chunked body."""
        self._counted_bytes += len(name) + len(value) + 4
        if self._counted_bytes > self._owner.limits.header_bytes:
            self._refuse_large_head()
        if not self._head_done:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: decide whether the body is wanted."""
        self._head_done = True
        if len(self._headers) > self._owner.limits.header_count:
            self._refuse_large_head()
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise RefusalError(
                HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP {version} is not spoken here"
            )
        self._http_1_0 = version == "1.0"
        headers = decode_headers(self._headers)
        if version == "1.1" and "host" not in headers:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "the Host header is missing")
        limit = self._owner.limits.body_bytes
        if int(headers.get("content-length", "0")) > limit:
            _refuse_large_body(limit)
        expected = headers.get("expect", "").lower()
        if expected == "100-continue":
            if self._transport is not None and self._current is None and not self._queue:
                self._transport.write(_CONTINUE)
        elif expected:
            raise RefusalError(HTTPStatus.EXPECTATION_FAILED, f"Expect: {expected[:80]}")
        self._decoded = headers

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        if self._body_bytes > self._owner.limits.body_bytes:
            _refuse_large_body(self._owner.limits.body_bytes)
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole, unless it is to be parsed again without its upgrade."""
        parser = self._parser
        method = str(parser.get_method(), "ascii")
        if parser.should_upgrade() and method != "CONNECT":
            return
        self._reading = False
        self._head_bytes = 0
        self._queue.append(
            Request(
                method=method,
                path=path_of(self._url),
                headers=self._decoded,
                body=self._body[0] if len(self._body) == 1 else b"".join(self._body),
                keep_alive=bool(parser.should_keep_alive()),
                http_1_0=self._http_1_0,
            )
        )

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._parser.get_method() == b"CONNECT":
                    self._deaf = True
                    self._keep_no_longer()
                    return
                data = self._head_without_upgrade() + bytes(data[upgrade.args[0] :])
                self._parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, RefusalError):
                    raise error.__context__ from None
                raise
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        # A server may ignore an upgrade (RFC 9110, 7.8), and Java's client asks for h2c with
        # every first request. llhttp stops after such a head without its body, so the head is
        # parsed again without the wish, and the rest after it.
        head = [self._parser.get_method() + b" " + self._url + b" HTTP/1.1"]
        head += [n + b": " + v for n, v in self._headers if n.lower() not in _UPGRADE_HEADERS]
        return b"\r\n".join(head) + b"\r\n\r\n"

    def _reset(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._decoded = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._counted_bytes = 0
        self._head_bytes = 0
        self._head_done = False
        self._reading = False

    def _refuse_large_head(self) -> NoReturn:
        limits = self._owner.limits
        raise RefusalError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the head of the request is too large; at most {limits.header_count} headers and "
            f"{limits.header_bytes} bytes are read",
        )

    def _schedule(self) -> None:
        waiting = self._queue and self._current is None and self._writable
        if waiting and not self._scheduled and self._transport is not None:
            self._scheduled = True
            self._work()
        if len(self._queue) > self._owner.limits.queued and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()

    def _work(self) -> None:
        """Takes the next request; the one after it gets its turn after other connections."""
        self._scheduled = False
        if not self._queue or self._current is not None or self._transport is None:
            return
        entry = self._queue.popleft()
        if isinstance(entry, Response):
            self._end_with(entry)
            return
        self._current = entry
        self._state = _State.WORKING
        response = self._owner.answer(self, entry)
        if response is None:
            return
        if self._queue:
            # A pipelined row of requests must not keep every other client waiting.
            self._scheduled = True
            self.respond(response)
            asyncio.get_running_loop().call_soon(self._work)
        else:
            self.respond(response)

    def _refuse(self, response: Response) -> None:
        """Queues a last answer behind those that are due before it, and parses no more."""
        self._reading = False
        self._deaf = True
        self._queue.append(response)

    def _end_with(self, response: Response) -> None:
        self._write(response, keep=False, request=None)
        self._close_gently()

    def _close_gently(self) -> None:
        # Closing with unread data in the socket resets the connection, and the client may lose
        # the answer; so the sending half is closed first and what still comes is thrown away.
        self._queue.clear()
        self._state = _State.LINGERING
        self._deadline = self._owner.now() + self._owner.limits.linger_s
        if self._transport is None or self._transport.is_closing():
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        if not self._transport.can_write_eof():
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:
            # Not connected any more: the client was gone before its answer was there.
            self._transport.abort()

    def _keep_no_longer(self) -> None:
        if self._queue and isinstance(last := self._queue[-1], Request):
            self._queue[-1] = last._replace(keep_alive=False)
        elif self._current is not None:
            self._current = self._current._replace(keep_alive=False)

    def _write(self, response: Response, *, keep: bool, request: Request | None) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        http_1_0 = request is not None and request.http_1_0
        head = response_head(response, keep=keep, http_1_0=http_1_0) + self._owner.date + b"\r\n"
        has_body = request is None or request.method != "HEAD"
        self._transport.write(head + response.body if has_body else head)


def _refuse_large_body(limit: int) -> NoReturn:
    raise RefusalError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is too large; at most {limit} bytes"
    )
