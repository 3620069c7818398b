"""Staging: whole or not there, the same bytes each time, the runtime apart from the model."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import platform
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.manifest import ExternalWheel
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.external import take_wheel
from edgepack.runner.boot.stage import Staged, StageRequest, StageSurroundings, stage
from tests.bundles import honest_but_wrong, pack, release_files, this_machine
from tests.roots import QuickDisk, snapshot

WHEEL = "brought-1.0-py3-none-any.whl"


def put(packed: PackedBundle | Path, folder: Path, **changes: object) -> Staged:
    path = packed if isinstance(packed, Path) else packed.path
    around = StageSurroundings(disk=QuickDisk(), find=lambda name: None)
    for name in ("disk", "find"):
        if name in changes:
            object.__setattr__(around, name, changes.pop(name))
    return stage(open_bundle(path), StageRequest(folder, **changes), around)  # type: ignore[arg-type]


@pytest.fixture
def packed(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path)


def as_tar(tree: Path) -> bytes:
    """The tree as a layer is made of it: names, modes, times, contents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(tree)), recursive=False)
    return buffer.getvalue()


def overlay(folder: Path, root: Path) -> None:
    """Copies both trees over one root, as the Dockerfile does."""
    for tree in ("runtime", "release"):
        archive = io.BytesIO(as_tar(folder / tree))
        with tarfile.open(fileobj=archive) as file:
            file.extractall(root, filter="tar")


def test_the_two_trees_together_are_a_root_with_a_current_release(
    tmp_path: Path, packed: PackedBundle
) -> None:
    done = put(packed, tmp_path / "staged")
    root = tmp_path / "root"
    overlay(tmp_path / "staged", root)
    assert (root / "current").readlink() == Path("releases") / packed.manifest.id
    assert done.release_id == packed.manifest.id
    for record in packed.manifest.files:
        path = root / "current" / record.path
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256
        assert path.stat().st_mode & 0o777 == record.mode
    assert (root / "current" / "manifest.json").read_bytes() == packed.manifest.to_bytes()
    assert json.loads((root / "current" / "sbom.cdx.json").read_text())["bomFormat"] == "CycloneDX"
    assert (root / "bin" / "edgepack-runner").read_text().startswith("#!/usr/bin/python3 -IS\n")
    marker = json.loads((root / "edgepack-root.json").read_text())
    assert marker["state"] == "/var/lib/edgepack"
    assert marker["history"] == [packed.manifest.id]


def test_no_id_of_a_device_is_staged(tmp_path: Path, packed: PackedBundle) -> None:
    put(packed, tmp_path / "staged")
    assert list((tmp_path / "staged" / "state").iterdir()) == []
    assert not list((tmp_path / "staged").rglob("device_id"))


def test_two_stagings_are_the_same_to_the_last_byte_and_time(
    tmp_path: Path, packed: PackedBundle
) -> None:
    before = os.umask(0o077)
    try:
        put(packed, tmp_path / "a")
    finally:
        os.umask(before)
    put(packed, tmp_path / "b")
    for tree in ("runtime", "release", "state"):
        assert as_tar(tmp_path / "a" / tree) == as_tar(tmp_path / "b" / tree)


def test_another_model_leaves_the_runtime_as_it_was(tmp_path: Path, packed: PackedBundle) -> None:
    newer = pack(tmp_path, release_files(b"tomorrow's model"), filename="newer.pyz")
    put(packed, tmp_path / "a")
    put(newer, tmp_path / "b")
    assert as_tar(tmp_path / "a" / "runtime") == as_tar(tmp_path / "b" / "runtime")
    assert as_tar(tmp_path / "a" / "release") != as_tar(tmp_path / "b" / "release")
    other = pack(tmp_path, release_files(**{"site/more.py": b""}), filename="other.pyz")
    put(other, tmp_path / "c")
    assert as_tar(tmp_path / "a" / "runtime") != as_tar(tmp_path / "c" / "runtime")


def test_nothing_lies_there_twice(tmp_path: Path, packed: PackedBundle) -> None:
    done = put(packed, tmp_path / "staged")
    unpacked = sum(record.size for record in packed.manifest.files)
    # Manifest, bill of materials, launcher, marker.
    assert done.runtime_bytes + done.release_bytes < unpacked + 20_000
    files = [p for p in (tmp_path / "staged").rglob("*") if p.is_file() and not p.is_symlink()]
    assert all(path.stat().st_nlink == 1 for path in files)


