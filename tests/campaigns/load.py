"""Clients that ask without a pause over kept connections and count what became of each request.

They check every answer: its status, and where the answer cannot change, that it never does. A
request is lost when it was sent whole and no whole answer came. Used by the campaigns; it knows
nothing of how the server is run.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: How long an answer may take before its request counts as lost; far beyond any deadline.
_PATIENCE_S = 30.0
_BAD_GREETING = -1


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of request.

    Attributes:
        name: Its row in the table.
        weight: How often it is asked, in proportion to the others.
        data: All of its bytes.
        status: The status that is right.
        steady: Whether the body of the answer is always the same.
    """

    name: str
    weight: int
    data: bytes
    status: int = 200
    steady: bool = True


def ask(
    name: str,
    weight: int,
    method: str,
    path: str,
    body: object = None,
    *,
    status: int = 200,
    steady: bool = True,
) -> Ask:
    """Writes a request as the bytes a plain client sends.

    Args:
        name: Its row in the table.
        weight: How often it is asked.
        method: Such as `POST`.
        path: With the query.
        body: Sent as JSON; text goes as it is.
        status: The status that is right.
        steady: Whether the body of the answer is always the same.
    """
    head = f"{method} {path} HTTP/1.1\r\nHost: box\r\n"
    data = b""
    if body is not None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return Ask(name, weight, head.encode() + b"\r\n" + data, status, steady)


def mixed_asks(histories: Sequence[Sequence[str]]) -> list[Ask]:
    """The day of a shop: mostly recommendations, some batches, health, scrapes and mistakes.

    Args:
        histories: Real ones, of all lengths.
    """
    first, longest = list(histories[0]), max(map(list, histories), key=len)
    rows = [
        ask(f"recommend, {len(each)} items", 20, "POST", "/recommend", {"history": list(each)})
        for each in histories
    ]
    return [
        *rows,
        ask("recommend, seen left out", 20, "POST", "/recommend", _without_seen(longest)),
        ask("recommend, nothing known", 5, "POST", "/recommend", {"history": ["nobody"]}),
        ask("batch of 4", 5, "POST", "/recommend", {"histories": [first, longest, [], first]}),
        ask("health", 4, "GET", "/healthz"),
        ask("metrics", 1, "GET", "/metrics", steady=False),
        *_protocol_asks(longest),
        ask("no JSON", 3, "POST", "/recommend", '{"history": [', status=400),
        ask("unknown field", 3, "POST", "/recommend", {"hystory": []}, status=400),
        ask("no such path", 3, "GET", "/nowhere", status=404),
        ask("wrong method", 3, "GET", "/recommend", status=405),
    ]


def _protocol_asks(history: list[str]) -> list[Ask]:
    """What clients written for Triton and for TensorFlow Serving ask of the model `tiny`."""
    names = {"name": "history", "shape": [1, len(history)], "datatype": "BYTES", "data": history}
    row = {"instances": [history]}
    v2, tfs = "/v2/models/tiny", "/v1/models/tiny"
    return [
        ask("V2 infer", 15, "POST", f"{v2}/infer", {"id": "7", "inputs": [names]}),
        ask("V2 metadata", 2, "GET", v2),
        ask("V2 ready", 2, "GET", "/v2/health/ready"),
        ask("V2 wrong input", 2, "POST", f"{v2}/infer", {"inputs": []}, status=400),
        ask("TFS predict", 15, "POST", f"{tfs}:predict", row),
        ask("TFS status", 2, "GET", tfs),
        ask("TFS no instances", 2, "POST", f"{tfs}:predict", {}, status=400),
    ]


def _without_seen(history: list[str]) -> dict[str, object]:
    return {"history": history, "k": 10, "exclude_seen": True}


