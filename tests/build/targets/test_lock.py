"""Pinned wheels: read back as written, stale ones noticed, bad lines named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.build.cache import Cache
from edgepack.build.preflight.box import check_cpu, check_wheels
from edgepack.build.process import ChildResult
from edgepack.build.targets.find import list_targets, load_target
from edgepack.build.targets.lock import (
    Lock,
    LockedWheel,
    RuntimeLock,
    check_lock,
    current_lock,
    load_lock,
    lock_inputs,
    parse_lock,
    write_lock,
)
from edgepack.build.targets.target import Target
from edgepack.build.targets.uv import WheelsUnavailableError, _translate
from edgepack.formats.errors import ConfigError

NUMPY = LockedWheel("numpy-2.2.6-cp311-cp311-manylinux_2_17_aarch64.whl", "a" * 64)
GPU = LockedWheel(
    "onnxruntime_gpu-1.24.4-cp311-cp311-manylinux_2_28_x86_64.whl", "b" * 64, external=True
)


def copied(name: str, folder: Path) -> Target:
    """A shipped target in a folder of its own, without its lock."""
    target = load_target(name)
    return replace(target, path=folder / target.path.name)


def test_a_wheels_name_tells_distribution_version_and_tags() -> None:
    assert (GPU.name, GPU.version) == ("onnxruntime-gpu", "1.24.4")
    assert NUMPY.tags == ("cp311", "cp311", "manylinux_2_17_aarch64")


def test_a_lock_is_read_back_as_it_was_written() -> None:
    lock = Lock({"onnxruntime-gpu": RuntimeLock("0123456789abcdef", (NUMPY, GPU))})
    assert parse_lock(lock.to_bytes(), Path("x.lock")) == lock


def test_a_lock_names_no_index_and_no_folder(repository: Path) -> None:
    for name in list_targets((repository / "targets",)):
        text = load_target(name, (repository / "targets",)).lock_path.read_text()
        assert "://" not in text
        assert "/" not in text.replace("targets lock", "")


@pytest.mark.parametrize("name", list(list_targets()))
def test_the_shipped_locks_are_current_and_fit_their_boxes(name: str, repository: Path) -> None:
    target = load_target(name, (repository / "targets",))
    lock = load_lock(target)
    assert check_lock(target, lock) == []
    assert lock is not None
    for runtime in target.runtimes:
        wheels = lock.runtimes[runtime.name].wheels
        assert check_wheels(target, wheels) == []
        assert check_cpu(target, wheels) == []
        names = {wheel.name for wheel in wheels}
        assert {runtime.distribution, "numpy", "psutil", "httptools", "prometheus-client"} <= names
        assert names.isdisjoint(runtime.drop)
        assert {wheel.name for wheel in wheels if wheel.external} == set(runtime.external)


def test_a_lock_for_other_requirements_is_stale() -> None:
    target = load_target("arm64-tiny")
    lock = load_lock(target)
    newer = replace(target, runtimes=(replace(target.runtimes[0], requirements=("numpy<1.26",)),))
    problems = check_lock(newer, lock)
    assert [each.where for each in problems] == ["tflite-runtime"]
    assert problems[0].hint == "edgepack targets lock arm64-tiny"
    assert check_lock(replace(target, glibc="2.39"), lock)
    assert check_lock(target, Lock({})) != []
    assert "not there" in str(check_lock(target, None)[0])
    pruned = replace(target, runtimes=(replace(target.runtimes[0], prune=("x",)),))
    assert check_lock(pruned, lock) == [], "what is cut away later does not change the wheels"


def test_a_build_with_a_stale_lock_is_refused(tmp_path: Path) -> None:
    target = copied("arm64-tiny", tmp_path)
    write_lock(target, Lock({"tflite-runtime": RuntimeLock("0" * 16, (NUMPY,))}))
    with pytest.raises(ConfigError, match="made for other requirements"):
        current_lock(target, Cache(tmp_path / "cache"))


def test_a_current_lock_is_used_as_it_is(tmp_path: Path) -> None:
    target = copied("arm64-tiny", tmp_path)
    inputs = lock_inputs(target, target.runtimes[0])
    lock = Lock({"tflite-runtime": RuntimeLock(inputs, (NUMPY,))})
    write_lock(target, lock)
    assert current_lock(target, Cache(tmp_path / "cache")) == lock


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"runtime = 5", "not a lock"),
        (b"\xff", "not a lock"),
        (b"[[runtime]]\nname = 'litert'", "not a lock"),
        (b"x" * (2**20 + 1), "a lock has at most"),
        (
            b"[[runtime]]\nname='l'\ninputs='0'\nwheels=['numpy-2-a-b-c.whl sha256:12']",
            "got 'numpy",
        ),
        (b"[[runtime]]\nname='l'\ninputs='0'\nwheels=['../../x.whl']", "runtime[0]: got '../../x"),
    ],
)
def test_a_damaged_lock_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_lock(data, Path("kiosk.lock"))
    assert words in caught.value.message
    assert "kiosk.lock" in caught.value.message


def test_a_lock_that_cannot_be_written_leaves_no_draft(tmp_path: Path) -> None:
    target = replace(load_target("arm64-tiny"), path=tmp_path / "none" / "arm64-tiny.toml")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_lock(target, Lock({}))


def ended(stderr: str) -> ChildResult:
    return ChildResult(2, False, False, "", stderr, 0, 1.0)


@pytest.mark.parametrize(
    "said",
    [
        "error: Request failed after 3 retries\n  cause: Failed to fetch: "
        "http://index.example"
        "/simple/httptools/\n  cause: dns error",
        "error: No solution found when resolving dependencies\n cause: Because httptools was not "
        "found in the cache and you require httptools==0.9.0, we can conclude",
    ],
)
def test_what_uv_says_without_a_network_becomes_a_missing_wheel(said: str) -> None:
    error = _translate(ended(said), "target kiosk, litert 2.3.0", "x", "3.11")
    assert isinstance(error, WheelsUnavailableError)
    assert error.exit_code == 4
    assert "target kiosk, litert 2.3.0: the wheel of httptools" in error.message
    assert "UV_FIND_LINKS" in (error.hint or "")


def test_what_uv_says_when_nothing_fits_becomes_the_targets_mistake() -> None:
    said = "error: No solution found\n  cause: no wheels with a matching platform (manylinux_2_34)"
    error = _translate(ended(said), "target kiosk, litert 2.3.0", "aarch64-manylinux_2_28", "3.11")
    assert isinstance(error, ConfigError)
    for words in ("target kiosk", "aarch64-manylinux_2_28", "Python 3.11", "manylinux_2_34"):
        assert words in error.message
