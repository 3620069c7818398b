"""Makes odd bytes out of honest ones: flips, cuts, copies, splices, and JSON with odd values.

The same seed makes the same bytes. Parsers of JSON see mostly JSON, or they would never get past
its first character.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

_BYTES = (
    *(b"\0", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"%00", b"..", b"/", b"\\"),
    *(b"{", b"}", b"[", b"]", b'"', b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"0", b"-1", b"1e999", b"NaN", b"9" * 30, b"0x10", b"+5", b"null", b"true"),
    *(b"chunked", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b" HTTP/1.1\r\n"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.0, 1e308),
    *("", "x", "x" * 5000, "\0", "../../etc/passwd", "/", "\ud800", "\U0001f600", "1.2.3", "-1"),
    *([], [[]], [None], {}, {"": {}}, [[[[[[[[]]]]]]]], [1, "a", None], {"b64": "!!"}),
    *("0" * 64, "tflite", "float32", "2026-11-23T09:00:00Z", "9999-99-99T99:99:99Z"),
)
_MAX_BYTES = 200_000


def examples(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yields the seeds and then odd versions of them.

    Args:
        seeds: At least one.
        count: How many in all.
        seed: Of the generator.
    """
    yield from list(seeds)[:count]
    chance = random.Random(seed)
    for _ in range(count - len(seeds)):
        data = chance.choice(seeds)
        document = _document(data) if chance.random() < 0.6 else None
        if document is None:
            yield _odd_bytes(chance, data, seeds)
        else:
            yield _odd_json(chance, document)


def _document(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _odd_bytes(chance: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(data) + 1)
        to = min(len(data), at + chance.choice((1, 2, 4, 16, 64, 256)))
        match chance.randrange(8):
            case 0:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + chance.choice(_BYTES) + data[at:]
            case 2:
                data = data[:at] + chance.choice(_BYTES) + data[to:]
            case 3:
                data = data[:at] + data[to:]
            case 4:
                data = data[:to] + data[at:to] * chance.choice((1, 2, 50)) + data[to:]
            case 5:
                data = data[:at]
            case 6:
                other = chance.choice(seeds)
                data = data[:at] + other[chance.randrange(len(other) + 1) :]
            case _:
                flipped = bytes(each ^ (1 << chance.randrange(8)) for each in data[at:to])
                data = data[:at] + flipped + data[to:]
    return data[:_MAX_BYTES]


def _odd_json(chance: random.Random, document: Any) -> bytes:
    for _ in range(chance.choice((1, 1, 2, 3))):
        document = _change(chance, document)
    try:
        text = json.dumps(document, ensure_ascii=chance.random() < 0.5)
        return text.encode("utf-8", "surrogatepass")[:_MAX_BYTES]
    except RecursionError:
        return b"[" * 1000


def _change(chance: random.Random, value: Any) -> Any:
    """Changes one place somewhere inside a value."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                del value[key]
            case 1:
                value[chance.choice(("", "x" * 300, "\0", "format", key.upper()))] = value[key]
            case _:
                value[key] = _change(chance, value[key])
        return value
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        match chance.randrange(8):
            case 0:
                del value[at]
            case 1:
                return value * chance.choice((2, 100))
            case _:
                value[at] = _change(chance, value[at])
        return value
    # A copy: it may be changed in its turn.
    return copy.deepcopy(chance.choice(_VALUES))
