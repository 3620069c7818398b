"""A hub is asked over HTTP: what is sent, and what becomes of every kind of answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from edgepack.formats.errors import HubError
from edgepack.formats.evidence import Limits
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.answers.sheet import Chart, Sheet
from edgepack.hub.answers.table import Column, Table, Unit
from edgepack.hub.sources import remote
from edgepack.hub.sources.remote import HubSource
from tests.evidence import EVIDENCE

SHEET = Sheet(
    "Fleet", ("1 of 1 devices",), (Table("fleet", "Fleet", (Column("n", "N", Unit.NS),), ((5,),)),)
)
Answer = Callable[[httpx.Request], httpx.Response]


class Hub:
    """A hub that answers as it is told and remembers what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[httpx.Request] = []
        self._answer = answer

    def source(
        self,
        url: str = "https://hub.example",
        *,
        limit: int = remote.MAX_ANSWER_BYTES,
        charts: bool = False,
    ) -> HubSource:
        transport = httpx.MockTransport(self._take)
        return HubSource(url, "t0ken", transport=transport, limit=limit, charts=charts)

    def source_without_token(self) -> HubSource:
        transport = httpx.MockTransport(self._take)
        return HubSource("https://hub.example", None, transport=transport)

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self._answer(request)


def _hub(status: int = 200, body: object = None) -> Hub:
    content = body if isinstance(body, bytes) else json.dumps(body or SHEET.to_json()).encode()
    return Hub(lambda request: httpx.Response(status, content=content))


def test_every_question_goes_to_its_address_with_the_token() -> None:
    hub = _hub()
    source = hub.source("https://hub.example/edge/")
    assert source.fleet(FleetQuery(target="arm64", text="a&b")) == SHEET
    source.device("box/1?", days=3)
    source.compare(CompareQuery(facts=(("box", "Pi 4"), ("power_mode", "-"))))
    source.releases(model="session", target=None)
    source.release("3f9c", before="00aa")
    assert [(each.url.raw_path.decode(), dict(each.url.params)) for each in hub.asked][:2] == [
        ("/edge/api/fleet?target=arm64&text=a%26b", {"target": "arm64", "text": "a&b"}),
        ("/edge/api/devices/box%2F1%3F?days=3", {"days": "3"}),
    ]
    assert hub.asked[2].url.params.get_list("fact") == ["box=Pi 4", "power_mode=-"]
    assert hub.asked[3].url.path == "/edge/api/releases"
    assert dict(hub.asked[4].url.params) == {"before": "00aa"}
    assert {each.headers["Authorization"] for each in hub.asked} == {"Bearer t0ken"}


def test_without_a_token_none_is_sent() -> None:
    hub = _hub()
    hub.source_without_token().fleet(FleetQuery())
    assert "Authorization" not in hub.asked[0].headers


def test_evidence_is_parsed_and_its_question_sent() -> None:
    hub = _hub(body=EVIDENCE.to_bytes())
    query = SelectQuery("arm64", limits=Limits(max_p99_ns=2_500_000, min_quality=0.99))
    assert hub.source().select(query) == EVIDENCE
    assert dict(hub.asked[0].url.params) == {
        "target": "arm64",
        "max_p99_ms": "2.5",
        "min_quality": "0.99",
    }


def test_a_document_comes_as_it_was_sent() -> None:
    assert _hub(body=b'{"a":1}').source().document("box", "id") == b'{"a":1}'


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_which_token_is_needed(status: int) -> None:
    with pytest.raises(HubError, match=f"refuses to answer \\({status}\\)") as caught:
        _hub(status, {"message": "this token may not read"}).source().fleet(FleetQuery())
    assert "this token may not read" in caught.value.message
    assert caught.value.hint is not None
    assert "EDGEPACK_HUB_TOKEN" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"<html>", "there is no such thing"),
        (500, b"", "status 500"),
        (503, b'{"detail": "busy\\u001b[31m"}', "status 503: busy [31m"),
        (302, b"", "status 302"),
        (200, b"<html>hello", "not valid JSON"),
        (200, b"[]", "an object was expected"),
        (200, b'{"schema": "other"}', "expected 'edgepack.answer/1'"),
        (200, b'{"schema": "edgepack.answer/1", "title": ""}', "cannot be read"),
    ],
)
def test_whatever_else_is_answered_is_one_sentence(status: int, body: bytes, words: str) -> None:
    with pytest.raises(HubError) as caught:
        _hub(status, body).source().fleet(FleetQuery())
    assert words in caught.value.message


def test_a_redirect_is_not_followed_with_the_token() -> None:
    hub = Hub(lambda r: httpx.Response(302, headers={"Location": "https://elsewhere.example/"}))
    with pytest.raises(HubError):
        hub.source().fleet(FleetQuery())
    assert len(hub.asked) == 1


def test_a_hub_that_cannot_be_reached_is_named_without_secrets() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with pytest.raises(HubError) as caught:
        Hub(fail).source("https://user:secret@hub.example").fleet(FleetQuery())
    assert caught.value.message == "https://hub.example cannot be asked: connection refused"
    assert "secret" not in caught.value.message


def test_an_endless_answer_is_cut_off() -> None:
    with pytest.raises(HubError, match="more than 1000 bytes"):
        _hub(body=b"x" * 1001).source(limit=1000).fleet(FleetQuery())


def test_evidence_that_is_none_is_the_hubs_fault() -> None:
    with pytest.raises(HubError, match="not valid JSON"):
        _hub(body=b"<html>").source().select(SelectQuery("arm64"))


def test_charts_are_asked_for_and_a_hub_that_sends_none_is_said_to_be_old() -> None:
    body = SHEET.to_json() | {"charts": [{"title": "T", "svg": "<svg/>", "legend": [], "note": ""}]}
    for sent, lines, charts in ((body, 1, (Chart("T", "<svg/>"),)), (SHEET.to_json(), 2, None)):
        hub = _hub(body=sent)
        sheet = hub.source(charts=True).fleet(FleetQuery(target="arm64"))
        assert hub.asked[0].url.query == b"target=arm64&charts=1"
        assert len(sheet.lines) == lines
        assert sheet.charts == charts
