"""Requests as they came off the wire, and the head of an answer as it goes onto it.

It is not aware of connections or of parsing. Used by `protocol` and `server`.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple

from edgepack.runner.http.messages import JSON_TYPE, Response

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
#: Nearly every answer's head.
_PLAIN_HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON_TYPE}\r\nContent-Length: %d\r\n".encode()
#: How clients write the names that nearly every request has.
_NAMES = {
    spelled.encode("ascii"): name
    for name in ("host", "content-type", "content-length", "accept", "user-agent", "connection")
    for spelled in (name, name.title())
}


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
        key = _NAMES.get(name) or str(name, "latin-1").lower()
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
    status, body, content_type, headers = response
    if status == HTTPStatus.OK and content_type == JSON_TYPE:
        head = _PLAIN_HEAD % len(body)
    else:
        head = (
            f"HTTP/1.1 {int(status)} {_PHRASES.get(status, '')}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        ).encode("latin-1")
    for name, value in headers:
        head += f"{name}: {value}\r\n".encode("latin-1")
    if not keep:
        head += b"Connection: close\r\n"
    elif http_1_0:
        head += b"Connection: keep-alive\r\n"
    return head
