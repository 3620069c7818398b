from __future__ import annotations

import pytest

from edgepack.formats.bundle import (
    PREFIX_BYTES,
    SEAL_BYTES,
    bundle_prefix,
    check_release_path,
    parse_prefix,
    parse_seal,
    seal,
)
from edgepack.formats.errors import BundleError


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "a/../../x", "a/..", "..", "a//b", "", "a/", "./a", "a/./b"],
)
def test_a_path_that_is_not_plainly_inside_the_release_is_refused(path: str) -> None:
    with pytest.raises(BundleError):
        check_release_path(path, "manifest.files")


@pytest.mark.parametrize("path", ["a\\..\\b", "a\x00b", "a\nb", "x" * 101, "a/" * 130 + "b"])
def test_a_path_that_boxes_could_read_differently_is_refused(path: str) -> None:
    with pytest.raises(BundleError, match=r"manifest\.files"):
        check_release_path(path, "manifest.files")


@pytest.mark.parametrize("path", ["a", "a/b.so.1", "site/..hidden/x", "x" * 100, "ä/ö.txt"])
def test_an_ordinary_path_passes(path: str) -> None:
    check_release_path(path, "manifest.files")


def test_the_prefix_announces_the_size_it_was_given() -> None:
    prefix = bundle_prefix(14_253_311)
    assert parse_prefix(prefix) == 14_253_311
    assert len(prefix) == PREFIX_BYTES
    assert prefix.startswith(b"#!/usr/bin/env python3\n")


def test_another_files_head_announces_nothing() -> None:
    assert parse_prefix(b"PK\x03\x04" + bytes(200)) is None
    assert parse_prefix(b"") is None


def test_a_seal_gives_its_hash_back_and_nothing_else_is_one() -> None:
    digest = "0123456789abcdef" * 4
    assert parse_seal(seal(digest)) == digest
    assert len(seal(digest)) == SEAL_BYTES
    assert parse_seal(seal(digest)[:-1]) is None
    assert parse_seal(seal(digest).upper()) is None
    assert parse_seal(bytes(SEAL_BYTES)) is None
