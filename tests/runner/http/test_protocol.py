from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack.runner.http.limits import Limits
from edgepack.runner.http.protocol import Connection
from tests.runner.http.wires import GET, HEAD, Hall, Wire, send, status_of, talk


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
        HEAD + b"Content-Length: +3\r\n\r\nabc",
        HEAD + b"Content-Length: -3\r\n\r\nabc",
        HEAD + b"Content-Length: 0x3\r\n\r\nabc",
        HEAD + b"Content-Length: 99999999999999999999999\r\n\r\nabc",
        HEAD + b"Content-Length : 3\r\n\r\nabc",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        HEAD + b" folded: x\r\n\r\n",
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
    wire, hall = send(request_bytes + GET)
    assert status_of(wire) == [400]
    assert hall.requests == []
    assert wire.half_closed
    assert b"Connection: close" in wire.written[0]


def test_another_version_of_http_is_refused() -> None:
    wire, _ = send(b"GET / HTTP/2.0\r\nHost: box\r\n\r\n")
    assert status_of(wire) == [505]


def test_a_body_announced_too_large_is_refused_before_it_comes() -> None:
    wire, hall = send(HEAD + b"Content-Length: 1048577\r\n\r\n")
    assert status_of(wire) == [413]
    assert hall.requests == []


def test_chunks_that_grow_too_large_are_refused() -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    wire, hall = send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 20)
    assert status_of(wire) == [413]
    assert hall.requests == []


@pytest.mark.parametrize(
    "chunks",
    [
        [HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n"],
        [b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: box\r\n\r\n"],
        [HEAD + b"".join(b"X%d: 1\r\n" % i for i in range(100)) + b"\r\n"],
        [HEAD, b"X: ", *[b"x" * 4000] * 10],
        [
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
            *[b"T: " + b"x" * 4000 + b"\r\n"] * 10,
        ],
    ],
)
def test_a_head_that_is_too_large_is_refused(chunks: list[bytes]) -> None:
    wire, hall = send(*chunks)
    assert status_of(wire) == [431]
    assert hall.requests == []


def test_an_expectation_other_than_continue_is_refused() -> None:
    wire, _ = send(HEAD + b"Expect: miracles\r\nContent-Length: 1\r\n\r\n")
    assert status_of(wire) == [417]


def test_a_client_that_expects_to_be_asked_is_asked_for_its_body() -> None:
    wire, _ = send(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"ab")
    assert wire.written[0] == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert wire.written[1].endswith(b"POST /recommend 2")


def test_pipelined_requests_are_answered_in_order_with_one_write_each() -> None:
    rows = [b"GET /%d HTTP/1.1\r\nHost: box\r\n\r\n" % i for i in range(5)]
    wire, _ = send(b"".join(rows))
    assert [each.rsplit(b"\r\n", 1)[1] for each in wire.written] == [
        b"GET /%d 0" % i for i in range(5)
    ]


def test_pipelined_requests_wait_for_the_one_that_is_worked_on() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(GET + GET)
        assert len(hall.waiting) == 1
        assert wire.written == []
        hall.answer_next()
        assert len(hall.waiting) == 1
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert status_of(wire) == [200, 200]


def test_a_client_that_asks_for_too_much_at_once_is_read_no_further() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(GET * 20)
        assert not wire.reading
        while hall.waiting:
            hall.answer_next()
        assert wire.reading

    wire, hall = talk(script, Hall(replace(Limits(), queued=4), later=True))
    assert len(wire.written) == len(hall.requests) == 20


def test_a_refusal_comes_after_the_answers_that_are_due_before_it() -> None:
    wire, _ = send(GET + b"nonsense\r\n\r\n")
    assert status_of(wire) == [200, 400]


@pytest.mark.parametrize("cut", range(1, 70, 3))
def test_a_request_may_come_in_pieces(cut: int) -> None:
    whole = HEAD + b"Content-Length: 11\r\n\r\nhello world"
    wire, hall = send(whole[:cut], whole[cut:])
    assert status_of(wire) == [200]
    assert hall.requests[0].body == b"hello world"


def test_chunks_and_their_trailers_are_put_together() -> None:
    body = b"5;name=x\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: 1\r\n\r\n"
    wire, hall = send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body)
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


@pytest.mark.parametrize("count", [1, 3])
def test_a_wish_for_http_2_is_ignored_and_the_body_is_kept(count: int) -> None:
    # What Java's HttpClient sends with its first request.
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    wire, hall = send((HEAD + upgrade + b"Content-Length: 5\r\n\r\nhello") * count + GET)
    assert status_of(wire) == [200] * (count + 1)
    assert [each.body for each in hall.requests] == [b"hello"] * count + [b""]


def test_connect_is_passed_on_and_nothing_after_it_is_a_request() -> None:
    wire, hall = send(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
    assert len(wire.written) == len(hall.requests) == 1
    assert hall.requests[0].method == "CONNECT"
    assert wire.half_closed


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([GET, HEAD, b"\r\n\r\n"]), max_size=6))
def test_no_bytes_break_the_connection_and_every_answer_is_one_write(chunks: list[bytes]) -> None:
    wire, _ = send(*chunks)
    for written in wire.written:
        head, _, body = written.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 4", b"HTTP/1.1 505"))
        if not head.startswith(b"HTTP/1.1 200"):
            assert json.loads(body)["error"]
