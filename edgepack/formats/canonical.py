"""Canonical JSON and content hashes: the same value is always the same bytes.

It is not aware of what the values mean. Anyone may import it; standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, cast

from edgepack.formats.errors import BundleError

#: Larger than any manifest or report seen; a limit against hostile input, not a goal.
MAX_JSON_BYTES = 64 * 2**20
#: Characters of the longest 64-bit number.
_LONGEST_INTEGER = 20
_SHOWN_CHARACTERS = 40
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
#: Of the last three a machine writes none.
_MAY_PRECEDE_A_COLON = (b" :", b"\t", b"\n", b"\r")
_AS_ZEROS = bytes.maketrans(b"123456789", b"000000000")
#: A sign and one less are as long as may be.
_TOO_MANY_DIGITS = b"0" * _LONGEST_INTEGER


def canonical_json(value: Any) -> bytes:
    """Serialises a value to its one canonical form.

    Keys sorted, no white space, UTF-8 without escapes, no NaN or infinity.

    Args:
        value: Anything the `json` module takes, with string keys.

    Returns:
        The UTF-8 bytes, without a final newline.

    Raises:
        ValueError: The value holds NaN, an infinity or a lone surrogate.

    Source: the rules of RFC 8785 (JSON Canonicalization Scheme), with Python's shortest
    round-trip form of floats instead of ECMAScript's.
    """
    return _ENCODER.encode(value).encode("utf-8")


def parse_json(data: bytes, *, what: str, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Parses a JSON object that a machine wrote.

    Args:
        data: The bytes.
        what: What they are, for the error's text, such as `"manifest.json"`.
        limit: The most bytes that are looked at.

    Returns:
        The object.

    Raises:
        BundleError: Too long, not UTF-8, not JSON, not an object, with a doubled key, or with a
            number that no field has: beyond 64 bits, or beyond the largest float.
    """
    if len(data) > limit:
        raise BundleError(f"{what} has {len(data)} bytes; at most {limit} are read")
    try:
        text = data.decode("utf-8")
        value = _load_if_plainly_sound(data, text)
        if value is None:
            value = json.loads(
                text,
                object_pairs_hook=_unique_keys,
                parse_constant=_refuse_constant,
                parse_float=_finite,
                parse_int=_bounded,
            )
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{what} is not valid JSON: {error}", hint="fetch or build the file again"
        ) from error
    if not isinstance(value, dict):
        raise BundleError(f"{what} holds a {type(value).__name__}; an object was expected")
    return cast("dict[str, Any]", value)


def sha256_hex(data: bytes) -> str:
    """Returns the SHA-256 of some bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _load_if_plainly_sound(data: bytes, text: str) -> Any:
    """Parses JSON without a look at every pair and number; None where that look is needed.

    No number is too long where no digits are. Every member of an object ends its key with a quote
    and, unless there is white space, a colon: where as many of these are written as members were
    kept, none was lost to another of the same key. Strings may hold quotes and colons as well; then
    there are more of them, and the look is taken.
    """
    if any(each in data for each in _MAY_PRECEDE_A_COLON):
        return None
    if _TOO_MANY_DIGITS in data.translate(_AS_ZEROS):
        return None
    kept = 0

    def count(members: dict[str, Any]) -> dict[str, Any]:
        nonlocal kept
        kept += len(members)
        return members

    try:
        value = json.loads(
            text, object_hook=count, parse_constant=_refuse_constant, parse_float=_finite
        )
    except (ValueError, RecursionError):
        return None
    return value if kept == data.count(b'":') else None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers may each take a different one of two equal keys, so a file that has them
    # could mean one thing to the verifier and another to the runner.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object has the same key twice")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_SHOWN_CHARACTERS]} is larger than any number")
    return number


def _bounded(text: str) -> int:
    # Python's integers have no end; what adds them to floats has.
    if len(text) > _LONGEST_INTEGER:
        raise ValueError(f"{text[:_SHOWN_CHARACTERS]}... has {len(text)} digits")
    return int(text)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
