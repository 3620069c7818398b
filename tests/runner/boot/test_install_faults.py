from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.formats.errors import DeviceError
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.install import STEPS
from edgepack.runner.boot.roots import is_whole, prune
from edgepack.runner.boot.store import MARKER, Store
from edgepack.runner.boot.uninstall import uninstall
from tests.bundles import pack, release_files
from tests.roots import QuickDisk, put, snapshot


class FullDisk(QuickDisk):
    """A disk that fills up after some bytes."""

    def __init__(self, left: int, number: int = errno.ENOSPC) -> None:
        self.left = left
        self.number = number

    def write(self, file: BinaryIO, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        super().write(file, data)


@pytest.fixture
def old(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path, filename="old.pyz")


@pytest.fixture
def new(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path, release_files(b"a newer model"), filename="new.pyz")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "boxes" / "root"


@pytest.mark.parametrize("step", STEPS[:-1])
@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, OSError(errno.EIO, "I/O error")])
def test_an_update_interrupted_at_any_step_leaves_the_old_release_as_it_was(
    root: Path, old: PackedBundle, new: PackedBundle, step: str, fault: BaseException
) -> None:
    put(old, root)
    before = snapshot(root / "releases")

    def fail(at: str) -> None:
        if at == step:
            raise fault

    with pytest.raises((KeyboardInterrupt, SystemExit, DeviceError, OSError)):
        put(new, root, on_step=fail)
    assert Store(root).current_id() == old.manifest.id
    assert snapshot(root / "releases") == before
    assert not (root / "blobs" / "tmp").exists()
    assert not [path for path in root.rglob("*") if ".tmp" in path.name]
    assert put(new, root).previous_id == old.manifest.id


class StoppingDisk(QuickDisk):
    """Counts every change, and stops the program before the one it was told."""

    def __init__(self, stop_at: int) -> None:
        self.left = stop_at

    def _count(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise KeyboardInterrupt

    def make_directory(self, path: Path) -> None:
        self._count()
        super().make_directory(path)

    def create(self, path: Path, mode: int) -> BinaryIO:
        self._count()
        return super().create(path, mode)

    def write(self, file: BinaryIO, data: bytes) -> None:
        self._count()
        super().write(file, data)

    def sync(self, path: Path) -> None:
        self._count()
        super().sync(path)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)

    def symlink(self, target: str, path: Path) -> None:
        self._count()
        super().symlink(target, path)

    def link(self, source: Path, target: Path) -> None:
        self._count()
        super().link(source, target)


def test_an_update_stopped_before_any_change_leaves_a_whole_release(
    root: Path, old: PackedBundle, new: PackedBundle
) -> None:
    put(old, root)
    for stop_at in range(1000):
        disk = StoppingDisk(stop_at)
        try:
            put(new, root, disk=disk)
        except KeyboardInterrupt:
            current = Store(root).current_id()
            packed = new if current == new.manifest.id else old
            assert current == packed.manifest.id
            assert is_whole(Store(root), open_bundle(packed.path)), stop_at
            assert not [path for path in root.rglob("*") if ".tmp" in path.name], stop_at
            if packed is new:
                put(old, root)
            # So that the next try has every file to write again.
            prune(root, 0, QuickDisk())
        else:
            break
    assert stop_at > 30
    assert Store(root).current_id() == new.manifest.id


def test_a_first_install_stopped_before_any_change_leaves_nothing_or_all(
    root: Path, old: PackedBundle
) -> None:
    for stop_at in range(1000):
        try:
            put(old, root, disk=StoppingDisk(stop_at))
        except KeyboardInterrupt:
            if Store(root).current_id() is None:
                assert not root.parent.exists(), stop_at
            else:
                assert is_whole(Store(root), open_bundle(old.path)), stop_at
                uninstall(root, disk=QuickDisk())
                root.parent.rmdir()
        else:
            break
    assert stop_at > 50


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_first_install_interrupted_at_any_step_leaves_nothing(
    tmp_path: Path, root: Path, old: PackedBundle, step: str
) -> None:
    def fail(at: str) -> None:
        if at == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(old, root, on_step=fail)
    assert not root.parent.exists()


def test_an_interruption_while_pruning_leaves_the_new_release_current(
    root: Path, old: PackedBundle, new: PackedBundle
) -> None:
    put(old, root)

    def fail(at: str) -> None:
        if at == "prune":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put(new, root, on_step=fail)
    assert Store(root).current_id() == new.manifest.id


def test_a_power_cut_in_the_first_install_does_not_stop_the_second(
    root: Path, old: PackedBundle
) -> None:
    class PowerCut(QuickDisk):
        """Stops everything, the cleaning up too, at the first hard link."""

        def link(self, source: Path, target: Path) -> None:
            self.dead = True
            raise KeyboardInterrupt

        def remove_tree(self, path: Path) -> None:
            if getattr(self, "dead", False):
                raise KeyboardInterrupt
            super().remove_tree(path)

    with pytest.raises(KeyboardInterrupt):
        put(old, root, disk=PowerCut())
    assert (root / MARKER).exists()
    assert list((root / "releases").iterdir())
    put(old, root)
    assert is_whole(Store(root), open_bundle(old.path))
    assert not [path for path in root.rglob("*") if ".tmp" in path.name]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_fills_up_is_said_so_at_every_byte(
    root: Path, old: PackedBundle, new: PackedBundle, number: int
) -> None:
    put(old, root)
    before = snapshot(root / "releases")
    for left in (0, 5, 20, 400, 4000):
        with pytest.raises(DeviceError, match="no space left") as caught:
            put(new, root, disk=FullDisk(left, number))
        assert caught.value.hint is not None
        assert snapshot(root / "releases") == before
        assert Store(root).current_id() == old.manifest.id
    put(new, root)


def test_a_torn_marker_of_a_power_cut_does_not_make_the_root_foreign(
    root: Path, old: PackedBundle
) -> None:
    root.mkdir(parents=True)
    (root / f".{MARKER}.tmp-123").write_bytes(b"{")
    (root / ".lock").write_bytes(b"")
    put(old, root)
    assert not list(root.glob(".*.tmp-*"))


def test_too_little_space_is_seen_before_anything_is_written(root: Path, old: PackedBundle) -> None:
    class SmallDisk(QuickDisk):
        def free_bytes(self, path: Path) -> int:
            return 12_345

    with pytest.raises(DeviceError, match=r"0\.0 MB free; this bundle needs 1\.\d MB"):
        put(old, root, disk=SmallDisk())
    assert not root.exists()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_read_only_root_is_said_so(root: Path, old: PackedBundle, number: int) -> None:
    class ReadOnly(QuickDisk):
        def create(self, path: Path, mode: int) -> BinaryIO:
            raise OSError(number, os.strerror(number), str(path))

    with pytest.raises(DeviceError, match="cannot be written") as caught:
        put(old, root, disk=ReadOnly())
    assert str(root) in caught.value.message
    assert not root.exists()
