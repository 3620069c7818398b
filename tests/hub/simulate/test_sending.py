from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from edgepack.formats.errors import HubError
from edgepack.formats.report import check_report
from edgepack.hub.simulate.sending import Sender, Sent, send_fleet
from edgepack.hub.simulate.timeline import Plan, benchmarks_of, deliveries, make_fleet

_PLAN = Plan(seed=2, devices=24, days=6, end_ms=1_790_000_000_000)
_ENROL = "edgepack_enrol_x"


class Hub:
    """A hub's API in memory: who may what, which ids it has seen, and when it is busy."""

    def __init__(self, *, uses: int = 1000) -> None:
        self.uses = uses
        self.devices: dict[str, str] = {}
        self.reports: dict[str, bytes] = {}
        self.at_once = self.most_at_once = 0
        self.trouble: Iterator[httpx.Response | httpx.TransportError] = iter(())

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        trouble = next(self.trouble, None)
        if isinstance(trouble, httpx.TransportError):
            raise trouble
        if trouble is not None:
            return trouble
        bearer = request.headers["Authorization"].removeprefix("Bearer ")
        if request.url.path == "/api/enrol":
            return self._enrol(bearer, json.loads(request.content))
        return self._take(bearer, request)

    def _enrol(self, bearer: str, body: dict[str, str]) -> httpx.Response:
        if bearer != _ENROL or self.uses < 1:
            return httpx.Response(401, json={"detail": "the token is used up"})
        if body["device_id"] in self.devices.values():
            return httpx.Response(409, json={"detail": "there is such a device"})
        self.uses -= 1
        token = f"edgepack_device_{len(self.devices)}"
        self.devices[token] = body["device_id"]
        return httpx.Response(201, json={"token": token})

    def _take(self, bearer: str, request: httpx.Request) -> httpx.Response:
        many = request.headers["Content-Type"] == "application/x-ndjson"
        lines = request.content.split(b"\n") if many else [request.content]
        results = []
        for line in lines:
            document = json.loads(line)
            assert check_report(document) == []
            if document["device_id"] != self.devices[bearer]:
                return httpx.Response(403, json={"detail": "another's"})
            before = self.reports.setdefault(document["report_id"], line)
            results.append(201 if before is line else 200)
        return httpx.Response(201 if 201 in results else 200, json={"results": results})


def _send(
    hub: Hub, plan: Plan = _PLAN, *, enrol: str = _ENROL, concurrency: int = 4
) -> tuple[Sent, list[float]]:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def run() -> Sent:
        transport = httpx.MockTransport(hub)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub.test") as client:
            return await send_fleet(plan, Sender(client, enrol, pause), concurrency=concurrency)

    return asyncio.run(run()), pauses


def test_everything_a_fleet_measured_reaches_the_hub_once() -> None:
    hub = Hub()
    sent, _ = _send(hub)
    fleet = make_fleet(_PLAN)
    assert len(hub.reports) == sum(1 for box in fleet for _ in benchmarks_of(_PLAN, box))
    assert set(hub.devices.values()) == {box.device_id for box in fleet}
    assert sent.enrolled == len(fleet)
    assert not sent.refused
    assert sent.bytes > sum(map(len, hub.reports.values()))


def test_what_is_sent_twice_and_in_bursts_is_counted() -> None:
    sent, _ = _send(Hub())
    planned = deliveries(_PLAN, make_fleet(_PLAN))
    assert sent.reports == sum(len(each.reports) for each in planned)
    assert any(len(each.reports) > 1 for each in planned)
    again = sum(len(each.reports) for each in planned if each.again)
    assert again
    assert sent.by_status == Counter({201: sent.reports - again, 200: again})


def test_no_more_requests_are_on_their_way_than_may_be() -> None:
    hub = Hub()
    _send(hub, concurrency=3)
    assert hub.most_at_once == 3


def test_a_busy_hub_is_asked_later_as_it_says_and_nothing_is_lost() -> None:
    hub = Hub()
    hub.trouble = iter(
        [
            httpx.Response(503, headers={"Retry-After": "7"}),
            httpx.Response(429, headers={"Retry-After": "3"}),
            httpx.ConnectError("nobody listens"),
            httpx.ReadError("cut"),
        ]
    )
    sent, pauses = _send(hub, concurrency=1)
    assert sent.waited == 4
    assert pauses[0] == 7
    assert pauses[1] == 3
    assert len(hub.reports) == sum(
        1 for box in make_fleet(_PLAN) for _ in benchmarks_of(_PLAN, box)
    )


def test_a_hub_that_never_answers_ends_it_with_its_address() -> None:
    class Gone(Hub):
        async def __call__(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("nobody listens")

    with pytest.raises(HubError, match=r"http://hub\.test/api/enrol: nobody listens"):
        _send(Gone())


def test_a_token_that_is_used_up_says_so() -> None:
    with pytest.raises(HubError, match=r"is not let in: 401.*used up") as caught:
        _send(Hub(uses=5))
    assert "good for as many boxes" in str(caught.value.hint)


def test_a_fleet_that_the_hub_knows_already_is_refused() -> None:
    hub = Hub()
    _send(hub)
    with pytest.raises(HubError, match="409"):
        _send(hub)


def test_a_rate_is_kept_over_all_workers() -> None:
    hub, now = Hub(), [100.0]

    async def pause(seconds: float) -> None:
        # Whoever waits sleeps at the same time as the others.
        until = now[0] + seconds
        await asyncio.sleep(0)
        now[0] = max(now[0], until)

    async def run() -> Sent:
        transport = httpx.MockTransport(hub)
        async with httpx.AsyncClient(transport=transport, base_url="http://hub.test") as client:
            sender = Sender(client, _ENROL, pause)
            return await send_fleet(_PLAN, sender, rate=5.0, clock=lambda: now[0])

    sent = asyncio.run(run())
    assert now[0] - 100.0 == pytest.approx(sent.reports / 5.0, rel=0.05)
