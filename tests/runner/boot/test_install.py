from __future__ import annotations

import errno
import json
import os
import pwd
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.install import (
    InstallRequest,
    Surroundings,
    fill_unit,
    install,
)
from edgepack.runner.boot.roots import is_whole, prune
from edgepack.runner.boot.store import Store, is_intact
from edgepack.runner.boot.uninstall import uninstall
from tests.bundles import MODEL_FILE, forge, honest_but_wrong, pack, release_files, this_machine
from tests.roots import DEVICE_ID, QuickDisk, put, snapshot


@pytest.fixture
def old(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path, filename="old.pyz")


@pytest.fixture
def new(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path, release_files(b"a newer model"), filename="new.pyz")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "boxes" / "root"


def test_a_bundle_is_installed_as_its_manifest_says(root: Path, old: PackedBundle) -> None:
    done = put(old, root)
    release = root / "current"
    assert release.readlink() == Path("releases") / old.manifest.id
    for record in old.manifest.files:
        assert is_intact(release / record.path, record)
    assert (release / "manifest.json").read_bytes() == old.manifest.to_bytes()
    assert (root / "state" / "device_id").read_text() == f"{DEVICE_ID}\n"
    assert done.device_id == DEVICE_ID
    assert done.previous_id is None
    launcher = root / "bin" / "edgepack-runner"
    assert launcher.read_text().startswith(f"#!{sys.executable} -IS\n")
    assert stat.S_IMODE(launcher.stat().st_mode) == 0o755


def test_modes_do_not_depend_on_the_umask(root: Path, old: PackedBundle) -> None:
    before = os.umask(0o077)
    try:
        put(old, root)
    finally:
        os.umask(before)
    release = root / "releases" / old.manifest.id
    for path in [release, *release.rglob("*")]:
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_equal_files_are_kept_once(root: Path, old: PackedBundle, new: PackedBundle) -> None:
    put(old, root)
    done = put(new, root)
    assert (done.new_files, done.new_bytes) == (1, len(b"a newer model"))
    one = root / "releases" / old.manifest.id / "site" / "numpy" / "core.py"
    two = root / "releases" / new.manifest.id / "site" / "other" / "core.py"
    assert one.stat().st_ino == two.stat().st_ino


