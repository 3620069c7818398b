"""Sends a made-up fleet's reports to a hub as boxes do: enrol, then POST, and wait when told to.

Some requests are on their way at a time, never more. It is not aware of what a report says, nor
of clocks: the client and the pause are passed in. Used by the command line.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from edgepack.formats.errors import HubError
from edgepack.hub.simulate.boxes import Box
from edgepack.hub.simulate.timeline import Delivery, Plan, deliveries, make_fleet, report_of

#: A hub that is started again is back within this many tries.
_TRIES: Final = 12
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0
_BUSY: Final = (429, 503)
_SHOWN: Final = 300

Pause = Callable[[float], Awaitable[None]]
Clock = Callable[[], float]


@dataclass(slots=True)
class Sent:
    """What became of a fleet's reports.

    Attributes:
        enrolled: Boxes that got a token.
        reports: Reports that the hub answered for.
        bytes: Of their bodies.
        by_status: Reports by the status that the hub gave them.
        waited: Requests that were asked to come later, or found nobody there.
        refused: Reports that the hub did not take, and why.
    """

    enrolled: int = 0
    reports: int = 0
    bytes: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    waited: int = 0
    refused: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Returns the result as a JSON object."""
        return {
            "enrolled": self.enrolled,
            "reports": self.reports,
            "bytes": self.bytes,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "waited": self.waited,
            "refused": self.refused,
        }


class Sender:
    """The boxes' side of a hub's API.

    Args:
        client: Its base address is the hub's.
        enrol_token: What lets a box in for the first time.
        pause: Waits for some seconds.

    Attributes:
        sent: What became of the reports so far.
    """

    def __init__(
        self, client: httpx.AsyncClient, enrol_token: str, pause: Pause = asyncio.sleep
    ) -> None:
        self.sent = Sent()
        self._client = client
        self._enrol_token = enrol_token
        self.pause = pause
        self._tokens: dict[str, asyncio.Future[str]] = {}
        self._chance = random.Random(0)  # noqa: S311 - when to come back, not a secret

    async def token_of(self, box: Box) -> str:
        """Returns a box's token; the first call enrols the box.

        Raises:
            HubError: The hub does not let it in.
        """
        known = self._tokens.get(box.device_id)
        if known is not None:
            return await known
        future = self._tokens[box.device_id] = asyncio.get_running_loop().create_future()
        try:
            token = await self._enrol(box)
        except HubError as error:
            future.set_exception(error)
            # Who waits for it sees it; nobody may.
            future.exception()
            raise
        future.set_result(token)
        return token

    async def send(self, box: Box, bodies: Sequence[bytes]) -> None:
        """Sends some reports of one box in one request.

        Raises:
            HubError: Nobody answers, or the hub does not know the box.
        """
        token = await self.token_of(box)
        many = len(bodies) > 1
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-ndjson" if many else "application/json",
        }
        answer = await self._post("/api/reports", b"\n".join(bodies), headers)
        if answer.status_code in (401, 403):
            raise HubError(f"{self._place('/api/reports')}: {_said(answer)}")
        self.sent.reports += len(bodies)
        self.sent.bytes += sum(map(len, bodies))
        for status in _statuses(answer, len(bodies)):
            self.sent.by_status[status] += 1
        if answer.status_code >= 400:  # noqa: PLR2004 - what HTTP calls an error
            self.sent.refused.append(f"box {box.number}: {_said(answer)}")

    async def _enrol(self, box: Box) -> str:
        headers = {"Authorization": f"Bearer {self._enrol_token}"}
        shown = box.text is not None and box.text.isprintable()
        label = box.text if shown else f"{box.kind.key} {box.number:05d}"
        answer = await self._post(
            "/api/enrol", {"device_id": box.device_id, "label": label or ""}, headers
        )
        if answer.status_code != httpx.codes.CREATED:
            raise HubError(
                f"{self._place('/api/enrol')}: box {box.number} is not let in: {_said(answer)}",
                hint="an enrolment token is good for as many boxes as it was made for; a fleet "
                "that the hub knows already needs another --seed",
            )
        self.sent.enrolled += 1
        return str(answer.json()["token"])

    async def _post(
        self, path: str, body: bytes | dict[str, str], headers: dict[str, str]
    ) -> httpx.Response:
        why = ""
        for number in range(_TRIES):
            try:
                if isinstance(body, bytes):
                    answer = await self._client.post(path, content=body, headers=headers)
                else:
                    answer = await self._client.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                why, wanted_s = str(error) or type(error).__name__, 0.0
            else:
                if answer.status_code not in _BUSY:
                    return answer
                why, wanted_s = _said(answer), _retry_after_s(answer)
            self.sent.waited += 1
            doubled_s = _FIRST_PAUSE_S * 2**number * self._chance.uniform(0.5, 1.0)
            await self.pause(min(max(wanted_s, doubled_s), _LONGEST_PAUSE_S))
        raise HubError(f"{self._place(path)}: {why}", hint="is the hub running at that address?")

    def _place(self, path: str) -> str:
        return str(self._client.base_url.join(path))


async def send_fleet(
    plan: Plan,
    sender: Sender,
    *,
    concurrency: int = 16,
    rate: float | None = None,
    clock: Clock = time.monotonic,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Sent:
    """Sends everything a fleet has to say, in the order in which it would arrive.

    Args:
        plan: The fleet and its days; they pass as fast as the hub takes them.
        sender: Sends it.
        concurrency: The most requests on their way at a time.
        rate: The most reports a second; None for no limit.
        clock: Seconds, for the rate.
        progress: Told how many deliveries are done, of how many.

    Returns:
        What became of them.

    Raises:
        HubError: Nobody answers, or a box is not let in.
    """
    planned = deliveries(plan, make_fleet(plan))
    paced = _Paced(iter(planned), rate, sender.pause, clock)
    done = 0

    async def work() -> None:
        nonlocal done
        async for delivery in paced:
            bodies = [report_of(plan, each).to_bytes() for each in delivery.reports]
            await sender.send(delivery.reports[0].box, bodies)
            done += 1
            progress(done, len(planned))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except* HubError as errors:
        raise errors.exceptions[0] from None
    return sender.sent


class _Paced(AsyncIterator[Delivery]):
    """Hands deliveries out to several workers, no faster than a rate of reports."""

    def __init__(
        self, queue: Iterator[Delivery], rate: float | None, pause: Pause, clock: Clock
    ) -> None:
        self._queue = queue
        self._rate = rate
        self._pause = pause
        self._clock = clock
        self._due_s = 0.0

    async def __anext__(self) -> Delivery:
        delivery = next(self._queue, None)
        if delivery is None:
            raise StopAsyncIteration
        if self._rate is not None:
            now_s = self._clock()
            begin_s = max(self._due_s, now_s)
            self._due_s = begin_s + len(delivery.reports) / self._rate
            await self._pause(begin_s - now_s)
        return delivery


def _statuses(answer: httpx.Response, count: int) -> list[int]:
    """The status of each report; a batch's answer has one for each of its lines."""
    return [answer.status_code] * count


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _said(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.text[:_SHOWN].strip()}"
