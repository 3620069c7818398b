from __future__ import annotations

import gzip
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.runner.http.content import MIN_COMPRESSED_BYTES, chosen_coding, decoded_body, encoded
from edgepack.runner.http.messages import RefusalError, Response

_LIMIT = 10_000


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def _decode(coding: str, body: bytes) -> bytes:
    return decoded_body({"content-encoding": coding}, body, _LIMIT)


@given(data=st.binary(max_size=_LIMIT))
def test_what_was_packed_comes_out_as_it_was(data: bytes) -> None:
    assert _decode("identity", data) == data
    assert _decode("gzip", gzip.compress(data)) == data
    assert _decode("X-GZIP", gzip.compress(data)) == data
    assert _decode("deflate", zlib.compress(data)) == data


def test_a_bare_deflate_stream_is_read_too() -> None:
    assert _decode("deflate", _raw_deflate(b"hello" * 100)) == b"hello" * 100


def test_a_gzip_of_several_members_is_one_body() -> None:
    assert _decode("gzip", gzip.compress(b"one ") + gzip.compress(b"two")) == b"one two"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused_before_it_is_unpacked(coding: str) -> None:
    bomb = b"\0" * 50_000_000
    packed = gzip.compress(bomb) if coding == "gzip" else zlib.compress(bomb)
    with pytest.raises(RefusalError, match="at most 10000 bytes") as caught:
        _decode(coding, packed)
    assert caught.value.status == 413


def test_the_limit_itself_is_not_above_the_limit() -> None:
    assert len(_decode("gzip", gzip.compress(b"x" * _LIMIT))) == _LIMIT
    with pytest.raises(RefusalError):
        _decode("gzip", gzip.compress(b"x" * (_LIMIT + 1)))


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("br", b"", 415),
        ("gzip, deflate", b"", 415),
        ("gzip", b"plain", 400),
        ("gzip", gzip.compress(b"hello")[:-4], 400),
        ("gzip", gzip.compress(b"hello") + b"tail", 400),
        ("gzip", gzip.compress(b"") * 40, 400),
        ("deflate", zlib.compress(b"hello") + b"tail", 400),
        ("gzip", b"", 400),
    ],
)
def test_what_cannot_be_unpacked_is_refused(coding: str, body: bytes, status: int) -> None:
    with pytest.raises(RefusalError) as caught:
        _decode(coding, body)
    assert caught.value.status == status


@given(body=st.binary(max_size=300), coding=st.sampled_from(["gzip", "deflate"]))
def test_no_bytes_break_the_unpacking(body: bytes, coding: str) -> None:
    status = None
    try:
        _decode(coding, body)
    except RefusalError as refusal:
        status = refusal.status
    assert status in (None, 400, 413)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", "identity"),
        ("identity", "identity"),
        ("br", "identity"),
        ("gzip", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0", "identity"),
        ("gzip;q=0, *;q=0.1", "deflate"),
        ("*", "gzip"),
        ("identity;q=1, gzip;q=0.5", "identity"),
        ("identity;q=0.1, gzip;q=0.5", "gzip"),
        ("gzip;q=nonsense", "identity"),
        ("x-gzip", "gzip"),
        (";q=1,,", "identity"),
    ],
)
def test_the_client_chooses_by_weight(accepted: str, coding: str) -> None:
    assert chosen_coding(accepted) == coding


def test_a_large_answer_is_packed_for_who_accepts_it() -> None:
    answer = Response(200, b"1.25," * 1000)
    packed = encoded(answer, {"accept-encoding": "gzip"})
    assert gzip.decompress(packed.body) == answer.body
    assert ("Content-Encoding", "gzip") in packed.headers
    assert zlib.decompress(encoded(answer, {"accept-encoding": "deflate"}).body) == answer.body
    plain = encoded(answer, {})
    assert plain.body == answer.body
    assert ("Vary", "Accept-Encoding") in plain.headers


def test_what_does_not_shrink_or_is_small_stays_as_it_is() -> None:
    small = Response(200, b"x" * (MIN_COMPRESSED_BYTES - 1))
    assert encoded(small, {"accept-encoding": "gzip"}) is small
    noise = random.Random(7).randbytes(5000)
    answer = encoded(Response(200, noise), {"accept-encoding": "gzip"})
    assert answer.body == noise
    assert not any(name == "Content-Encoding" for name, _ in answer.headers)
