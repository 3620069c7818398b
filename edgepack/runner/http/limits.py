"""How much of a box one client may take. Used by `protocol` and `server`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the HTTP server.

    Attributes:
        body_bytes: Largest request body.
        header_bytes: Request line and headers together.
        header_count: Header lines of a request.
        connections: Open at once; one more is told so and closed.
        queued: Requests of one connection that wait for their turn.
        pending: Requests of all connections that wait for the model's thread.
        read_timeout_s: From a request's first byte to its last.
        idle_timeout_s: Without a request on an open connection.
        write_timeout_s: A client that does not read its answer.
        linger_s: Time for a refused client to read why before the connection goes.
        drain_s: After a stop was asked for, time for clients with an open connection to use it
            once more.
        grace_s: Time for running requests after a stop was asked for.
    """

    body_bytes: int = 1024 * 1024
    header_bytes: int = 16 * 1024
    header_count: int = 64
    connections: int = 256
    queued: int = 16
    pending: int = 64
    read_timeout_s: float = 15.0
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 15.0
    linger_s: float = 2.0
    drain_s: float = 1.0
    grace_s: float = 10.0
