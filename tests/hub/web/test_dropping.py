"""The hub's own dropping of what is old, seen from outside."""

from __future__ import annotations

import asyncio
import re
import time

import httpx
from sqlalchemy import Engine

from edgepack.hub.access.roles import Role
from edgepack.hub.store.keeping import Retention
from edgepack.hub.web.settings import HubSettings
from tests.hub.reports import NOW_MS
from tests.hub.stores import DAY_MS, Filler
from tests.hub.web.test_api import Hub

_MOMENT = "edgepack_hub_prune_timestamp_seconds"


def _metrics(hub: Hub, *, until: str) -> str:
    """Reads the metrics until there is a line like this."""
    token = hub.credentials.make(Role.READER, NOW_MS)

    async def run() -> str:
        transport = httpx.ASGITransport(hub.app)
        async with (
            hub.app.router.lifespan_context(hub.app),
            httpx.AsyncClient(transport=transport, base_url="http://hub") as client,
        ):
            deadline = time.monotonic() + 60
            while True:
                answer = await client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
                if re.search(until, answer.text):
                    return answer.text
                assert time.monotonic() < deadline, answer.text
                await asyncio.sleep(0.01)

    return asyncio.run(run())


def _fill(store: Engine) -> None:
    fill = Filler(store)
    fill.report(fill.device(), fill.setup(fill.release()), created_ms=NOW_MS - 40 * DAY_MS)
    fill.connect().close()
    fill.close()


def test_a_hub_drops_nothing_by_itself(store: Engine) -> None:
    text = _metrics(Hub(store), until=_MOMENT)
    assert f"{_MOMENT} 0.0" in text


def test_a_hub_that_is_told_to_drops_what_is_old_and_says_so(store: Engine) -> None:
    _fill(store)
    settings = HubSettings(prune_every_s=0.01, retention=Retention(documents=30))
    text = _metrics(Hub(store, settings), until=rf"{_MOMENT} [1-9]")
    assert 'edgepack_hub_pruned_rows_total{kind="documents"} 1.0' in text
    assert 'edgepack_hub_pruned_rows_total{kind="reports"} 0.0' in text
    assert "edgepack_hub_prune_failures_total 0.0" in text
