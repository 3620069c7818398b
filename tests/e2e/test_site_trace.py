"""What a runner opens of its wheels while it does all it can, against what a bundle leaves out.

The wheels lie on an emulated box whole; QEMU writes down every file that is opened. A file that is
opened and is not in the bundle would be missed there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.emulate import Bind, make_root, run_in_root
from edgepack.build.targets import load_target, make_site
from edgepack.build.targets.lock import current_lock
from edgepack.build.targets.no_blas import MESSAGE
from edgepack.build.targets.site import unpack_wheels
from edgepack.formats.canonical import canonical_json
from tests.e2e import everything
from tests.e2e.builds import FullBuild

_OPENED = re.compile(r'open(?:at)?\((?:AT_FDCWD,)?"[^"]*/site/([^"]*)"[^\n]*= (?:\d+)')
_TARGETS = (("arm64", "litert"), ("arm64-tiny", "tflite-runtime"))


@pytest.mark.parametrize(("name", "runtime_name"), _TARGETS)
def test_nothing_that_a_bundle_leaves_out_is_opened(
    name: str, runtime_name: str, full_build: FullBuild, cache_dir: Path, tmp_path: Path
) -> None:
    target, cache = load_target(name), Cache(cache_dir)
    runtime = target.runtime(runtime_name)
    root = make_root(target, cache)
    assert root.emulated
    shutil.copy(full_build.bundle(name), tmp_path / "bundle.pyz")
    shutil.copy(everything.__file__, tmp_path)
    binds = [Bind(tmp_path, "box", writable=True)]
    install = ["python3", "/mnt/box/bundle.pyz", "install", "--root", "/mnt/box/R"]
    done = run_in_root(root, install, binds=binds, cpu_model=target.qemu_model, timeout_s=300)
    assert done.ok, done.stderr
    (release,) = (tmp_path / "R" / "releases").iterdir()
    kept = {path.relative_to(release / "site").as_posix() for path in (release / "site").rglob("*")}
    _forget_the_site(release / "manifest.json")
    shutil.rmtree(release / "site")
    whole, work = release / "site", tmp_path / "work"
    whole.mkdir()
    work.mkdir()
    unpack_wheels(
        target, runtime, current_lock(target, cache).runtimes[runtime.name].wheels, whole, work
    )
    (tmp_path / "trace").mkdir()
    done = run_in_root(
        root,
        ["python3", "/mnt/box/everything.py", "/mnt/box/R"],
        binds=binds,
        cpu_model=target.qemu_model,
        timeout_s=900,
        env={"QEMU_LOG": "strace", "QEMU_LOG_FILENAME": "/mnt/box/trace/%d.log"},
    )
    assert done.ok, done.stderr
    opened = {
        # A library names what it needs by the way from its own folder.
        os.path.normpath(found)
        for log in (tmp_path / "trace").iterdir()
        for found in _OPENED.findall(log.read_text(errors="replace"))
        if (whole / found).is_file()
    }
    assert "numpy/__init__.py" in opened
    assert any(each.startswith("numpy.libs/") for each in opened)
    assert {each for each in opened - kept if not _may_be_missing(each, runtime.hollow)} == set()


def _forget_the_site(manifest: Path) -> None:
    """Takes the site out of a manifest: a release is hashed as it starts, which opens all of it."""
    document = json.loads(manifest.read_bytes())
    document["files"] = [each for each in document["files"] if not each["path"].startswith("site/")]
    # It is a hard link to what else the root keeps.
    manifest.unlink()
    manifest.write_bytes(canonical_json(document))


def _may_be_missing(path: str, hollow: tuple[str, ...]) -> bool:
    return (
        # OpenBLAS's own, with it; and loaded by the package only where it is there.
        path.startswith("numpy.libs/")
        or path == "ai_edge_litert/libLiteRt.so"
        # The inside of packages that are imported and never used.
        or any(path.startswith(f"{package}/") for package in hollow)
    )


@pytest.mark.parametrize(("name", "runtime_name"), [*_TARGETS, ("arm64", "onnxruntime")])
def test_numpy_without_blas_says_so_and_ends_the_process(
    name: str, runtime_name: str, cache_dir: Path
) -> None:
    target, cache = load_target(name), Cache(cache_dir)
    site = make_site(target, target.runtime(runtime_name), cache)
    root = make_root(target, cache)
    program = (
        "import sys; sys.path.insert(0, '/mnt/site'); import numpy; "
        "x = numpy.arange(6, dtype=numpy.float32); "
        "print(x.dot(x), x[::2].dot(x[1::2]), flush=True); "
        "x.reshape(2, 3) @ x.reshape(3, 2)"
    )
    done = run_in_root(
        root,
        ["python3", "-I", "-S", "-B", "-c", program],
        binds=[Bind(site.path, "site")],
        cpu_model=target.qemu_model,
        timeout_s=120,
    )
    assert done.stdout.split() == ["55.0", "26.0"]
    assert done.signal == "SIGABRT"
    assert MESSAGE.decode().strip() in done.stderr


@pytest.mark.parametrize(("name", "most_mb"), [("arm64-tiny", 5), ("arm64", 5), ("cpu", 9)])
def test_a_bundle_of_the_shipped_model_stays_small(
    name: str, most_mb: float, full_build: FullBuild
) -> None:
    assert full_build.bundle(name).stat().st_size < most_mb * 1e6
