from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack.runner.http.limits import Limits
from edgepack.runner.http.messages import Response
from edgepack.runner.http.protocol import Connection
from edgepack.runner.http.wire import Request


class Wire(asyncio.Transport):
    """A socket's stand-in: what the server wrote, and whether it closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.aborted = False
        self.half_closed = False
        self.reading = True
        #: Whether the client has reset the connection, which the loop has not noticed yet.
        self.gone = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self.gone:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.half_closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass
class Hall:
    """The server's stand-in: answers with what it was asked, at once or when told."""

    limits: Limits
    date: bytes = b"Date: now\r\n"
    stopping: bool = False
    time: float = 0.0
    full: bool = False
    later: bool = False

    def __post_init__(self) -> None:
        self.requests: list[Request] = []
        self.waiting: list[tuple[Connection, Request]] = []
        self.open: set[Connection] = set()

    def now(self) -> float:
        return self.time

    def opened(self, connection: Connection) -> bool:
        self.open.add(connection)
        return not self.full

    def closed(self, connection: Connection) -> None:
        self.open.discard(connection)

    def answer(self, connection: Connection, request: Request) -> Response | None:
        self.requests.append(request)
        if self.later:
            self.waiting.append((connection, request))
            return None
        return echo(request)

    def answer_next(self) -> None:
        connection, request = self.waiting.pop(0)
        connection.respond(echo(request))


def echo(request: Request) -> Response:
    return Response(200, f"{request.method} {request.path} {len(request.body)}".encode())


def talk(
    script: Callable[[Connection, Wire, Hall], None], hall: Hall | None = None
) -> tuple[Wire, Hall]:
    """Runs a script against a connection inside an event loop, then lets the loop settle."""
    wire, used = Wire(), hall or Hall(Limits())

    async def run() -> None:
        connection = Connection(used)
        connection.connection_made(wire)
        script(connection, wire, used)
        for _ in range(50):
            await asyncio.sleep(0)

    asyncio.run(run())
    return wire, used


def send(*chunks: bytes, hall: Hall | None = None) -> tuple[Wire, Hall]:
    def script(connection: Connection, wire: Wire, _: Hall) -> None:
        for chunk in chunks:
            if wire.reading:
                connection.data_received(chunk)

    return talk(script, hall)


def status_of(wire: Wire) -> list[int]:
    return [int(each.split(b" ")[1]) for each in wire.written]


_GET = b"GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n"
_HEAD = b"POST /recommend HTTP/1.1\r\nHost: box\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        _HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        _HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        _HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        _HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
        _HEAD + b"Content-Length: +3\r\n\r\nabc",
        _HEAD + b"Content-Length: -3\r\n\r\nabc",
        _HEAD + b"Content-Length: 0x3\r\n\r\nabc",
        _HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
        _HEAD + b"Content-Length : 3\r\n\r\nabc",
        _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        _HEAD + b" folded: x\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: box\n\n",
        b"GET /a b HTTP/1.1\r\nHost: box\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: box\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: box\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_what_two_readers_could_read_differently_is_refused_and_the_connection_ends(
    request_bytes: bytes,
) -> None:
    wire, hall = send(request_bytes + _GET)
    assert status_of(wire) == [400]
    assert hall.requests == []
    assert wire.half_closed
    assert b"Connection: close" in wire.written[0]


def test_another_version_of_http_is_refused() -> None:
    wire, _ = send(b"GET / HTTP/2.0\r\nHost: box\r\n\r\n")
    assert status_of(wire) == [505]


def test_a_body_announced_too_large_is_refused_before_it_comes() -> None:
    wire, hall = send(_HEAD + b"Content-Length: 1048577\r\n\r\n")
    assert status_of(wire) == [413]
    assert hall.requests == []


def test_chunks_that_grow_too_large_are_refused() -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    wire, hall = send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 20)
    assert status_of(wire) == [413]
    assert hall.requests == []


