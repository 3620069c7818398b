"""A bundle that brings NVIDIA's wheels: installed, found by the runner, and what is in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.pack import pack_bundle
from edgepack.build.targets.lock import make_lock
from edgepack.build.targets.target import CUDA_DISTRIBUTIONS
from edgepack.formats.canonical import sha256_hex
from edgepack.formats.manifest import ExternalWheel, RuntimeInfo
from edgepack.formats.variants import RuntimeName
from edgepack.runner.gpu.libraries import find_libraries, search_folders
from edgepack.runner.gpu.needs import CUDA_LIBRARIES
from tests.bundles import draft_manifest, pack, release_files
from tests.e2e.doubling import own_target
from tests.runner.gpu.cards import own_machine, shared_library


def _wheel(folder: Path, name: str, shared: bytes) -> ExternalWheel:
    """Makes a wheel laid out as NVIDIA's, which share the package `nvidia`."""
    distribution = name.replace("-", "_")
    path = folder / f"{distribution}-12.1-py3-none-any.whl"
    info = f"{distribution}-12.1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nvidia/__init__.py", shared)
        for each in CUDA_LIBRARIES:
            if each.wheel == name:
                place = f"nvidia/{each.folder}/lib/{each.soname}"
                archive.writestr(place, shared_library(own_machine()))
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 12.1\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return ExternalWheel(name, "12.1", path.name, sha256_hex(path.read_bytes()))


def _install(bundle: Path, root: Path, wheels: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle), "install", "--root", str(root)]
    return subprocess.run(
        [*command, "--wheels", str(wheels)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _names() -> list[str]:
    return sorted({each.wheel for each in CUDA_LIBRARIES if each.wheel is not None})


def test_wheels_that_share_a_package_are_installed_and_their_libraries_found(
    tmp_path: Path,
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    external = tuple(_wheel(wheels, name, b"") for name in _names())
    bundle = pack(tmp_path, filename="gpu.pyz", external=external, program=None).path
    done = _install(bundle, tmp_path / "root", wheels)
    assert done.returncode == 0, done.stderr
    release = tmp_path / "root" / "current"
    paths = json.loads((release / "external.json").read_text())["paths"]
    assert paths == ["external"]
    folders = search_folders({}, [str(release / each) for each in paths], tmp_path)
    found = find_libraries(CUDA_LIBRARIES, folders)
    assert set(found.paths) == {each.soname for each in CUDA_LIBRARIES}
    assert all(release in path.parents for path in found.paths.values())


def test_wheels_that_disagree_about_a_file_are_refused_and_nothing_is_installed(
    tmp_path: Path,
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    shared = iter(range(100))
    external = tuple(_wheel(wheels, name, bytes([next(shared)])) for name in _names())
    bundle = pack(tmp_path, filename="gpu.pyz", external=external, program=None).path
    done = _install(bundle, tmp_path / "root", wheels)
    assert done.returncode == 7
    assert "different files external/nvidia/__init__.py" in done.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("cuda", ["system", "bundled"])
def test_a_lock_has_nvidias_wheels_outside_the_bundle_only_where_they_are_asked_for(
    tmp_path: Path, cuda: str
) -> None:
    target = own_target(tmp_path, "gpu", 'cuda = "system"', f'cuda = "{cuda}"')
    lock = make_lock(target, Cache(tmp_path / "cache"))
    wheels = lock.runtimes["onnxruntime-gpu"].wheels
    outside = {each.name for each in wheels if each.external}
    wanted = {"onnxruntime-gpu", *(CUDA_DISTRIBUTIONS if cuda == "bundled" else ())}
    assert outside == wanted
    packed = {each.name for each in wheels if not each.external}
    assert "nvidia-ml-py" in packed


def test_a_bundle_for_a_card_says_on_a_box_without_one_what_it_will_do(tmp_path: Path) -> None:
    files = release_files()
    draft = draft_manifest(files, name="session")
    runtime = RuntimeInfo(RuntimeName.ONNXRUNTIME_GPU, "1.24.4", ("CUDAExecutionProvider",))
    bundle = tmp_path / "gpu.pyz"
    pack_bundle(replace(draft, runtime=runtime), files, bundle, cache=Cache(tmp_path / "cache"))
    # No driver's library to be loaded, whatever this machine has.
    hidden = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "-1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(bundle), *arguments]
        return subprocess.run(
            command, env=hidden, capture_output=True, text=True, timeout=120, check=False
        )

    told = json.loads(run("doctor", "--json").stdout)["checks"]
    gpu = [each for each in told if each["name"] == "gpu"]
    assert [each["status"] for each in gpu] == ["warn"] * len(gpu)
    assert gpu, "nothing was said of the card"
    assert all(each["hint"] for each in gpu)
    done = run("install", "--root", str(tmp_path / "root"))
    assert done.returncode == 0, done.stderr
    assert "the CPU computes until then" in done.stderr
    assert "hint: " in done.stderr
