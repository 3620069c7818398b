"""A closed-loop load of reports: some connections, each with one report on its way at a time.

It runs in a process of its own with requests that are ready but for an id, and says how much of a
core it took, so that one can see that the server was what held it up. A report may be several
requests, one after the other; its latency is theirs together.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_SECOND_NS = 1_000_000_000
_PATIENCE_S = 60.0
_CREATED = 201


@dataclass(frozen=True, slots=True)
class HubReport:
    """A report for the hub, cut where its id belongs.

    Attributes:
        token: Of its box.
        head: The bytes before the id.
        tail: The bytes after it.
    """

    token: str
    head: bytes
    tail: bytes


@dataclass(frozen=True, slots=True)
class MlflowReport:
    """The same fields for MLflow: the body of `runs/create`, and the rest of `runs/log-batch`."""

    create: bytes
    batch_tail: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load found.

    Attributes:
        connections: How many there were.
        reports: Answered with success after the warm-up.
        all_reports: With those of the warm-up.
        per_second: Of them.
        p50_ms: Median latency of a report.
        p99_ms: By nearest rank.
        max_ms: The longest.
        failed: What else came back, by its status, warm-up included.
        own_cpu: What the load itself took of a core.
    """

    connections: int
    reports: int
    all_reports: int
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: dict[str, int]
    own_cpu: float

    def to_json(self) -> dict[str, Any]:
        """Returns the result as a JSON object."""
        return asdict(self)


@dataclass
class _Counts:
    latencies_ns: list[int] = field(default_factory=list)
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)


def run_load(
    port: int,
    reports: Sequence[HubReport] | Sequence[MlflowReport],
    connections: int,
    *,
    seconds: float,
    warmup_s: float = 2.0,
) -> Loaded:
    """Loads a server on loopback.

    Args:
        port: Where it listens.
        reports: What is sent; each connection goes round its own share, with new ids each time.
        connections: How many reports are on their way at a time.
        seconds: How long it counts.
        warmup_s: How long it runs before that.

    Returns:
        What was found.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_load, (port, list(reports), connections, seconds, warmup_s))


def _load(
    port: int, reports: Sequence[Any], connections: int, seconds: float, warmup_s: float
) -> Loaded:
    counts = _Counts()
    begin_cpu = time.process_time()
    begin_ns = time.perf_counter_ns()
    count_from = begin_ns + int(warmup_s * _SECOND_NS)
    end = count_from + int(seconds * _SECOND_NS)

    async def run() -> None:
        shares = [reports[i::connections] or reports for i in range(connections)]
        await asyncio.gather(*(_client(port, each, count_from, end, counts) for each in shares))

    asyncio.run(run())
    own_cpu = (time.process_time() - begin_cpu) / ((time.perf_counter_ns() - begin_ns) / _SECOND_NS)
    ordered = sorted(counts.latencies_ns) or [0]
    return Loaded(
        connections=connections,
        reports=len(counts.latencies_ns),
        all_reports=counts.answered,
        per_second=len(counts.latencies_ns) / seconds,
        p50_ms=_rank(ordered, 50) / 1e6,
        p99_ms=_rank(ordered, 99) / 1e6,
        max_ms=ordered[-1] / 1e6,
        failed=dict(counts.failed),
        own_cpu=own_cpu,
    )


def _rank(ordered: Sequence[int], percent: int) -> int:
    return ordered[max(-(-percent * len(ordered) // 100) - 1, 0)]


async def _client(
    port: int, reports: Sequence[Any], count_from: int, end: int, counts: _Counts
) -> None:
    connection = Connection(port)
    number = 0
    while (sent_ns := time.perf_counter_ns()) < end:
        report = reports[number % len(reports)]
        number += 1
        send = _SENDERS[type(report)]
        failure = await send(connection, report)
        answered_ns = time.perf_counter_ns()
        if failure is not None:
            counts.failed[failure] += 1
        else:
            counts.answered += 1
            if count_from <= answered_ns < end:
                counts.latencies_ns.append(answered_ns - sent_ns)
    connection.close()


class Connection:
    """A kept connection to loopback; opened when it is needed, and again when it broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(
        self, path: str, body: bytes, token: str = "", kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Sends a POST; returns the status, 0 where the connection broke, and the body."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await self._post(path, body, token, kind)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            self.close()
            await asyncio.sleep(0.01)
            return 0, type(error).__name__.encode()

    async def _post(self, path: str, body: bytes, token: str, kind: str) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{bearer}"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        lower = answer.lower()
        at = lower.index(b"content-length:") + len(b"content-length:")
        size = int(lower[at : lower.index(b"\r\n", at)])
        found = await reader.readexactly(size)
        if b"connection: close" in lower:
            self.close()
        return int(answer[9:12]), found

    def close(self) -> None:
        """Closes it, if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _send_to_hub(connection: Connection, report: HubReport) -> str | None:
    body = report.head + str(uuid.uuid4()).encode() + report.tail
    status, answer = await connection.post("/api/reports", body, report.token)
    return None if status == _CREATED else f"{status} {answer[:120].decode(errors='replace')}"


async def _send_to_mlflow(connection: Connection, report: MlflowReport) -> str | None:
    api = "/api/2.0/mlflow/runs"
    status, answer = await connection.post(f"{api}/create", report.create)
    if status != 200:
        return f"create: {status} {answer[:120].decode(errors='replace')}"
    run_id = str(json.loads(answer)["run"]["info"]["run_id"])
    head = f'{{"run_id":"{run_id}",'.encode()
    status, answer = await connection.post(f"{api}/log-batch", head + report.batch_tail)
    if status != 200:
        return f"log-batch: {status} {answer[:120].decode(errors='replace')}"
    ended = head + b'"status":"FINISHED","end_time":1790000000000}'
    status, answer = await connection.post(f"{api}/update", ended)
    return None if status == 200 else f"update: {status} {answer[:120].decode(errors='replace')}"


_SENDERS: dict[type[Any], Callable[[Connection, Any], Awaitable[str | None]]] = {
    HubReport: _send_to_hub,
    MlflowReport: _send_to_mlflow,
}
