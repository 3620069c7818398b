from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.install import InstallRequest, Surroundings, install
from edgepack.runner.boot.store import MARKER, Store
from edgepack.runner.boot.uninstall import uninstall
from tests.bundles import pack, this_machine


@pytest.fixture
def packed(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path)


def put(packed: PackedBundle, root: Path, state: Path | None = None) -> None:
    request = InstallRequest(root, state)
    install(open_bundle(packed.path), request, Surroundings(this_machine()))


def test_nothing_is_left_of_an_installation(tmp_path: Path, packed: PackedBundle) -> None:
    root = tmp_path / "root"
    put(packed, root)
    (root / "state" / "spool").mkdir()
    (root / "state" / "spool" / "1.json").write_bytes(b"{}")
    removed = uninstall(root)
    assert removed.gone
    assert not root.exists()


@pytest.mark.parametrize("names", [(), ("diary.txt",), ("bin", "releases", "blobs", "current")])
def test_a_directory_that_is_no_root_is_refused_untouched(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "home").mkdir()
    for name in names:
        (tmp_path / "home" / name).write_bytes(b"mine")
    with pytest.raises(DeviceError, match="nothing was removed"):
        uninstall(tmp_path / "home")
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == sorted(names)


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="not an edgepack root"):
        uninstall(tmp_path / "missing")


def test_a_damaged_marker_is_refused(tmp_path: Path, packed: PackedBundle) -> None:
    root = tmp_path / "root"
    put(packed, root)
    (root / MARKER).write_bytes(b"{")
    with pytest.raises(BundleError, match="not valid JSON"):
        uninstall(root)
    assert Store(root).current_id() == packed.manifest.id


def test_what_others_put_there_stays_and_is_named(tmp_path: Path, packed: PackedBundle) -> None:
    root = tmp_path / "root"
    put(packed, root)
    (root / "notes.txt").write_bytes(b"mine")
    (root / "bin" / "mine").write_bytes(b"mine")
    removed = uninstall(root)
    assert removed.kept == ("bin", "notes.txt")
    assert not removed.gone
    assert (root / "bin" / "mine").exists()
    assert not (root / "bin" / "edgepack-runner").exists()


def test_a_kept_state_gives_the_box_its_id_back(tmp_path: Path, packed: PackedBundle) -> None:
    root = tmp_path / "root"
    put(packed, root)
    before = (root / "state" / "device_id").read_bytes()
    assert uninstall(root, keep_state=True).kept == ("state",)
    put(packed, root)
    assert (root / "state" / "device_id").read_bytes() == before


def test_a_state_elsewhere_goes_too_unless_it_is_kept(tmp_path: Path, packed: PackedBundle) -> None:
    root, state = tmp_path / "root", tmp_path / "var" / "state"
    put(packed, root, state)
    uninstall(root, keep_state=True)
    assert (state / "device_id").exists()
    put(packed, root, state)
    uninstall(root)
    assert not state.exists()
    assert state.parent.exists()
