from __future__ import annotations

import asyncio
import gzip
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.web.app import create_app
from edgepack.hub.web.settings import HubSettings
from tests.hub.reports import DEVICE, NOW_MS, report_bytes

_JSON = {"Content-Type": "application/json"}
_LINES = {"Content-Type": "application/x-ndjson"}


class Hub:
    """The application, asked without a network."""

    def __init__(self, engine: Engine, settings: HubSettings | None = None) -> None:
        self.credentials = Credentials(engine)
        self.app = create_app(engine, settings, now_ms=lambda: NOW_MS, monotonic=lambda: 0.0)

    def ask(self, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
        async def run() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app)
            async with (
                self.app.router.lifespan_context(self.app),
                httpx.AsyncClient(transport=transport, base_url="http://hub") as client,
            ):
                return [
                    await client.request(method, path, **more) for method, path, more in requests
                ]

        return asyncio.run(run())

    def post(self, body: bytes, headers: dict[str, str], token: str) -> httpx.Response:
        sent = {"content": body, "headers": {**headers, "Authorization": f"Bearer {token}"}}
        return self.ask(("POST", "/api/reports", sent))[0]

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.ask(("GET", path, {"headers": headers}))[0]

    def enrolled(self, name: str = DEVICE) -> str:
        enrol = self.credentials.make(Role.ENROL, NOW_MS, uses=1)
        asked = {"json": {"device_id": name}, "headers": {"Authorization": f"Bearer {enrol}"}}
        (answer,) = self.ask(("POST", "/api/enrol", asked))
        assert answer.status_code == 201, answer.text
        return str(answer.json()["token"])


@pytest.fixture
def hub(store: Engine) -> Hub:
    return Hub(store)


def test_a_report_is_taken_once(hub: Hub) -> None:
    token = hub.enrolled()
    first = hub.post(report_bytes(), _JSON, token)
    again = hub.post(report_bytes(), _JSON, token)
    assert (first.status_code, first.json()["outcome"]) == (201, "new")
    assert (again.status_code, again.json()["outcome"]) == (200, "seen")
    other = hub.post(report_bytes(edgepack="9"), _JSON, token)
    assert (other.status_code, other.json()["outcome"]) == (409, "conflict")


def test_several_reports_come_as_lines_and_gzip_and_each_is_answered(hub: Hub) -> None:
    token = hub.enrolled()
    lines = b"\n".join([report_bytes(1), b"{}", report_bytes(2), report_bytes(1)])
    answer = hub.post(gzip.compress(lines), {**_LINES, "Content-Encoding": "gzip"}, token)
    assert answer.status_code == 207
    assert [each["status"] for each in answer.json()["reports"]] == [201, 422, 201, 200]


