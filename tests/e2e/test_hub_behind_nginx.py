"""Two real processes of the hub on one PostgreSQL, behind a real nginx with the file of deploy/."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import itertools
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import migrate
from tests.campaigns.hub_load import Serving
from tests.e2e.nginx import Answer, Nginx, ask, nginx_running
from tests.e2e.postgresql import PostgreSQL
from tests.hub.reports import report_bytes

#: docs/hub.md: a revoked token is refused by every process within five seconds.
_REVOKED_WITHIN_S = 5.0
_JSON = {"Content-Type": "application/json"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class _Site:
    """What a company would run."""

    nginx: Nginx
    processes: tuple[Serving, Serving]
    reader: str
    enrol: str
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def ask_process(
        self, which: int, method: str, path: str, token: str, body: bytes = b""
    ) -> Answer:
        """Asks one of the two past nginx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.processes[which].port, timeout=60)
        return ask(connection, method, path, body, {**_JSON, **_bearer(token)})

    def box(self) -> tuple[str, str]:
        """Enrols a box through nginx; returns its name and token."""
        name = str(uuid.uuid4())
        body = json.dumps({"device_id": name, "label": "till"}).encode()
        answer = self.nginx.send("POST", "/api/enrol", body, {**_JSON, **_bearer(self.enrol)})
        assert answer.status == 201, answer.body
        return name, str(json.loads(answer.body)["token"])

    def report(self, name: str) -> bytes:
        """Makes a report that is not there yet."""
        return report_bytes(next(self._numbers), device=name)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def site(
    postgresql: PostgreSQL, nginx: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Site]:
    store = postgresql.new_database()
    engine = open_engine(store)
    migrate(engine)
    credentials, now_ms = Credentials(engine), time.time_ns() // 1_000_000
    reader = credentials.make(Role.READER, now_ms)
    enrol = credentials.make(Role.ENROL, now_ms, uses=100)
    engine.dispose()
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other", "proxy")]
    with contextlib.ExitStack() as stack:
        one, other = (Serving(store, each, "--proxy", "127.0.0.1") for each in folders[:2])
        for each in (one, other):
            each.start()
            stack.callback(each.kill)
        for each in (one, other):
            each.wait()
        running = nginx_running(nginx, folders[2], (one.port, other.port))
        yield _Site(stack.enter_context(running), (one, other), reader, enrol)


def test_wrong_tokens_are_counted_for_each_client_and_not_for_the_proxy(site: _Site) -> None:
    wrong = _bearer("edgepack_reader_nobody")
    refused = 0
    guessing = site.nginx.connect("127.0.0.2")
    with contextlib.closing(guessing):
        # Each process lets sixty pass at first; in the end both of them are tired of it.
        for _ in range(400):
            answer = ask(guessing, "GET", "/api/fleet", headers=wrong, keep=True)
            refused = refused + 1 if answer.status == 429 else 0
            if refused == 8:
                break
        assert refused == 8
        assert int(answer.headers["Retry-After"]) > 0
        # Who says that he is another one is not believed.
        told = {**wrong, "X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1"}
        assert ask(guessing, "GET", "/api/fleet", headers=told, keep=True).status == 429
        # A good token is not held up by the wrong ones of its address.
        good = ask(guessing, "GET", "/api/fleet", headers=_bearer(site.reader), keep=True)
        assert good.status == 200
    elsewhere = ask(site.nginx.connect("127.0.0.3"), "GET", "/api/fleet", headers=wrong)
    assert elsewhere.status == 401


def test_what_is_too_large_is_refused_by_nginx_and_what_unpacks_too_large_by_the_hub(
    site: _Site,
) -> None:
    name, token = site.box()
    told = {**_JSON, **_bearer(token)}
    announced = {**told, "Content-Length": str(17 * 2**20)}
    large = site.nginx.send("POST", "/api/reports", b"", announced)
    assert (large.status, b"nginx" in large.body) == (413, True)
    bomb = gzip.compress(b" " * (17 * 2**20) + site.report(name))
    answer = site.nginx.send("POST", "/api/reports", bomb, {**told, "Content-Encoding": "gzip"})
    assert answer.status == 413
    assert json.loads(answer.body)["error"]
    assert site.ask_process(0, "GET", f"/devices/{name}", site.reader).body.count(b"<h1") == 1