def test_the_same_content_may_be_executable_and_not(tmp_path: Path, root: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_bytes(b"same = 1\n")
    tool.chmod(0o755)
    packed = pack(tmp_path, release_files() | {"site/tool": tool})
    put(packed, root)
    for record in packed.manifest.files:
        assert is_intact(root / "current" / record.path, record)


def test_an_update_keeps_the_device_id_and_the_old_release(
    root: Path, old: PackedBundle, new: PackedBundle
) -> None:
    put(old, root)
    done = put(new, root, new_id=lambda: "another")
    assert done.device_id == DEVICE_ID
    assert done.previous_id == old.manifest.id
    assert set(Store(root).release_ids()) == {old.manifest.id, new.manifest.id}


def test_going_back_to_an_older_bundle_is_an_install_like_any_other(
    root: Path, old: PackedBundle, new: PackedBundle
) -> None:
    put(old, root)
    put(new, root)
    assert put(old, root).new_files == 0
    assert Store(root).current_id() == old.manifest.id


def test_a_file_where_the_root_should_be_is_said_so(tmp_path: Path, old: PackedBundle) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeviceError, match="is a file"):
        put(old, tmp_path / "file")
    with pytest.raises(DeviceError, match="lies below one"):
        put(old, tmp_path / "file" / "below")


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path, old: PackedBundle) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").write_bytes(b"dear")
    with pytest.raises(DeviceError, match=r"not empty .* diary\.txt"):
        put(old, tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["diary.txt"]


def test_one_root_holds_one_model(tmp_path: Path, root: Path, old: PackedBundle) -> None:
    put(old, root)
    other = pack(tmp_path, filename="other.pyz", name="gru4rec")
    with pytest.raises(DeviceError, match="holds the model session; this bundle has gru4rec"):
        put(other, root)
    put(other, root, force=True)
    assert Store(root).current_id() == other.manifest.id


def test_two_roots_live_side_by_side(tmp_path: Path, old: PackedBundle, new: PackedBundle) -> None:
    put(old, tmp_path / "one")
    put(new, tmp_path / "two", new_id=lambda: "second")
    before = snapshot(tmp_path / "two")
    uninstall(tmp_path / "one", disk=QuickDisk())
    assert not (tmp_path / "one").exists()
    assert snapshot(tmp_path / "two") == before


def test_a_box_of_another_kind_is_refused_with_every_difference(
    root: Path, old: PackedBundle
) -> None:
    machine = replace(this_machine(), arch="riscv64", python="3.9.2", glibc="2.17")
    request = InstallRequest(root=root)
    with pytest.raises(DeviceError, match="this box is not a here") as caught:
        install(open_bundle(old.path), request, Surroundings(machine, QuickDisk()))
    for word in ("riscv64", "3.9.2", "2.17"):
        assert word in caught.value.message
    assert not root.exists()
    install(open_bundle(old.path), replace(request, force=True), Surroundings(machine, QuickDisk()))
    assert Store(root).current_id() == old.manifest.id


def test_a_bundle_that_lies_about_a_file_changes_nothing(
    tmp_path: Path, root: Path, old: PackedBundle
) -> None:
    put(old, root)
    before = snapshot(root)
    with pytest.raises(BundleError, match="SHA-256"):
        put(honest_but_wrong(tmp_path), root)
    after = snapshot(root)
    assert {name for name in after if not name.startswith("blobs")} == {
        name for name in before if not name.startswith("blobs")
    }
    assert Store(root).current_id() == old.manifest.id


def test_a_forged_path_writes_nothing_outside(tmp_path: Path, root: Path) -> None:
    def edit(data: bytes) -> bytes:
        document = json.loads(data)
        document["files"][0]["path"] = "../../../escaped"
        return json.dumps(document).encode()

    with pytest.raises(BundleError):
        put(forge(tmp_path, edit_manifest=edit), root)
    assert not root.exists()
    assert not (tmp_path / "escaped").exists()


def test_a_damaged_release_is_mended_by_installing_it_again(root: Path, old: PackedBundle) -> None:
    put(old, root)
    # A hard link: the blob and every release that uses it are damaged at once.
    (root / "current" / MODEL_FILE).write_bytes(b"A MODEL")
    (root / "current" / "site" / "numpy" / "core.py").unlink()
    put(old, root)
    for record in old.manifest.files:
        assert is_intact(root / "current" / record.path, record)


def test_a_blob_that_is_a_link_to_elsewhere_is_not_used(
    tmp_path: Path, root: Path, old: PackedBundle
) -> None:
    put(old, root)
    record = next(each for each in old.manifest.files if each.path == MODEL_FILE)
    blob = Store(root).blob_path(record.sha256, record.mode)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"a model")
    elsewhere.chmod(0o644)
    blob.unlink()
    blob.symlink_to(elsewhere)
    assert put(old, root).new_files == 1
    assert not blob.is_symlink()


def test_old_releases_go_oldest_first_and_take_their_files_along(
    tmp_path: Path, root: Path
) -> None:
    packs = [
        pack(tmp_path, release_files(f"model {number}".encode()), filename=f"{number}.pyz")
        for number in range(4)
    ]
    for each in packs[:3]:
        put(each, root, keep=2)
    compiled = root / "state" / "pycache"
    place = (root / "releases" / packs[0].manifest.id).resolve().relative_to("/")
    (compiled / place).mkdir(parents=True)
    done = put(packs[3], root, keep=2)
    assert done.pruned.releases == (packs[0].manifest.id,)
    assert done.pruned.blobs == 1
    assert not (compiled / place).exists()
    assert set(Store(root).release_ids()) == {each.manifest.id for each in packs[1:]}
    pruned = prune(root, 0, QuickDisk())
    assert set(pruned.releases) == {each.manifest.id for each in packs[1:3]}
    assert Store(root).release_ids() == (packs[3].manifest.id,)
    for record in packs[3].manifest.files:
        assert is_intact(root / "current" / record.path, record)


