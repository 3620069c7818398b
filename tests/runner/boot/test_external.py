from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.formats.errors import BundleError, DeviceError
from edgepack.formats.manifest import ExternalWheel
from edgepack.runner.boot.archive import open_bundle
from edgepack.runner.boot.external import (
    Fetcher,
    check_wheel,
    fetch_with_pip,
    find_installed,
    read_wheel,
    take_wheel,
)
from edgepack.runner.boot.install import InstallRequest, Surroundings, install
from edgepack.runner.boot.store import Store
from tests.bundles import pack, release_files, this_machine

FILENAME = "onnxruntime_gpu-1.32.0-cp311-cp311-manylinux_2_28_x86_64.whl"


def write_wheel(folder: Path, members: dict[str, bytes]) -> ExternalWheel:
    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    (folder / FILENAME).write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    return ExternalWheel("onnxruntime-gpu", "1.32.0", FILENAME, digest)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    return tmp_path / "wheels"


@pytest.fixture
def wheel(wheels: Path) -> ExternalWheel:
    return write_wheel(
        wheels,
        {
            "onnxruntime/__init__.py": b"x = 1\n",
            "onnxruntime_gpu-1.32.0.data/purelib/pure.py": b"y = 1\n",
            "onnxruntime_gpu-1.32.0.data/scripts/tool": b"#!python\n",
            "onnxruntime_gpu-1.32.0.dist-info/METADATA": b"",
        },
    )


@pytest.fixture
def thin(tmp_path: Path, wheel: ExternalWheel) -> PackedBundle:
    return pack(tmp_path, external=(wheel,))


def put(
    packed: PackedBundle,
    root: Path,
    fetch: Fetcher | None = None,
    installed: tuple[str, Path] | None = None,
) -> None:
    around = Surroundings(this_machine(), find=lambda name: installed)
    install(open_bundle(packed.path), InstallRequest(root, fetch=fetch), around)


def external(root: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((root / "current" / "external.json").read_bytes())
    return found


def test_without_the_wheel_the_three_ways_are_named(tmp_path: Path, thin: PackedBundle) -> None:
    with pytest.raises(DeviceError, match=r"onnxruntime-gpu 1\.32\.0 .* it has none") as caught:
        put(thin, tmp_path / "root")
    hint = caught.value.hint or ""
    for way in ("pip install onnxruntime-gpu==1.32.0", f"--wheels DIR` with {FILENAME}", "--fetch"):
        assert way in hint
    assert not (tmp_path / "root").exists()


def test_another_version_on_the_box_does_not_do(tmp_path: Path, thin: PackedBundle) -> None:
    with pytest.raises(DeviceError, match=r"it has 1\.31\.0"):
        put(thin, tmp_path / "root", installed=("1.31.0", tmp_path))


def test_what_the_box_brings_is_only_pointed_at(tmp_path: Path, thin: PackedBundle) -> None:
    put(thin, tmp_path / "root", installed=("1.32.0", tmp_path / "dist-packages"))
    assert external(tmp_path / "root")["paths"] == [str(tmp_path / "dist-packages")]
    assert not (tmp_path / "root" / "current" / "external").exists()


def test_a_wheel_given_by_hand_is_unpacked_into_the_release(
    tmp_path: Path, wheels: Path, thin: PackedBundle
) -> None:
    put(thin, tmp_path / "root", take_wheel(str(wheels)))
    release = tmp_path / "root" / "current"
    assert external(tmp_path / "root")["paths"] == ["external"]
    assert (release / "external/onnxruntime/__init__.py").read_bytes() == b"x = 1\n"
    assert (release / "external/pure.py").read_bytes() == b"y = 1\n"
    assert not list((release / "external").rglob("tool"))


def test_an_update_takes_the_wheel_from_the_release_before(
    tmp_path: Path, wheel: ExternalWheel, wheels: Path, thin: PackedBundle
) -> None:
    put(thin, tmp_path / "root", take_wheel(str(wheels)))
    newer = pack(tmp_path, release_files(b"newer"), filename="n.pyz", external=(wheel,))
    put(newer, tmp_path / "root")
    release = tmp_path / "root" / "current"
    assert release.readlink().name == newer.manifest.id
    assert (release / "external/onnxruntime/__init__.py").read_bytes() == b"x = 1\n"


def test_a_damaged_unpacked_wheel_is_not_taken_over(
    tmp_path: Path, wheel: ExternalWheel, wheels: Path, thin: PackedBundle
) -> None:
    root = tmp_path / "root"
    put(thin, root, take_wheel(str(wheels)))
    (root / "current/external/pure.py").write_bytes(b"y = 2\n")
    newer = pack(tmp_path, release_files(b"newer"), filename="n.pyz", external=(wheel,))
    with pytest.raises(DeviceError, match="it has none"):
        put(newer, root)
    assert Store(root).current_id() == thin.manifest.id
    put(newer, root, take_wheel(str(wheels)))
    assert (root / "current/external/pure.py").read_bytes() == b"y = 1\n"


def test_a_wheel_that_is_not_there_is_named(tmp_path: Path, thin: PackedBundle) -> None:
    with pytest.raises(DeviceError, match=FILENAME):
        put(thin, tmp_path / "root", take_wheel(str(tmp_path / "empty")))
    assert not (tmp_path / "root").exists()


def test_another_file_of_that_name_is_refused_with_both_hashes(
    tmp_path: Path, wheels: Path, thin: PackedBundle, wheel: ExternalWheel
) -> None:
    (wheels / FILENAME).write_bytes(b"PK")
    with pytest.raises(BundleError, match=f"the manifest says {wheel.sha256}"):
        put(thin, tmp_path / "root", take_wheel(str(wheels)))
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", ["../outside.py", "/etc/x.py", "a/../../b.py"])
def test_a_wheel_with_a_path_that_leaves_it_is_refused(tmp_path: Path, name: str) -> None:
    write_wheel(tmp_path / "bad", {name: b""})
    with pytest.raises(BundleError, match="leaves the release"):
        list(read_wheel(tmp_path / "bad" / FILENAME))


def test_a_wheel_with_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILENAME
    info = zipfile.ZipInfo("link.py")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(BundleError, match="not a plain file"):
        list(read_wheel(path))


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_bytes(b"hello")
    wheel = ExternalWheel("x", "1", FILENAME, hashlib.sha256(b"hello").hexdigest())
    found = check_wheel(tmp_path / FILENAME, wheel)
    assert found.file is not None
    with pytest.raises(BundleError, match="not a readable wheel"):
        list(read_wheel(found.file))


@pytest.mark.parametrize("filename", ["../x.whl", "a/b.whl", "x.tar.gz", "--index-url=x"])
def test_a_file_name_that_is_none_of_a_wheel_is_refused(tmp_path: Path, filename: str) -> None:
    wheel = ExternalWheel("x", "1", filename, "0" * 64)
    with pytest.raises(BundleError, match="names no wheel"):
        take_wheel(str(tmp_path))(wheel, tmp_path)
    with pytest.raises(BundleError, match="names no wheel"):
        fetch_with_pip(wheel, tmp_path)


def test_a_distribution_of_this_python_is_found_and_a_strange_one_is_not() -> None:
    found = find_installed("pytest")
    assert found is not None
    assert found[0] == pytest.__version__
    assert (found[1] / "pytest").is_dir()
    assert find_installed("no-such-distribution") is None
