"""A closed-loop HTTP load: some connections, each with one request on its way at any time.

Several processes, since one written in Python would be slower than the servers it measures.
Bounded by its duration. Needs the standard library alone.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_TIMEOUT_S = 30.0
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """What a load found.

    Attributes:
        connections: How many there were.
        requests_per_s: Answered, after the warm-up.
        p50_ms: Median latency.
        p99_ms: By nearest rank.
        failed: Answers other than 200, and connections that broke.
    """

    connections: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


@dataclass(slots=True)
class _Client:
    sock: socket.socket
    at: int
    sent_ns: int = 0
    received: bytearray = field(default_factory=bytearray)


def run_load(
    port: int,
    bodies: Sequence[bytes],
    connections: int,
    *,
    seconds: float,
    warmup_s: float = 1.0,
    processes: int = 4,
) -> Load:
    """Loads `POST /recommend` on loopback.

    Args:
        port: Where the server listens.
        bodies: Request bodies; each connection goes round them from a place of its own.
        connections: In all.
        seconds: How long it counts.
        warmup_s: How long it runs before that.
        processes: The most processes to load from.

    Returns:
        What was found.
    """
    shares = _shares(connections, processes)
    context = multiprocessing.get_context("spawn")
    with context.Pool(len(shares)) as pool:
        tasks = [(port, bodies, share, seconds, warmup_s) for share in shares]
        found = pool.starmap(_load, tasks)
    latencies = sorted(each for durations, _ in found for each in durations)
    failed = sum(count for _, count in found)
    if not latencies:
        return Load(connections, 0.0, float("nan"), float("nan"), failed)
    return Load(
        connections,
        len(latencies) / seconds,
        latencies[(len(latencies) - 1) // 2] / 1e6,
        latencies[min(len(latencies) - 1, -(-99 * len(latencies) // 100) - 1)] / 1e6,
        failed,
    )


def request_bodies(items: int, length: int, count: int, seed: int = 7) -> list[bytes]:
    """Returns JSON bodies with random histories of a grown catalogue."""
    order = random.Random(seed)  # noqa: S311 - a made-up shop, not a secret
    return [
        json.dumps(
            {"history": [f"i{order.randint(1, items)}" for _ in range(order.randint(1, length))]}
        ).encode()
        for _ in range(count)
    ]


def _shares(connections: int, processes: int) -> list[list[int]]:
    used = min(connections, processes)
    return [list(range(first, connections, used)) for first in range(used)]


def _load(
    port: int, bodies: Sequence[bytes], numbers: Sequence[int], seconds: float, warmup_s: float
) -> tuple[list[int], int]:
    requests = [_request(body) for body in bodies]
    selector = selectors.DefaultSelector()
    failed = 0
    clients = [_connect(port, number * 17 % len(requests)) for number in numbers]
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
    count_from = time.perf_counter_ns() + int(warmup_s * _SECOND_NS)
    end = count_from + int(seconds * _SECOND_NS)
    latencies: list[int] = []
    for client in clients:
        _send(client, requests)
    while clients and (now := time.perf_counter_ns()) < end:
        for key, _ in selector.select(min((end - now) / _SECOND_NS, _TIMEOUT_S)):
            client = key.data
            status = _receive(client)
            if status is None:
                continue
            answered_ns = time.perf_counter_ns()
            if status != b"200":
                failed += 1
                if status == b"":
                    selector.unregister(client.sock)
                    clients.remove(client)
                    continue
            elif count_from <= answered_ns < end:
                latencies.append(answered_ns - client.sent_ns)
            _send(client, requests)
    for client in clients:
        client.sock.close()
    return latencies, failed


def _connect(port: int, at: int) -> _Client:
    sock = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _Client(sock, at)


def _request(body: bytes) -> bytes:
    head = (
        "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _send(client: _Client, requests: Sequence[bytes]) -> None:
    client.at = (client.at + 1) % len(requests)
    client.received.clear()
    client.sent_ns = time.perf_counter_ns()
    client.sock.sendall(requests[client.at])


def _receive(client: _Client) -> bytes | None:
    """Reads what came; returns the status of a whole answer, b"" at the end, None in between."""
    try:
        data = client.sock.recv(65_536)
    except OSError:
        return b""
    if not data:
        return b""
    client.received += data
    head, mark, body = bytes(client.received).partition(b"\r\n\r\n")
    if not mark:
        return None
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    return lines[0].split()[1] if len(body) >= length else None
