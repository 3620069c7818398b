from __future__ import annotations

import lzma
import tarfile
from pathlib import Path

import pytest

from edgepack.formats.bundle import MAX_XZ_MEMORY_BYTES
from edgepack.formats.errors import BundleError
from edgepack.runner.boot.archive import open_bundle
from tests.bundles import MODEL_FILE, end_of_tar, forge, member, payload_of, release_files


def refused(tmp_path: Path, payload: bytes) -> str:
    """The error a payload gets that was sealed like an honest one."""
    with pytest.raises(BundleError) as caught:
        open_bundle(forge(tmp_path, payload=payload)).verify()
    return caught.value.message


def honest_blocks(without: str = "") -> bytes:
    files = {path: data for path, data in release_files().items() if path != without}
    return payload_of(files)[: -len(end_of_tar())]


def test_the_forger_makes_a_good_bundle_when_told_nothing(tmp_path: Path) -> None:
    # Otherwise every refusal below could have another reason.
    assert open_bundle(forge(tmp_path)).verify().manifest.files


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a named pipe"),
        (tarfile.DIRTYPE, "a directory"),
        (tarfile.XHDTYPE, "an entry of type b'x'"),
        (tarfile.GNUTYPE_LONGNAME, "an entry of type b'L'"),
        (tarfile.GNUTYPE_SPARSE, "an entry of type b'S'"),
    ],
)
def test_anything_but_a_plain_file_is_refused_by_name(
    tmp_path: Path, kind: bytes, words: str
) -> None:
    link = member(MODEL_FILE, type=kind, linkname="/etc/passwd", size=0)
    message = refused(tmp_path, link + honest_blocks(without=MODEL_FILE) + end_of_tar())
    assert MODEL_FILE in message
    assert words in message


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "models/extra"])
def test_a_member_the_manifest_does_not_list_is_refused(tmp_path: Path, name: str) -> None:
    message = refused(tmp_path, honest_blocks() + member(name, b"x") + end_of_tar())
    assert repr(name) in message
    assert "not listed" in message


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    again = member(MODEL_FILE, b"a model")
    assert "comes twice" in refused(tmp_path, honest_blocks() + again + end_of_tar())


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    message = refused(tmp_path, honest_blocks(without=MODEL_FILE) + end_of_tar())
    assert f"lacks 1 of {len(release_files())} files" in message
    assert MODEL_FILE in message


def test_other_content_is_named_with_both_hashes(tmp_path: Path) -> None:
    other = member(MODEL_FILE, b"A MODEL")
    message = refused(tmp_path, other + honest_blocks(without=MODEL_FILE) + end_of_tar())
    assert MODEL_FILE in message
    assert "has SHA-256" in message
    assert "the manifest says" in message


@pytest.mark.parametrize("size", [0, 6, 8, 8 * 2**30 - 1])
def test_another_size_is_refused_before_anything_is_read(tmp_path: Path, size: int) -> None:
    other = member(MODEL_FILE, b"a model", size=size)
    message = refused(tmp_path, other + honest_blocks(without=MODEL_FILE) + end_of_tar())
    assert f"has {size} bytes; the manifest says 7" in message


@pytest.mark.parametrize("mode", [0o755, 0o4644, 0o600])
def test_another_mode_is_refused(tmp_path: Path, mode: int) -> None:
    other = member(MODEL_FILE, b"a model", mode=mode)
    message = refused(tmp_path, other + honest_blocks(without=MODEL_FILE) + end_of_tar())
    assert f"has mode {mode:04o}; the manifest says 0644" in message


def test_a_broken_header_is_refused(tmp_path: Path) -> None:
    assert "broken tar header" in refused(tmp_path, b"\x01" * 512 + honest_blocks() + end_of_tar())


def test_a_payload_that_ends_early_is_refused(tmp_path: Path) -> None:
    assert "ends inside" in refused(tmp_path, honest_blocks())


def test_bytes_after_the_last_file_are_refused(tmp_path: Path) -> None:
    payload = honest_blocks() + end_of_tar() + b"hidden"
    assert "after its last file" in refused(tmp_path, payload)


def test_endless_padding_is_refused(tmp_path: Path) -> None:
    payload = honest_blocks() + end_of_tar() + bytes(10**6)
    assert "after its last file" in refused(tmp_path, payload)


def test_bytes_after_the_xz_stream_are_refused(tmp_path: Path) -> None:
    whole = lzma.compress(honest_blocks() + end_of_tar())
    with pytest.raises(BundleError, match="after its xz stream"):
        open_bundle(forge(tmp_path, compressed=whole + b"hidden")).verify()


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_short_xz_stream_is_refused(tmp_path: Path, keep: int) -> None:
    whole = lzma.compress(honest_blocks() + end_of_tar())
    with pytest.raises(BundleError, match="cut short"):
        open_bundle(forge(tmp_path, compressed=whole[:keep])).verify()


def test_a_payload_that_is_not_xz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"payload\.tar\.xz .* is damaged"):
        open_bundle(forge(tmp_path, compressed=b"not xz at all")).verify()


def test_a_stream_that_wants_more_memory_than_a_box_gives_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2 * MAX_XZ_MEMORY_BYTES}]
    compressed = lzma.compress(honest_blocks() + end_of_tar(), filters=filters)
    with pytest.raises(BundleError, match=r"[Mm]emory"):
        open_bundle(forge(tmp_path, compressed=compressed)).verify()


def test_files_are_checked_even_when_their_content_is_not_read(tmp_path: Path) -> None:
    other = member(MODEL_FILE, b"A MODEL")
    payload = other + honest_blocks(without=MODEL_FILE) + end_of_tar()
    bundle = open_bundle(forge(tmp_path, payload=payload))
    with pytest.raises(BundleError, match="SHA-256"):
        for _ in bundle.read_payload():
            pass
