from __future__ import annotations

from http import HTTPStatus

import pytest

from edgepack.runner.http.auth import Guard
from edgepack.runner.http.messages import RefusalError


@pytest.mark.parametrize("header", ["Bearer abc", "bearer  abc", "BEARER abc "])
def test_the_token_opens(header: str) -> None:
    Guard("abc").check({"authorization": header})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "abc"},
        {"authorization": "Basic abc"},
        {"authorization": "Bearer ab"},
        {"authorization": "Bearer abcd"},
        {"authorization": "Bearer \xff"},
        {"authorization": "Bearer abc, Bearer abc"},
    ],
)
def test_anything_else_is_refused_with_what_to_send(headers: dict[str, str]) -> None:
    with pytest.raises(RefusalError, match="Authorization: Bearer") as refused:
        Guard("abc").check(headers)
    assert refused.value.status is HTTPStatus.UNAUTHORIZED
    assert ("WWW-Authenticate", 'Bearer realm="edgepack-runner"') in refused.value.headers
    assert "abc" not in refused.value.message
