from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import pytest

from edgepack.runner.http.messages import RefusalError, Response
from edgepack.runner.http.routes import Routes
from edgepack.runner.http.wire import Request


def _answer(_request: Request, parameters: Sequence[str]) -> Response:
    return Response(200, ",".join(parameters).encode())


@pytest.fixture
def routes() -> Routes:
    table = Routes()
    table.add("POST", "/recommend", _answer)
    table.add_pattern(
        "GET", r"/v2/models/([^/]+)(?:/versions/(\d+))?", "/v2/models/{name}", _answer
    )
    table.add_pattern("POST", r"/v2/models/([^/]+)/infer", "/v2/models/{name}/infer", _answer)
    return table


def test_a_pattern_hands_on_what_its_groups_matched(routes: Routes) -> None:
    assert routes.find("GET", "/v2/models/a/versions/3").parameters == ("a", "3")
    assert routes.find("GET", "/v2/models/a").parameters == ("a", "")


def test_the_label_does_not_grow_with_what_clients_type(routes: Routes) -> None:
    assert routes.find("GET", "/v2/models/anything").route.label == "/v2/models/{name}"


def test_head_is_answered_as_get(routes: Routes) -> None:
    assert routes.find("HEAD", "/v2/models/a").route.label == "/v2/models/{name}"


@pytest.mark.parametrize(
    ("path", "allowed"), [("/recommend", "POST"), ("/v2/models/a", "GET, HEAD")]
)
def test_another_method_names_the_allowed_ones(routes: Routes, path: str, allowed: str) -> None:
    with pytest.raises(RefusalError, match="takes") as refused:
        routes.find("DELETE", path)
    assert refused.value.status is HTTPStatus.METHOD_NOT_ALLOWED
    assert ("Allow", allowed) in refused.value.headers


def test_an_unknown_path_names_the_known_ones(routes: Routes) -> None:
    with pytest.raises(RefusalError, match=r"/recommend, /v2/models/…") as refused:
        routes.find("GET", "/v3")
    assert refused.value.status is HTTPStatus.NOT_FOUND
