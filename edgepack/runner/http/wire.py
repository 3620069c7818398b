"""Requests as they came off the wire, and the head of an answer as it goes onto it.

It is not aware of connections or of parsing. Used by `protocol` and `server`.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

from edgepack.runner.http.messages import Response

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Request(NamedTuple):
    """A whole request.

    Attributes:
        method: Such as `POST`.
        path: Without the query.
        headers: Names in lower case; lines of the same name joined by commas.
        body: All of it.
        keep_alive: Whether the client expects to send another one.
        http_1_0: Whether it speaks HTTP/1.0, where keeping the connection must be said.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    http_1_0: bool


def decode_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Returns header lines by their names in lower case."""
    decoded: dict[str, str] = {}
    for name, value in headers:
        key = str(name, "latin-1").lower()
        text = str(value, "latin-1")
        decoded[key] = f"{decoded[key]}, {text}" if key in decoded else text
    return decoded


def path_of(target: bytes) -> str:
    """Returns the path of a request's target, without its query."""
    if not target.startswith(b"/") and b"://" in target:
        # The absolute form, as sent to proxies (RFC 9112, 3.2.2), must be understood.
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    return target.partition(b"?")[0].decode("latin-1")


def response_head(response: Response, *, keep: bool, http_1_0: bool) -> bytes:
    """Returns the head of an answer, without the date and the empty line that ends it.

    Args:
        response: The answer.
        keep: Whether the connection stays open.
        http_1_0: Whether that has to be said.
    """
    lines = [
        f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
    ]
    lines += [f"{name}: {value}\r\n" for name, value in response.headers]
    if not keep:
        lines.append("Connection: close\r\n")
    elif http_1_0:
        lines.append("Connection: keep-alive\r\n")
    return "".join(lines).encode("latin-1")