def test_a_signed_in_browser_is_signed_in_at_both_processes_and_stays_at_https(
    site: _Site,
) -> None:
    away = site.nginx.send("GET", "/compare?scenario=offline")
    assert (away.status, away.headers["Location"]) == (
        303,
        "/login?next=%2Fcompare%3Fscenario%3Doffline",
    )
    body = f"token={site.reader}".encode()
    entered = site.nginx.send("POST", "/login?next=%2Fcompare", body, _FORM)
    assert (entered.status, entered.headers["Location"]) == (303, "/compare")
    cookie = entered.headers["set-cookie"]
    assert {"Secure", "HttpOnly", "SameSite=lax"} <= set(re.split("; ", cookie))
    held = {"Cookie": cookie.partition(";")[0]}
    for path in ("/", "/compare", "/releases", "/static/hub.css"):
        pages = [site.nginx.send("GET", path, headers=held) for _ in range(2)]
        assert [each.status for each in pages] == [200, 200], path
        assert all(each.headers["content-security-policy"] for each in pages)
    # An address that the hub makes whole has the scheme and the host that the browser typed.
    whole = site.nginx.send("GET", "/compare/", headers=held)
    assert whole.status == 307
    assert whole.headers["Location"] == "https://hub.example/compare"
    assert site.nginx.send("GET", "/metrics", headers=held).status == 404


def test_a_report_that_one_process_took_is_read_at_the_other(site: _Site) -> None:
    name, token = site.box()
    report = site.report(name)
    assert site.ask_process(0, "POST", "/api/reports", token, report).status == 201
    page = site.ask_process(1, "GET", f"/devices/{name}", site.reader)
    assert page.status == 200
    assert json.loads(report)["report_id"].encode() in page.body
    # Sent again, packed and to whichever, it is known.
    told = {**_JSON, **_bearer(token), "Content-Encoding": "gzip"}
    for _ in range(4):
        again = site.nginx.send("POST", "/api/reports", gzip.compress(report), told)
        assert (again.status, json.loads(again.body)["outcome"]) == (200, "seen")


def test_a_token_that_was_replaced_at_one_process_ends_at_the_other_within_five_seconds(
    site: _Site,
) -> None:
    name, old = site.box()
    for which in (0, 1):
        answer = site.ask_process(which, "POST", "/api/reports", old, site.report(name))
        assert answer.status == 201
    rotated = site.ask_process(0, "POST", "/api/rotate", old)
    assert rotated.status in (200, 201), rotated.body
    new = str(json.loads(rotated.body)["token"])
    assert site.ask_process(0, "POST", "/api/reports", old, site.report(name)).status == 401
    # Both knew the old one before it was replaced, so neither may know it for longer than this.
    time.sleep(_REVOKED_WITHIN_S)
    assert site.ask_process(1, "POST", "/api/reports", old, site.report(name)).status == 401
    assert site.ask_process(1, "POST", "/api/reports", new, site.report(name)).status == 201


def test_with_one_of_two_killed_nobody_notices_and_it_may_come_back(site: _Site) -> None:
    name, token = site.box()
    told = {**_JSON, **_bearer(token)}
    one, _ = site.processes
    assert one.kill()
    for _ in range(10):
        sent = site.nginx.send("POST", "/api/reports", site.report(name), told)
        assert sent.status == 201, sent.body
        page = site.nginx.send("GET", f"/devices/{name}", headers=_bearer(site.reader))
        assert page.status == 200
    one.start()
    one.wait()
    assert site.ask_process(0, "POST", "/api/reports", token, site.report(name)).status == 201
    found = site.ask_process(0, "GET", f"/devices/{name}", site.reader)
    assert found.status == 200
