"""How a connection begins, waits and ends."""

from __future__ import annotations

import pytest

from edgepack.runner.http.limits import Limits
from edgepack.runner.http.protocol import Connection
from tests.runner.http.wires import GET, HEAD, Hall, Wire, send, status_of, talk


def test_one_connection_too_many_is_told_so_and_closed() -> None:
    wire, hall = send(hall=Hall(Limits(), full=True))
    assert status_of(wire) == [503]
    assert b"Retry-After: 1" in wire.written[0]
    assert wire.half_closed
    assert hall.requests == []


def test_a_request_that_never_ends_is_timed_out() -> None:
    def script(connection: Connection, wire: Wire, hall: Hall) -> None:
        connection.data_received(HEAD)
        for _ in range(20):
            hall.time += 1
            connection.data_received(b"X: 1\r\n")
            connection.check_deadline(hall.time)

    wire, hall = talk(script)
    assert status_of(wire) == [408]
    assert hall.requests == []


@pytest.mark.parametrize("before", [b"", GET])
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
        connection.data_received(GET)
        connection.pause_writing()
        connection.data_received(GET)
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
        connection.data_received(GET)
        hall.time += 1000
        connection.check_deadline(hall.time)
        assert not wire.closed
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert status_of(wire) == [200]


def test_an_answer_for_a_client_that_has_gone_goes_nowhere() -> None:
    def script(connection: Connection, _: Wire, hall: Hall) -> None:
        connection.data_received(GET)
        connection.connection_lost(None)
        hall.answer_next()

    wire, hall = talk(script, Hall(Limits(), later=True))
    assert wire.written == []
    assert hall.open == set()


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
        connection.data_received(GET)
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
        connection.data_received(GET)
        assert connection.eof_received()
        hall.answer_next()

    wire, _ = talk(script, Hall(Limits(), later=True))
    assert status_of(wire) == [200]
    assert wire.half_closed
