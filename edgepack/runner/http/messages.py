"""Answers as values, and the way a handler refuses a request.

It is not aware of connections or routes. Used by the modules of `edgepack.runner.http`.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final, NamedTuple

JSON_TYPE = "application/json"
# Made once: `json.dumps` with settings of its own makes an encoder for every call.
_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class Response(NamedTuple):
    """An answer.

    Attributes:
        status: The HTTP status.
        body: Its bytes.
        content_type: What they are.
        headers: More header lines, name and value.
    """

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


class RefusalError(Exception):
    """A request that is not answered as asked; it never leaves this package.

    Attributes:
        status: The HTTP status.
        message: What is wrong with the request and what would be right.
        headers: More header lines for the answer.
    """

    def __init__(
        self, status: HTTPStatus, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers

    def response(self) -> Response:
        """Returns the answer that says so."""
        return error_response(self.status, self.message, self.headers)


def json_response(value: Any, status: int = HTTPStatus.OK) -> Response:
    """Answers with a JSON value.

    Raises:
        ValueError: The value holds NaN or an infinity, which JSON has not.
    """
    return Response(status, _ENCODER.encode(value).encode("ascii"))


def error_response(
    status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Answers with `{"error": message}`."""
    body = json.dumps({"error": message}).encode("ascii")
    return Response(status, body, headers=headers)