@pytest.mark.parametrize(
    "chunks",
    [
        [_HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n"],
        [b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: box\r\n\r\n"],
        [_HEAD + b"".join(b"X%d: 1\r\n" % i for i in range(100)) + b"\r\n"],
        [_HEAD, b"X: ", *[b"x" * 4000] * 10],
        [
            _HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
            *[b"T: " + b"x" * 4000 + b"\r\n"] * 10,
        ],
    ],
)
def test_a_head_that_is_too_large_is_refused(chunks: list[bytes]) -> None:
    wire, hall = send(*chunks)
    assert status_of(wire) == [431]
    assert hall.requests == []


def test_an_expectation_other_than_continue_is_refused() -> None:
    wire, _ = send(_HEAD + b"Expect: miracles\r\nContent-Length: 1\r\n\r\n")
    assert status_of(wire) == [417]


def test_a_client_that_expects_to_be_asked_is_asked_for_its_body() -> None:
    wire, _ = send(_HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"ab")
    assert wire.written[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.written[1].endswith(b"POST /recommend 2")


def test_one_connection_too_many_is_told_so_and_closed() -> None:
    wire, hall = send(hall=Hall(Limits(), full=True))
    assert status_of(wire) == [503]
    assert b"Retry-After: 1" in wire.written[0]
    assert wire.half_closed
    assert hall.requests == []


def test_a_request_that_never_ends_is_timed_out() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(_HEAD)
        for _ in range(20):
            hall.time += 1
            connection.data_received(b"X: 1\r\n")
            connection.check_deadline(hall.time)

    wire, hall = talk(script)
    assert status_of(wire) == [408]
    assert hall.requests == []


@pytest.mark.parametrize("before", [b"", _GET])
def test_an_idle_connection_is_closed_without_a_word(before: bytes) -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        if before:
            connection.data_received(before)
        wire.written.clear()
        hall.time += 76
        connection.check_deadline(hall.time)

    wire, _ = talk(script)
    assert wire.closed
    assert wire.written == []


def test_a_client_that_does_not_read_is_cut_off() -> None:
    def script(connection: Connection, _: Wire, hall: Hall) -> None:
        connection.data_received(_GET)
        connection.pause_writing()
        connection.data_received(_GET)
        hall.time += 16
        connection.check_deadline(hall.time)

    wire, hall = talk(script)
    assert wire.aborted
    assert len(hall.requests) == 1


def test_a_refused_client_that_lingers_is_cut_off() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(b"nonsense\r\n\r\n")
        assert not wire.closed
        connection.data_received(b"more" * 1000)
        hall.time += 3
        connection.check_deadline(hall.time)

    wire, _ = talk(script)
    assert status_of(wire) == [400]
    assert wire.closed


def test_a_running_request_has_no_deadline_here() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(_GET)
        hall.time += 1000
        connection.check_deadline(hall.time)
        assert not wire.closed
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert status_of(wire) == [200]


def test_an_answer_for_a_client_that_has_gone_goes_nowhere() -> None:
    def script(connection: Connection, _: Wire, hall: Hall) -> None:
        connection.data_received(_GET)
        connection.connection_lost(None)
        hall.answer_next()

    wire, hall = talk(script, Hall(Limits(), later=True))
    assert wire.written == []
    assert hall.open == set()


def test_pipelined_requests_are_answered_in_order_with_one_write_each() -> None:
    rows = [b"GET /%d HTTP/1.1\r\nHost: box\r\n\r\n" % i for i in range(5)]
    wire, _ = send(b"".join(rows))
    assert [each.rsplit(b"\r\n", 1)[1] for each in wire.written] == [
        b"GET /%d 0" % i for i in range(5)
    ]


def test_pipelined_requests_wait_for_the_one_that_is_worked_on() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(_GET + _GET)
        assert len(hall.waiting) == 1
        assert wire.written == []
        hall.answer_next()
        assert len(hall.waiting) == 1
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert status_of(wire) == [200, 200]


def test_a_client_that_asks_for_too_much_at_once_is_read_no_further() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(_GET * 20)
        assert not wire.reading
        while hall.waiting:
            hall.answer_next()
        assert wire.reading

    wire, hall = talk(script, Hall(replace(Limits(), queued=4), later=True))
    assert len(wire.written) == len(hall.requests) == 20


def test_a_refusal_comes_after_the_answers_that_are_due_before_it() -> None:
    wire, _ = send(_GET + b"nonsense\r\n\r\n")
    assert status_of(wire) == [200, 400]


@pytest.mark.parametrize("cut", range(1, 70, 3))
def test_a_request_may_come_in_pieces(cut: int) -> None:
    whole = _HEAD + b"Content-Length: 11\r\n\r\nhello world"
    wire, hall = send(whole[:cut], whole[cut:])
    assert status_of(wire) == [200]
    assert hall.requests[0].body == b"hello world"


def test_chunks_and_their_trailers_are_put_together() -> None:
    body = b"5;name=x\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: 1\r\n\r\n"
    wire, hall = send(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert status_of(wire) == [200]
    assert hall.requests[0].body == b"hello world"
    assert "trailer" not in hall.requests[0].headers


def test_head_is_answered_without_the_body_but_with_its_length() -> None:
    wire, _ = send(b"HEAD /healthz HTTP/1.1\r\nHost: box\r\n\r\n")
    assert b"Content-Length: 15\r\n" in wire.written[0]
    assert wire.written[0].endswith(b"\r\n\r\n")


def test_the_query_is_no_part_of_the_path() -> None:
    _, hall = send(b"GET /healthz?x=1 HTTP/1.1\r\nHost: box\r\n\r\n")
    assert hall.requests[0].path == "/healthz"


def test_the_absolute_form_is_understood() -> None:
    _, hall = send(b"GET http://box:8080/healthz?x HTTP/1.1\r\nHost: box\r\n\r\n")
    assert hall.requests[0].path == "/healthz"


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"GET / HTTP/1.1\r\nHost: box\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: box\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_a_connection_is_kept_when_the_client_may_expect_it(head: bytes, kept: bool) -> None:
    wire, _ = send(head)
    assert status_of(wire) == [200]
    assert wire.half_closed is not kept
    assert (b"Connection: close" in wire.written[0]) is not kept


def test_a_stopping_server_closes_after_the_answer() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(_GET)
        hall.stopping = True
        connection.stop()
        assert not wire.closed
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert status_of(wire) == [200]
    assert wire.half_closed


def test_a_stopping_server_closes_idle_connections_at_once() -> None:
    wire, _ = talk(lambda connection, _wire, _hall: connection.stop())
    assert wire.closed


def test_a_client_that_closes_its_half_still_gets_its_answer() -> None:
    def script(connection: Connection, _: Wire, hall: Hall) -> None:
        connection.data_received(_GET)
        assert connection.eof_received()
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert status_of(wire) == [200]
    assert wire.half_closed


@pytest.mark.parametrize("count", [1, 3])
def test_a_wish_for_http_2_is_ignored_and_the_body_is_kept(count: int) -> None:
    # What Java's HttpClient sends with its first request.
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    wire, hall = send((_HEAD + upgrade + b"Content-Length: 5\r\n\r\nhello") * count + _GET)
    assert status_of(wire) == [200] * (count + 1)
    assert [each.body for each in hall.requests] == [b"hello"] * count + [b""]


def test_connect_is_passed_on_and_nothing_after_it_is_a_request() -> None:
    wire, hall = send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + _GET)
    assert len(wire.written) == len(hall.requests) == 1
    assert hall.requests[0].method == "CONNECT"
    assert wire.half_closed


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([_GET, _HEAD, b"\r\n\r\n"]), max_size=6))
def test_no_bytes_break_the_connection_and_every_answer_is_one_write(chunks: list[bytes]) -> None:
    wire, _ = send(*chunks)
    for written in wire.written:
        head, _, body = written.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 4", b"HTTP/1.1 505"))
        if not head.startswith(b"HTTP/1.1 200"):
            assert json.loads(body)["error"]
