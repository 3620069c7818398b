"""Bodies that are compressed on their way: gzip and deflate, in and out.

What comes in is unpacked up to the server's body limit and no further, so that a small body
cannot become a large one. It is not aware of routes. Used by `v2` and `tfs`.

Source: RFC 9110, sections 8.4 and 12.5.3; RFC 1950 to 1952.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from http import HTTPStatus

from edgepack.runner.http.messages import RefusalError, Response

#: Below it an answer fits one packet, compressed or not.
MIN_COMPRESSED_BYTES = 1024
#: The quickest level: a box's core is slower than its network.
_LEVEL = 1
#: An answer that shrinks by less than a tenth is sent as it is.
_WORTH = 0.9
#: A gzip file may be several, one behind the other; no client sends more than one.
_MAX_MEMBERS = 16
_CODINGS = ("gzip", "deflate")
_ALIASES = {"x-gzip": "gzip", "": "identity"}
_GZIP_BITS = 16 + zlib.MAX_WBITS
_ZLIB_BITS = zlib.MAX_WBITS
_RAW_BITS = -zlib.MAX_WBITS
_DEFLATE_METHOD = 8
_ZLIB_CHECK = 31


def decoded_body(headers: Mapping[str, str], body: bytes, limit_bytes: int) -> bytes:
    """Returns a request's body as it was before it was compressed.

    Args:
        headers: The request's, names in lower case.
        body: As it came.
        limit_bytes: The most bytes that are unpacked.

    Raises:
        RefusalError: 415 for another coding, 413 above the limit, 400 for damaged data.
    """
    coding = _plain(headers.get("content-encoding", "identity"))
    if coding == "identity":
        return body
    if coding not in _CODINGS:
        raise RefusalError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the body is {coding[:80]} encoded; gzip, deflate and identity are taken",
            (("Accept-Encoding", "gzip, deflate"),),
        )
    bits = _GZIP_BITS if coding == "gzip" else _deflate_bits(body)
    unpacked = bytearray()
    rest = body
    for _ in range(_MAX_MEMBERS if coding == "gzip" else 1):
        unpacker = zlib.decompressobj(bits)
        try:
            unpacked += unpacker.decompress(rest, limit_bytes + 1 - len(unpacked))
        except zlib.error as error:
            raise _damaged(coding, str(error)) from error
        if len(unpacked) > limit_bytes:
            raise RefusalError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the body is too large once unpacked; at most {limit_bytes} bytes",
            )
        if not unpacker.eof:
            raise _damaged(coding, "it ends too early")
        rest = unpacker.unused_data
        if not rest:
            return bytes(unpacked)
    raise _damaged(coding, f"{len(rest)} bytes follow its end")


def encoded(response: Response, headers: Mapping[str, str]) -> Response:
    """Compresses an answer where the client wants it and it pays.

    Args:
        response: An answer.
        headers: The request's, names in lower case.

    Returns:
        The answer, or the same with a compressed body.
    """
    if len(response.body) < MIN_COMPRESSED_BYTES:
        return response
    accepted = headers.get("accept-encoding")
    coding = chosen_coding(accepted) if accepted else "identity"
    varies = (*response.headers, ("Vary", "Accept-Encoding"))
    if coding == "identity":
        return response._replace(headers=varies)
    bits = _GZIP_BITS if coding == "gzip" else _ZLIB_BITS
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, bits)
    body = packer.compress(response.body) + packer.flush()
    if len(body) > _WORTH * len(response.body):
        return response._replace(headers=varies)
    return response._replace(body=body, headers=(*varies, ("Content-Encoding", coding)))


def chosen_coding(accepted: str) -> str:
    """Returns the coding that a client likes best: `gzip`, `deflate` or `identity`.

    Args:
        accepted: Its `Accept-Encoding`, such as `gzip;q=0.8, deflate`.
    """
    weights: dict[str, float] = {}
    for part in accepted.split(","):
        name, _, parameters = part.partition(";")
        weights[_plain(name)] = _weight(parameters)
    others = weights.get("*", 0.0)
    best = max(_CODINGS, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    # Identity is always acceptable, and preferred only where that is said.
    if weight <= 0 or weights.get("identity", 0.0) > weight or not accepted.strip():
        return "identity"
    return best


def _weight(parameters: str) -> float:
    for each in parameters.split(";"):
        name, _, value = each.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _plain(coding: str) -> str:
    name = coding.strip().lower()
    return _ALIASES.get(name, name)


def _deflate_bits(body: bytes) -> int:
    # "deflate" is the zlib format, but some clients send the bare stream (RFC 9110, 8.4.1.2).
    has_header = (
        len(body) > 1
        and body[0] & 0x0F == _DEFLATE_METHOD
        and (body[0] * 256 + body[1]) % _ZLIB_CHECK == 0
    )
    return _ZLIB_BITS if has_header else _RAW_BITS


def _damaged(coding: str, why: str) -> RefusalError:
    return RefusalError(HTTPStatus.BAD_REQUEST, f"the body is not valid {coding}: {why}")
