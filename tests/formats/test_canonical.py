"""Canonical JSON: one value, one form; hostile input, one clear error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.canonical import canonical_json, parse_json
from edgepack.formats.errors import BundleError

_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53), max_value=2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _json_values))
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    data = canonical_json(value)
    assert parse_json(data, what="x") == value
    assert canonical_json(parse_json(data, what="x")) == data


def test_the_order_of_keys_does_not_matter() -> None:
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"score": float("nan")})


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"a":1,"a":2}', "same key twice"),
        (b'{"a" :1,"a":2}', "same key twice"),
        (b'{"a"\t:1,"b"\n:1,"a"\r:2}', "same key twice"),
        (b'{"a":1,"b":":","a":2}', "same key twice"),
        (b'{"a":1,"\\u0061":2}', "same key twice"),
        (b'{"a":[{"b":{"c":0,"c":0}}]}', "same key twice"),
        (b'{"a":{"b":0,"b":0},"a":1}', "same key twice"),
        (b'{"a":-100000000000000000000}', "has 22 digits"),
        (b'{"a":123456789012345678901}', "has 21 digits"),
        (b"[1]", "an object was expected"),
        (b'{"a": 1e999}', "larger than any number"),
        (b'{"a": 1' + b"0" * 400 + b"}", "has 401 digits"),
        (b"[" * 200_000, "not valid JSON"),
        (b'{"a":' + b" " * 100 + b"1}", "at most 64 are read"),
    ],
)
def test_hostile_json_is_refused_with_its_reason(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        parse_json(data, what="manifest.json", limit=64 if words.startswith("at most") else 2**20)
    assert "manifest.json" in caught.value.message
    assert caught.value.exit_code == 7


_PIECES = [
    *('{"a":1}', '{"a":1,"a":1}', '{"a" :1}', '{"a" :1,"a":1}', '{":":":"}', '{"\\":":0}'),
    *('"\\"', '":"', '"\\\\"', "\t", "1e5", "1e999", "-0", "0.1", "NaN", "-Infinity", "[]", "null"),
    *("9" * 19, "9" * 20, "9" * 21, "-" + "9" * 19, "-" + "9" * 20, "1." + "0" * 25),
]


@given(st.lists(st.sampled_from(_PIECES), max_size=4), st.sampled_from(["a", "b", "\\u0061", ":"]))
def test_the_short_way_takes_nothing_that_the_long_way_refuses(pieces: list[str], key: str) -> None:
    members = [f'"{key if i else "a"}":{piece}' for i, piece in enumerate(pieces)]
    data = f"{{{','.join(members)}}}".encode()
    # White space at the end has the long way taken, and means nothing.
    found = [_parsed(each) for each in (data, data + b"\n")]
    assert found[0] == found[1]


def _parsed(data: bytes) -> str | None:
    try:
        return repr(parse_json(data, what="x"))
    except BundleError:
        return None
