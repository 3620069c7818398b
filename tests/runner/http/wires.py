"""A connection of the server between stand-ins: of the socket before it, of the server behind."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass

from edgepack.runner.http.limits import Limits
from edgepack.runner.http.messages import Response
from edgepack.runner.http.protocol import Connection
from edgepack.runner.http.wire import Request

GET = b"GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n"
HEAD = b"POST /recommend HTTP/1.1\r\nHost: box\r\n"


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
