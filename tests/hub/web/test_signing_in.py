from __future__ import annotations

import pytest
from sqlalchemy import Engine

from edgepack.hub.access.roles import Role
from tests.hub.reports import NOW_MS
from tests.hub.web.test_api import Hub


@pytest.fixture
def hub(store: Engine) -> Hub:
    return Hub(store)


def _form(token: str) -> dict[str, object]:
    return {"data": {"token": token}}


def test_a_page_sends_somebody_unknown_to_sign_in_and_back(hub: Hub) -> None:
    token = hub.credentials.make(Role.READER, NOW_MS)
    away, there, page = hub.ask(
        ("GET", "/compare?model=a%26b", {}),
        ("POST", "/login?next=%2Fcompare%3Fmodel%3Da%2526b", _form(token)),
        ("GET", "/compare", {}),
    )
    assert away.status_code == 303
    assert away.headers["Location"] == "/login?next=%2Fcompare%3Fmodel%3Da%2526b"
    assert there.headers["Location"] == "/compare?model=a%26b"
    cookie = there.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert page.status_code == 200


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/%5Cevil.example", "evil", "/a%0d%0ab"]
)
def test_signing_in_leads_nowhere_else(hub: Hub, wanted: str) -> None:
    token = hub.credentials.make(Role.READER, NOW_MS)
    (answer,) = hub.ask(("POST", f"/login?next={wanted}", _form(token)))
    assert answer.headers["Location"] == "/"


def test_a_token_that_is_not_a_readers_does_not_sign_in(hub: Hub) -> None:
    wrong, device = hub.ask(
        ("POST", "/login", _form("edgepack_reader_" + "x" * 43)),
        ("POST", "/login", _form(hub.enrolled())),
    )
    assert (wrong.status_code, device.status_code) == (401, 403)
    assert "Set-Cookie" not in wrong.headers
    assert "not valid" in wrong.text


def test_signing_out_forgets_the_cookie(hub: Hub) -> None:
    token = hub.credentials.make(Role.READER, NOW_MS)
    _, page, out, again = hub.ask(
        ("POST", "/login", _form(token)),
        ("GET", "/", {}),
        ("POST", "/logout", {}),
        ("GET", "/", {}),
    )
    assert (page.status_code, out.status_code, again.status_code) == (200, 303, 303)


def test_a_program_hears_what_is_wrong_instead_of_a_form(hub: Hub) -> None:
    assert hub.get("/", "edgepack_reader_" + "x" * 43).status_code == 401
    assert hub.get("/api/fleet").status_code == 401
    reader = hub.credentials.make(Role.READER, NOW_MS)
    assert hub.get("/api/fleet", reader).status_code == 200
    assert hub.get("/static/hub.css").status_code == 200
