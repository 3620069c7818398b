from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.runner.http.messages import RefusalError
from edgepack.runner.http.tfs.document import parse_document


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"  \n", "JSON Parse error: The document is empty. at offset: 3"),
        (b"instances = [1]", "JSON Parse error: Invalid value. at offset: 0"),
        (b'{"instances": }', "JSON Parse error: Invalid value. at offset: 14"),
        (b"{instances: 1}", "JSON Parse error: Missing a name for object member. at offset: 1"),
        (
            b'{"a" 1}',
            "JSON Parse error: Missing a colon after a name of object member. at offset: 5",
        ),
        (
            b'{"a": 1 "b": 2}',
            "JSON Parse error: Missing a comma or } after an object member. at offset: 8",
        ),
        (
            b'{"a{": [1 2]}',
            "JSON Parse error: Missing a comma or ] after an array element. at offset: 10",
        ),
        (
            b'{"a": [[1], {"x": [2]} 3',
            "JSON Parse error: Missing a comma or ] after an array element. at offset: 23",
        ),
        (
            b'{"a": "b',
            "JSON Parse error: Missing a closing quotation mark in string. at offset: 6",
        ),
        (b'{"a": "\\x"}', "JSON Parse error: Invalid escape character in string. at offset: 7"),
        (b'{"a": "\x01"}', "JSON Parse error: Invalid encoding in string. at offset: 7"),
        (b'{"a": "\xff"}', "JSON Parse error: Invalid encoding in string. at offset: 7"),
        (b'{"\xc3\xa9": x}', "JSON Parse error: Invalid value. at offset: 7"),
        (b"[" * 100_000, "JSON Parse error: nested too deeply"),
        (
            b'{"a": ' + b"9" * 5000 + b"}",
            "JSON Parse error: Number too big to be stored in double. at offset: 0",
        ),
        (b"[1]", "JSON Value: [\n    1\n] Is not object"),
        (b'"x"', 'JSON Value: "x" Is not object'),
    ],
)
def test_what_is_no_json_object_is_told_in_the_original_words(body: bytes, message: str) -> None:
    with pytest.raises(RefusalError) as caught:
        parse_document(body)
    assert (caught.value.status, caught.value.message) == (400, message)


def test_a_mark_before_and_anything_behind_is_tolerated() -> None:
    assert parse_document(b'\xef\xbb\xbf {"a": NaN} tail')["a"] != 0
    assert parse_document(b'{"a": [Infinity, -Infinity]}{"b"')["a"][0] == float("inf")


@given(body=st.binary(max_size=200))
def test_no_bytes_break_the_parser(body: bytes) -> None:
    status = None
    try:
        assert isinstance(parse_document(body), dict)
    except RefusalError as refusal:
        status = refusal.status
    assert status in (None, 400)


@given(
    text=st.text(alphabet='{}[]",:1e.\\u aN\u00e9\t', max_size=30).map(lambda s: "{" + s),
)
def test_an_offset_is_inside_the_body(text: str) -> None:
    message = ""
    try:
        parse_document(text.encode())
    except RefusalError as refusal:
        message = refusal.message
    offset = message.rpartition("offset: ")[2] if "offset" in message else "0"
    assert 0 <= int(offset) <= len(text.encode())


@given(
    document=st.dictionaries(
        st.text(), st.recursive(st.integers() | st.text(), st.lists, max_leaves=10), max_size=5
    )
)
def test_json_is_read_as_json(document: dict[str, object]) -> None:
    assert parse_document(json.dumps(document).encode()) == document
