from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.pack import Source, bundle_filename, finish_manifest, pack_bundle
from edgepack.formats.bundle import PAYLOAD_MEMBER
from edgepack.formats.errors import BundleError, ConfigError
from edgepack.runner.boot.archive import open_bundle
from tests.bundles import GOLDEN_FILE, MODEL_FILE, draft_manifest, pack, release_files


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = pack(tmp_path / "a")
    # Another order, other times, another place, another cache.
    files = dict(reversed(release_files().items()))
    lying = tmp_path / "b" / "core.py"
    lying.write_bytes(b"same = 1\n")
    os.utime(lying, (10**9, 10**9))
    files["site/numpy/core.py"] = lying
    two = pack(tmp_path / "b", files)
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.sha256 == two.sha256


def test_other_content_gives_another_release(tmp_path: Path) -> None:
    one = pack(tmp_path, filename="one.pyz")
    two = pack(tmp_path, release_files(b"another model"), filename="two.pyz")
    assert one.manifest.id != two.manifest.id


def test_what_was_packed_verifies_with_its_modes(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o700)
    private = tmp_path / "private"
    private.write_bytes(b"x")
    private.chmod(0o600)
    files = release_files() | {"site/tool": program, "site/private": private}
    bundle = open_bundle(pack(tmp_path, files).path).verify()
    modes = {record.path: record.mode for record in bundle.manifest.files}
    assert (modes["site/tool"], modes["site/private"]) == (0o755, 0o644)


def test_a_large_file_comes_through_whole(tmp_path: Path) -> None:
    model = hashlib.shake_256(b"any seed").digest(1_500_001)
    packed = pack(tmp_path, release_files(model))
    found = {
        record.path: b"".join(content)
        for record, content in open_bundle(packed.path).read_payload()
    }
    assert found[MODEL_FILE] == model


def test_the_bundle_can_be_started_as_a_program(tmp_path: Path) -> None:
    packed = pack(tmp_path)
    assert packed.path.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    assert stat.S_IMODE(packed.path.stat().st_mode) == 0o755


def test_any_zip_tool_can_read_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(pack(tmp_path).path) as archive:
        assert archive.testzip() is None
        assert archive.getinfo(PAYLOAD_MEMBER).compress_type == zipfile.ZIP_STORED


@pytest.mark.parametrize("path", ["../x", "/abs", "a//b", "x" * 101, "a" * 90 + "/" + "b" * 90])
def test_a_path_no_box_would_take_is_refused_here(tmp_path: Path, path: str) -> None:
    if len(path) > 150:
        path = f"{path}/{'c' * 50}"
    with pytest.raises(BundleError):
        pack(tmp_path, release_files() | {path: b"x"})
    assert not (tmp_path / "bundle.pyz").exists()


def test_a_candidate_with_another_files_hash_is_refused(tmp_path: Path) -> None:
    files = release_files()
    draft = draft_manifest(files)
    with pytest.raises(BundleError, match="tflite-fp32 names"):
        finish_manifest(draft, files | {MODEL_FILE: b"another"})
    with pytest.raises(BundleError, match=GOLDEN_FILE):
        finish_manifest(draft, {key: files[key] for key in files if key != GOLDEN_FILE})


def test_a_missing_source_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    missing: dict[str, Source] = {**release_files(), "site/x": tmp_path / "missing"}
    with pytest.raises(ConfigError, match="missing cannot be read"):
        pack(tmp_path, missing)
    assert not list(tmp_path.glob("*.pyz*"))


def test_a_file_that_changes_while_it_is_packed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "moving"
    path.write_bytes(b"1")

    class Changing:
        def start(self, task: str, total: float | None = None) -> None:
            path.write_bytes(b"2")

        def advance(self, task: str, amount: float = 1, note: str = "") -> None:
            pass

        def finish(self, task: str) -> None:
            pass

    files: dict[str, Source] = {**release_files(), "site/x": path}
    with pytest.raises(BundleError, match="site/x changed"):
        pack_bundle(
            draft_manifest(files),
            files,
            tmp_path / "out.pyz",
            cache=Cache(tmp_path / "cache"),
            progress=Changing(),
        )
    assert not (tmp_path / "out.pyz").exists()


def test_an_interrupted_pack_leaves_the_older_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = pack(tmp_path).path.read_bytes()

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    # The last call before the rename.
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path, release_files(b"newer"))
    assert (tmp_path / "bundle.pyz").read_bytes() == old
    assert not [path for path in tmp_path.iterdir() if ".tmp-" in path.name]


def test_an_output_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be written"):
        pack(tmp_path, filename="out/bundle.pyz")


def test_the_payload_is_compressed_once(tmp_path: Path) -> None:
    one = pack(tmp_path, filename="one.pyz")
    entries = list((tmp_path / "cache" / "payload").iterdir())
    times = [(entry / PAYLOAD_MEMBER).stat().st_mtime_ns for entry in entries]
    two = pack(tmp_path, filename="two.pyz")
    assert [(entry / PAYLOAD_MEMBER).stat().st_mtime_ns for entry in entries] == times
    assert list((tmp_path / "cache" / "payload").iterdir()) == entries
    assert one.sha256 == two.sha256


def test_the_name_says_model_version_and_target() -> None:
    files = release_files()
    assert bundle_filename(draft_manifest(files)) == "session-1.2.0-here.pyz"