def test_pruning_wants_a_root(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="not an edgepack root"):
        prune(tmp_path / "nothing", 0)


def test_state_may_live_elsewhere_and_the_id_moves_along(
    tmp_path: Path, root: Path, old: PackedBundle
) -> None:
    put(old, root)
    done = put(old, root, state=tmp_path / "var" / "state", new_id=lambda: "another")
    assert done.device_id == DEVICE_ID
    assert (tmp_path / "var" / "state" / "device_id").read_text() == f"{DEVICE_ID}\n"
    # And it stays there when the option is not repeated.
    assert put(old, root).state == tmp_path / "var" / "state"


def test_a_state_directory_of_something_else_is_refused(
    tmp_path: Path, root: Path, old: PackedBundle
) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "mail").write_bytes(b"")
    with pytest.raises(DeviceError, match="not an edgepack state"):
        put(old, root, state=tmp_path / "var")
    assert not root.exists()


@pytest.mark.parametrize(
    ("name", "home"), [("edgepack-runner", "50%% off"), ("edgepack-runner@", "%i")]
)
def test_the_units_in_the_root_have_its_real_paths(
    tmp_path: Path, old: PackedBundle, name: str, home: str
) -> None:
    root = tmp_path / "50% off"
    put(old, root)
    unit = (root / "systemd" / f"{name}.service").read_text()
    assert f'ExecStart="{tmp_path}/{home}/bin/edgepack-runner" serve' in unit
    assert f'Environment="EDGEPACK_STATE={tmp_path}/{home}/state"' in unit
    assert f'ReadWritePaths="{tmp_path}/{home}/state"' in unit
    template = (root / f"current/systemd/{name}.service").read_text()
    for mark in ("@ROOT@", "@ACCOUNT@"):
        assert mark not in unit
        assert mark in template


def test_the_service_runs_as_the_states_owner_but_never_as_root(tmp_path: Path) -> None:
    owner = tmp_path.stat().st_uid
    unit = fill_unit("@ACCOUNT@\n", tmp_path, tmp_path)
    expected = f"User={pwd.getpwuid(owner).pw_name}" if owner else "DynamicUser=yes"
    assert unit.splitlines()[0] == expected
    assert "User=root" not in unit
    if owner == 0:
        os.chown(tmp_path, 54321, 54321)
        assert fill_unit("@ACCOUNT@", tmp_path, tmp_path) == "User=54321"


def test_a_file_system_without_hard_links_gets_copies(
    root: Path, old: PackedBundle, new: PackedBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    put(old, root)
    put(new, root)
    for packed in (old, new):
        for record in packed.manifest.files:
            assert is_intact(root / "releases" / packed.manifest.id / record.path, record)
    assert not [path for path in (root / "blobs").rglob("*") if path.is_file()]


def test_a_second_install_waits_no_longer_than_it_may(root: Path, old: PackedBundle) -> None:
    put(old, root)
    refused = pytest.raises(DeviceError, match="another install")
    with Store(root).locked(), refused, Store(root).locked(wait_s=0):
        pytest.fail("two held the lock at once")
    with Store(root).locked(wait_s=0):
        pass


def test_is_whole_sees_a_lost_and_a_short_file(root: Path, old: PackedBundle) -> None:
    bundle = open_bundle(old.path)
    assert not is_whole(Store(root), bundle)
    put(old, root)
    assert is_whole(Store(root), bundle)
    (root / "current" / MODEL_FILE).write_bytes(b"short")
    assert not is_whole(Store(root), bundle)
    (root / "current" / MODEL_FILE).unlink()
    assert not is_whole(Store(root), bundle)


def test_a_draft_of_the_device_id_does_not_make_a_state_a_foreign_one(
    root: Path, old: PackedBundle
) -> None:
    # Left by a power cut, or by another install at this very moment.
    (root / "state").mkdir(parents=True)
    (root / "state" / ".device_id.tmp-77").write_text("5f0c")
    put(old, root)
    assert (root / "state" / "device_id").read_text() == f"{DEVICE_ID}\n"
