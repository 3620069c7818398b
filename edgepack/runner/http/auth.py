"""The bearer token that requests must carry, where one is configured.

It is not aware of routes. Used by `app`.

Source: RFC 6750, section 2.1.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http import HTTPStatus

from edgepack.runner.http.messages import RefusalError


class Guard:
    """Knows the token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode("latin-1")

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuses a request without the token.

        Args:
            headers: The request's, names in lower case.

        Raises:
            RefusalError: 401; the answer does not say how close a guess was.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip().encode("latin-1")
        if scheme.lower() == "bearer" and hmac.compare_digest(given, self._token):
            return
        raise RefusalError(
            HTTPStatus.UNAUTHORIZED,
            "a bearer token is needed; send the header Authorization: Bearer TOKEN",
            (("WWW-Authenticate", 'Bearer realm="edgepack-runner"'),),
        )