def test_a_foreign_machine_is_no_hindrance(tmp_path: Path) -> None:
    foreign = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    packed = pack(tmp_path, machine=replace(this_machine(), arch=foreign))
    folder = tmp_path / "deep" / "staged"
    put(packed, folder, state=Path("/data"), python="/usr/local/bin/python3.11")
    assert (folder / "runtime/bin/edgepack-runner").read_bytes().startswith(b"#!/usr/local/bin/")
    assert json.loads((folder / "release/edgepack-root.json").read_text())["state"] == "/data"


def test_a_folder_in_use_is_refused(tmp_path: Path, packed: PackedBundle) -> None:
    (tmp_path / "staged").mkdir()
    put(packed, tmp_path / "staged")
    before = snapshot(tmp_path / "staged")
    with pytest.raises(DeviceError, match="is not empty") as caught:
        put(packed, tmp_path / "staged")
    assert "new or empty folder" in str(caught.value.hint)
    assert snapshot(tmp_path / "staged") == before


def test_a_damaged_bundle_leaves_nothing(tmp_path: Path) -> None:
    forged = honest_but_wrong(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(BundleError):
        put(forged, tmp_path / "new" / "staged")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


class FullDisk(QuickDisk):
    """A disk that has room until some bytes are written."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write(self, file: BinaryIO, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(file, data)


class SmallDisk(QuickDisk):
    """A disk that says that it has no room."""

    def free_bytes(self, path: Path) -> int:
        return 10


@pytest.mark.parametrize("disk", [FullDisk(5), FullDisk(600), SmallDisk()])
def test_a_full_disk_leaves_nothing(tmp_path: Path, packed: PackedBundle, disk: QuickDisk) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(DeviceError, match=r"no space left|MB free"):
        put(packed, tmp_path / "staged", disk=disk)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr(zipfile.ZipInfo("brought/__init__.py"), "found = 1\n")
    return folder


@pytest.fixture
def thin(tmp_path: Path, wheels: Path) -> PackedBundle:
    wheel = ExternalWheel("brought", "1.0", WHEEL, sha256_hex((wheels / WHEEL).read_bytes()))
    return pack(tmp_path, filename="thin.pyz", external=(wheel,))


def test_a_wheel_from_a_folder_goes_to_the_shared_part(
    tmp_path: Path, thin: PackedBundle, wheels: Path
) -> None:
    put(thin, tmp_path / "staged", fetch=take_wheel(str(wheels)))
    overlay(tmp_path / "staged", tmp_path / "root")
    release = tmp_path / "root" / "current"
    assert (release / "external" / "brought" / "__init__.py").read_text() == "found = 1\n"
    assert json.loads((release / "external.json").read_text())["paths"] == ["external"]
    assert not (tmp_path / "staged" / "wheels").exists()


@pytest.mark.parametrize("same", [True, False])
def test_wheels_may_share_a_file_and_may_not_disagree(tmp_path: Path, same: bool) -> None:
    wheels = []
    for name, text in (("one", "x = 1\n"), ("two", "x = 1\n" if same else "x = 2\n")):
        file = tmp_path / f"{name}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo("shared/__init__.py"), text)
            archive.writestr(zipfile.ZipInfo(f"shared/{name}.py"), "")
        wheels.append(ExternalWheel(name, "1.0", file.name, sha256_hex(file.read_bytes())))
    bundle = pack(tmp_path, filename="thin.pyz", external=tuple(wheels))
    if same:
        put(bundle, tmp_path / "staged", fetch=take_wheel(str(tmp_path)))
        found = (tmp_path / "staged" / "runtime").glob("runtime/*/external/shared/*.py")
        assert sorted(path.name for path in found) == ["__init__.py", "one.py", "two.py"]
    else:
        with pytest.raises(BundleError, match=r"different files external/shared/__init__\.py"):
            put(bundle, tmp_path / "staged", fetch=take_wheel(str(tmp_path)))


def test_a_wheel_that_the_base_has_is_pointed_at(tmp_path: Path, thin: PackedBundle) -> None:
    place = ("1.0", Path("/usr/lib/python3/dist-packages"))
    put(thin, tmp_path / "staged", find=lambda name: place, fetch=take_wheel(str(tmp_path)))
    (path,) = (tmp_path / "staged" / "release").glob("releases/*/external.json")
    assert json.loads(path.read_text())["paths"] == ["/usr/lib/python3/dist-packages"]


def test_a_missing_wheel_names_itself_and_leaves_nothing(
    tmp_path: Path, thin: PackedBundle, wheels: Path
) -> None:
    with pytest.raises(DeviceError, match=r"needs brought 1\.0"):
        put(thin, tmp_path / "staged")
    (wheels / WHEEL).write_bytes(b"another")
    with pytest.raises(BundleError, match="SHA-256"):
        put(thin, tmp_path / "staged", fetch=take_wheel(str(wheels)))
    assert not list(tmp_path.glob("*staged*"))
