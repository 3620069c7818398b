"""The short way answers as the application does without it."""

from __future__ import annotations

import gzip
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from edgepack.hub.access.roles import Role
from edgepack.hub.web.settings import HubSettings
from tests.hub.reports import DEVICE, report_bytes
from tests.hub.web.test_api import Hub

_JSON = {"Content-Type": "application/json"}
_LINES = {"Content-Type": "application/x-ndjson"}


def _without_shortcut(engine: Engine, settings: HubSettings | None = None) -> Hub:
    hub = Hub(engine, settings)
    kept = [each for each in hub.app.user_middleware if each.kwargs.get("path") != "/api/reports"]
    assert len(kept) == len(hub.app.user_middleware) - 1
    hub.app.user_middleware[:] = kept
    return hub


def _told(answer: httpx.Response) -> tuple[int, dict[str, str], Any]:
    return answer.status_code, dict(answer.headers), answer.json()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (report_bytes(1), {}),
        (report_bytes(1), {"Content-Type": "text/plain"}),
        (report_bytes(1, device="other-box"), _JSON),
        (report_bytes(1, runs=3), _JSON),
        (b"{", _JSON),
        (b"\n", _LINES),
        (b"x", {**_JSON, "Content-Encoding": "gzip"}),
        (report_bytes(1), {**_JSON, "Content-Encoding": "br"}),
        (b"x" * (16 * 2**20 + 1), _JSON),
        (b"\n".join([report_bytes(0), b"{}"]), _LINES),
        (gzip.compress(report_bytes(0)), {**_JSON, "Content-Encoding": "gzip"}),
        (report_bytes(0, edgepack="9"), _JSON),
    ],
)
def test_every_answer_is_the_same(store: Engine, body: bytes, headers: dict[str, str]) -> None:
    hub, slow = Hub(store), _without_shortcut(store)
    token = hub.enrolled()
    assert hub.post(report_bytes(0), _JSON, token).status_code == 201
    assert _told(hub.post(body, headers, token)) == _told(slow.post(body, headers, token))


def test_who_may_not_is_told_the_same(store: Engine) -> None:
    hub, slow = Hub(store), _without_shortcut(store)
    reader = hub.credentials.make(Role.READER, 0)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {reader}"}):
        asked = ("POST", "/api/reports", {"content": b"{}", "headers": headers})
        (quick,), (other,) = hub.ask(asked), slow.ask(asked)
        assert quick.status_code in (401, 403)
        assert _told(quick) == _told(other)


def test_a_store_that_is_away_is_told_the_same(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, slow = Hub(store), _without_shortcut(store)
    token = hub.enrolled()
    with store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE credential RENAME TO elsewhere")
    quick = hub.post(report_bytes(0), _JSON, token)
    assert (quick.status_code, quick.headers["Retry-After"]) == (503, "5")
    assert _told(quick) == _told(slow.post(report_bytes(0), _JSON, token))


def test_a_device_that_sends_too_much_is_told_the_same(store: Engine) -> None:
    settings = HubSettings(reports_per_minute=1, burst=1)
    answers: list[httpx.Response] = []
    for hub in (Hub(store, settings), _without_shortcut(store, settings)):
        token = hub.credentials.reissue(DEVICE, 0) if answers else hub.enrolled()
        sent = {
            "content": report_bytes(7),
            "headers": {**_JSON, "Authorization": f"Bearer {token}"},
        }
        answers.append(hub.ask(*[("POST", "/api/reports", sent)] * 2)[1])
    assert answers[0].status_code == 429
    assert _told(answers[0]) == _told(answers[1])


def test_it_is_for_this_one_question_only(store: Engine) -> None:
    hub, slow = Hub(store), _without_shortcut(store)
    for method, path in (
        ("GET", "/api/reports"),
        ("POST", "/api/reports/"),
        ("PUT", "/api/reports"),
    ):
        (quick,), (other,) = hub.ask((method, path, {})), slow.ask((method, path, {}))
        assert (quick.status_code, quick.text) == (other.status_code, other.text)


def test_requests_are_counted_under_the_route(store: Engine) -> None:
    hub = Hub(store)
    token = hub.enrolled()
    hub.post(report_bytes(0), _JSON, token)
    text = hub.get("/metrics", hub.credentials.make(Role.READER, 0)).text
    assert 'route="/api/reports"' in text
    assert 'route="other"' not in text
