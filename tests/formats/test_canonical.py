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