@dataclass(slots=True)
class Tally:
    """What became of the requests.

    Attributes:
        sent: Requests whose every byte was handed to the kernel.
        answered: Those that a whole answer came back for.
        by_name: Answers of each kind of request.
        wrong: Answers with another status or body than expected, in words, counted.
        lost: Requests that were sent and not answered, by how the connection ended.
        refused: Connections that nobody took.
        reopened: Connections that the server closed after an answer, as it may.
    """

    sent: int = 0
    answered: int = 0
    by_name: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    reopened: int = 0

    @property
    def failures(self) -> int:
        """Requests that were lost or answered wrongly."""
        return sum(self.wrong.values()) + sum(self.lost.values())

    def to_json(self) -> dict[str, object]:
        """Returns the tally as a JSON object."""
        return {
            "sent": self.sent,
            "answered": self.answered,
            "by_name": dict(self.by_name),
            "wrong": dict(self.wrong),
            "lost": dict(self.lost),
            "refused": self.refused,
            "reopened": self.reopened,
        }


class Load:
    """Several clients against one port."""

    def __init__(
        self,
        port: int,
        asks: Sequence[Ask],
        *,
        seed: int = 1,
        same: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """Plans a load.

        Args:
            port: Where the server listens on loopback.
            asks: What is asked.
            seed: Of the order in which it is asked.
            same: Takes out of a body what may differ between two steady answers.
        """
        self._same = same
        self.tally = Tally()
        self.stopping = False
        self._port = port
        self._asks = asks
        self._weights = [each.weight for each in asks]
        self._random = random.Random(seed)
        self._bodies: dict[str, bytes] = {}
        self._left: int | None = None
        self._on_answer: Callable[[int], None] = lambda _: None

    async def run(
        self,
        connections: int,
        requests: int | None = None,
        on_answer: Callable[[int], None] | None = None,
    ) -> Tally:
        """Asks until the requests are used up or `stopping` is set.

        Args:
            connections: Clients at once.
            requests: How many in all; None asks until it is stopped.
            on_answer: Told the count after each answer.

        Returns:
            What became of them.
        """
        self._left = requests
        if on_answer is not None:
            self._on_answer = on_answer
        await asyncio.gather(*(self._client() for _ in range(connections)))
        return self.tally

    async def _client(self) -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while (plan := self._next()) is not None:
            if streams is None:
                streams = await self._connect()
                if streams is None:
                    self._put_back()
                    continue
            keep = await self._ask(plan, *streams)
            if not keep:
                streams[1].close()
                streams = None
                self.tally.reopened += 1
        if streams is not None:
            streams[1].close()

    def _next(self) -> Ask | None:
        if self.stopping or self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        return self._random.choices(self._asks, self._weights)[0]

    def _put_back(self) -> None:
        if self._left is not None:
            self._left += 1

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            return await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.tally.refused += 1
            await asyncio.sleep(0.02)
            return None

    async def _ask(
        self, plan: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Sends one request and reads its answer; whether the connection can be used again."""
        self.tally.sent += 1
        writer.write(plan.data)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_length_of(head))
        except asyncio.IncompleteReadError as error:
            self._lose(plan, "closed in the answer" if error.partial else "closed without a word")
            return False
        except TimeoutError:
            self._lose(plan, f"no answer in {_PATIENCE_S:.0f} s")
            return False
        except OSError as error:
            self._lose(plan, type(error).__name__)
            return False
        self._check(plan, head, body)
        return b"Connection: close" not in head

    def _lose(self, plan: Ask, how: str) -> None:
        self.tally.lost[f"{plan.name}: {how}"] += 1

    def _check(self, plan: Ask, head: bytes, body: bytes) -> None:
        tally = self.tally
        tally.answered += 1
        tally.by_name[plan.name] += 1
        status = int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else _BAD_GREETING
        if status != plan.status:
            tally.wrong[f"{plan.name}: {status} {body[:100]!r}"] += 1
        elif plan.steady and not self._is_as_before(plan.name, self._same(body)):
            tally.wrong[f"{plan.name}: another body than before"] += 1
        self._on_answer(tally.answered)

    def _is_as_before(self, name: str, body: bytes) -> bool:
        return self._bodies.setdefault(name, body) == body


def _length_of(head: bytes) -> int:
    lower = head.lower()
    at = lower.index(b"content-length:") + len(b"content-length:")
    return int(lower[at : lower.index(b"\r\n", at)])
