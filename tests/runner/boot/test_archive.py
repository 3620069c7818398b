from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.formats.bundle import MANIFEST_MEMBER, PAYLOAD_MEMBER, SBOM_MEMBER, SEAL_BYTES
from edgepack.formats.errors import BundleError
from edgepack.runner.boot.archive import open_bundle
from tests.bundles import MODEL_FILE, forge, pack, release_files


@pytest.fixture
def packed(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path)


def member_span(path: Path, name: str) -> tuple[int, int]:
    """Where a member's stored bytes begin and end in the file."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    start = info.header_offset + 30 + len(name)
    return start, start + info.compress_size


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def test_a_whole_bundle_is_verified_and_says_what_it_is(packed: PackedBundle) -> None:
    bundle = open_bundle(packed.path).verify()
    assert bundle.manifest == packed.manifest
    assert bundle.release_id == packed.manifest.id
    assert (bundle.sha256, bundle.size_bytes) == (packed.sha256, packed.size_bytes)
    assert bundle.sbom["bomFormat"] == "CycloneDX"


def test_verifying_tells_how_far_it_is(packed: PackedBundle) -> None:
    seen: list[tuple[int, int]] = []
    open_bundle(packed.path).verify(lambda done, total: seen.append((done, total)))
    total = sum(record.size for record in packed.manifest.files)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_bundle_says_how_much_is_there(packed: PackedBundle, share: float) -> None:
    data = packed.path.read_bytes()
    kept = int(len(data) * share)
    packed.path.write_bytes(data[:kept])
    with pytest.raises(BundleError) as caught:
        open_bundle(packed.path).verify()
    if kept > 200:
        assert f"cut short: {kept} of {len(data)} bytes" in caught.value.message
    assert caught.value.exit_code == 7


def test_a_bundle_with_bytes_after_its_end_is_refused(packed: PackedBundle) -> None:
    packed.path.write_bytes(packed.path.read_bytes() + b"\n")
    with pytest.raises(BundleError, match="its head announces"):
        open_bundle(packed.path)


@pytest.mark.parametrize(
    "name", ["__main__.py", "edgepack/__init__.py", MANIFEST_MEMBER, SBOM_MEMBER, PAYLOAD_MEMBER]
)
def test_one_flipped_bit_is_found_and_its_member_named(tmp_path: Path, name: str) -> None:
    program = {"__main__.py": b"pass\n" * 9, "edgepack/__init__.py": b"x = 1\n" * 9}
    packed = pack(tmp_path, program=program)
    start, end = member_span(packed.path, name)
    flip(packed.path, (start + end) // 2)
    with pytest.raises(BundleError) as caught:
        open_bundle(packed.path).verify()
    assert name in caught.value.message
    assert caught.value.hint is not None


def test_no_flipped_bit_anywhere_goes_unseen(packed: PackedBundle) -> None:
    data = packed.path.read_bytes()
    # Every seventh byte of some 3,000: all members and records, in well under a second each.
    for at in range(0, len(data), 7):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        packed.path.write_bytes(changed)
        with pytest.raises(BundleError):
            open_bundle(packed.path).verify()


def test_damage_in_the_records_says_what_was_expected(packed: PackedBundle) -> None:
    # A date in the first local header: no reader of zip files looks at it.
    with zipfile.ZipFile(packed.path) as archive:
        at = archive.infolist()[0].header_offset + 10
    flip(packed.path, at)
    with pytest.raises(BundleError, match=r"records between its members: .* its seal says") as it:
        open_bundle(packed.path).verify()
    assert len(re.findall(r"[0-9a-f]{64}", it.value.message)) == 2


def test_a_bundle_without_a_seal_is_refused(packed: PackedBundle) -> None:
    data = packed.path.read_bytes()
    packed.path.write_bytes(data[:-SEAL_BYTES] + bytes(SEAL_BYTES))
    with pytest.raises(BundleError, match="seal"):
        open_bundle(packed.path).verify()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + bytes(18), bytes(500)])
def test_a_file_that_is_no_bundle_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pyz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="not an edgepack bundle"):
        open_bundle(path)


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        open_bundle(tmp_path / "missing.pyz")
    with pytest.raises(BundleError, match="Is a directory"):
        open_bundle(tmp_path)


def with_field(data: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(data), **fields}).encode()


def test_a_newer_manifest_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = forge(tmp_path, edit_manifest=lambda data: with_field(data, format=99))
    with pytest.raises(BundleError, match="format 99") as caught:
        open_bundle(path)
    assert caught.value.hint is not None
    assert "newer edgepack" in caught.value.hint


def test_unknown_manifest_fields_are_kept_in_the_release_id(tmp_path: Path) -> None:
    path = forge(tmp_path, edit_manifest=lambda data: with_field(data, later="field"))
    bundle = open_bundle(path).verify()
    assert bundle.release_id != bundle.manifest.id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "../outside"}, "leaves the release"),
        ({"path": "/etc/cron.d/x"}, "leaves the release"),
        ({"path": "external.json"}, "belongs to the installer"),
        ({"path": "manifest.json"}, "belongs to the installer"),
        ({"path": MODEL_FILE + "/inside"}, "inside another file"),
        ({"mode": 0o4755}, "mode 4755"),
        ({"size": 2**50}, "at most"),
    ],
)
def test_a_manifest_that_lists_what_no_release_has_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    def edit(data: bytes) -> bytes:
        files = json.loads(data)["files"]
        extra = {"path": "extra", "sha256": "0" * 64, "size": 1, "mode": 0o644, **changes}
        return with_field(data, files=[*files, extra])

    with pytest.raises(BundleError, match=words):
        open_bundle(forge(tmp_path, edit_manifest=edit))


def test_a_member_no_bundle_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"'sitecustomize\.py' that no bundle has"):
        open_bundle(forge(tmp_path, more={"sitecustomize.py": b""}))


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = forge(tmp_path)
    data = path.read_bytes()
    buffer = io.BytesIO(data)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(buffer, "a") as file:
        file.writestr(MANIFEST_MEMBER, b"{}")
    grown = buffer.getvalue()
    head = re.sub(rb"of \d{12} bytes", b"of %012d bytes" % len(grown), grown[:200])
    path.write_bytes(head + grown[200:])
    with pytest.raises(BundleError, match="twice"):
        open_bundle(path)


def test_a_release_of_nothing_but_a_model_is_enough(tmp_path: Path) -> None:
    files = {key: value for key, value in release_files().items() if "/" in key}
    assert open_bundle(pack(tmp_path, files).path).verify().manifest.files