def test_several_that_were_all_taken_now_or_before_are_one_status(hub: Hub) -> None:
    token = hub.enrolled()
    assert (
        hub.post(b"\n".join([report_bytes(1), report_bytes(2)]), _LINES, token).status_code == 201
    )
    mixed = hub.post(b"\n".join([report_bytes(1), report_bytes(3)]), _LINES, token)
    assert mixed.status_code == 200
    assert [each["status"] for each in mixed.json()["reports"]] == [200, 201]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", _JSON, 400),
        (b"{}", _JSON, 422),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {}, 415),
        (b"{}", {**_JSON, "Content-Encoding": "br"}, 415),
        (b"{}", {**_JSON, "Content-Encoding": "gzip"}, 400),
        (b"", _LINES, 400),
        (b" " * (1024 * 1024 + 1), _JSON, 413),
        (b" " * (16 * 1024 * 1024 + 1), _JSON, 413),
        (report_bytes(device="somebody-else"), _JSON, 403),
    ],
)
def test_what_is_not_taken_says_why(
    hub: Hub, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = hub.post(body, headers, hub.enrolled())
    assert answer.status_code == status
    assert answer.json()["error"]


def test_every_role_opens_its_own_doors_only(hub: Hub) -> None:
    device = hub.enrolled()
    reader = hub.credentials.make(Role.READER, NOW_MS)
    assert hub.post(report_bytes(), _JSON, reader).status_code == 403
    assert hub.post(report_bytes(), _JSON, "edgepack_device_" + "x" * 43).status_code == 401
    assert hub.get("/metrics").status_code == 401
    assert hub.get("/metrics", device).status_code == 403
    assert hub.get("/metrics", reader).status_code == 200
    assert "WWW-Authenticate" in hub.get("/metrics").headers
    assert hub.get("/healthz").json()["status"] == "ok"


def test_a_rotated_token_ends_at_once(hub: Hub) -> None:
    old = hub.enrolled()
    headers = {"Authorization": f"Bearer {old}"}
    report = {"content": report_bytes(), "headers": {**headers, **_JSON}}
    sent, rotated, refused = hub.ask(
        ("POST", "/api/reports", report),
        ("POST", "/api/rotate", {"headers": headers}),
        ("POST", "/api/reports", report),
    )
    assert (sent.status_code, rotated.status_code, refused.status_code) == (201, 201, 401)
    assert hub.post(report_bytes(), _JSON, rotated.json()["token"]).status_code == 200


def test_a_device_that_sends_too_much_is_told_when_to_come_back(store: Engine) -> None:
    hub = Hub(store, HubSettings(reports_per_minute=60, burst=2))
    token = hub.enrolled()
    for number in range(2):
        assert hub.post(report_bytes(number), _JSON, token).status_code == 201
    answer = hub.post(report_bytes(3), _JSON, token)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1


def test_guessing_tokens_is_slowed_down(hub: Hub) -> None:
    answers = hub.ask(
        *[
            ("GET", "/metrics", {"headers": {"Authorization": f"Bearer guess-{i}"}})
            for i in range(100)
        ]
    )
    assert {answer.status_code for answer in answers} == {401, 429}


def test_a_store_that_cannot_write_asks_the_box_to_come_back(hub: Hub, store: Engine) -> None:
    token = hub.enrolled()
    with store.begin() as connection:
        # What SQLite says when the disk is full, at the same place.
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON document "
            "BEGIN SELECT RAISE(ABORT, 'no space left on device'); END"
        )
    answer = hub.post(report_bytes(), _JSON, token)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "space" not in answer.text


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"device_id": 5}', b"x" * 5000])
def test_an_enrolment_that_is_none_uses_nothing_up(hub: Hub, body: bytes) -> None:
    token = hub.credentials.make(Role.ENROL, NOW_MS, uses=1)
    headers = {"Authorization": f"Bearer {token}"}
    (answer,) = hub.ask(("POST", "/api/enrol", {"content": body, "headers": headers}))
    assert answer.status_code in (400, 413, 422)
    assert hub.credentials.find(token, NOW_MS) is not None


def test_every_answer_carries_the_headers_that_keep_a_browser_safe(hub: Hub) -> None:
    for path in ("/healthz", "/metrics", "/nothing"):
        headers = hub.get(path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_description_names_every_route_and_how_tokens_come(hub: Hub) -> None:
    described = hub.get("/api/openapi.json").json()
    assert {"/api/reports", "/api/enrol", "/api/rotate", "/healthz"} <= set(described["paths"])
    assert set(described["components"]["securitySchemes"]) == {"bearer", "cookie"}
    assert {"201", "409", "503"} <= set(described["paths"]["/api/reports"]["post"]["responses"])


def test_what_is_counted_is_told_to_prometheus(hub: Hub) -> None:
    token = hub.enrolled()
    hub.post(report_bytes(), _JSON, token)
    hub.post(b"{}", _JSON, token)
    text = hub.get("/metrics", hub.credentials.make(Role.READER, NOW_MS)).text
    assert 'edgepack_hub_reports_total{outcome="new"} 1.0' in text
    assert 'route="/api/reports"' in text
