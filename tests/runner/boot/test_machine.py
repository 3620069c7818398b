from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgepack.build.pack import finish_manifest
from edgepack.formats.manifest import ExternalWheel, TargetInfo
from edgepack.runner.boot.disk import Disk
from edgepack.runner.boot.doctor import Check, examine
from edgepack.runner.boot.machine import Machine, check_machine, parse_version, read_machine
from tests.bundles import draft_manifest, release_files

BOX = Machine(
    arch="aarch64",
    os="linux",
    python="3.11.2",
    glibc="2.36",
    cpu="Cortex-A72",
    cpu_flags=frozenset({"fp", "asimd"}),
    memory_bytes=950_000_000,
    has_lzma=True,
)
TARGET = TargetInfo(
    name="arm64",
    sha256="0" * 64,
    arch="aarch64",
    os="linux",
    glibc="2.28",
    python="3.11",
    memory_mb=1000,
    cpu="cortex-a72",
    cpu_flags=("asimd",),
)


def test_a_box_that_fits_has_no_problems() -> None:
    assert check_machine(BOX, TARGET) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"arch": "x86_64"}, "arch"),
        ({"arch": "aarch64 (32-bit Python)"}, "arch"),
        ({"os": "darwin"}, "os"),
        ({"python": "3.12.1"}, "python"),
        ({"python": "3.1.1"}, "python"),
        ({"glibc": "2.9"}, "glibc"),
        ({"glibc": None}, "glibc"),
        ({"cpu_flags": frozenset({"fp"})}, "cpu"),
    ],
)
def test_each_difference_is_a_problem_with_its_name(change: dict[str, object], where: str) -> None:
    problems = check_machine(replace(BOX, **change), TARGET)  # type: ignore[arg-type]
    assert [problem.where for problem in problems] == [where]


def test_flags_the_kernel_does_not_name_are_not_judged() -> None:
    assert check_machine(replace(BOX, cpu_flags=None), TARGET) == []


def test_versions_are_compared_as_numbers() -> None:
    assert parse_version("2.9") < parse_version("2.36")
    assert parse_version("2.36.9000-rc") == (2, 36)


def test_this_machine_can_be_read() -> None:
    found = read_machine()
    assert found.os == "linux"
    assert found.python.startswith("3.")
    assert found.glibc is None or parse_version(found.glibc) > (2, 0)


def test_the_kernels_files_may_be_missing_or_strange(tmp_path: Path) -> None:
    found = read_machine(tmp_path)
    assert (found.cpu, found.cpu_flags, found.memory_bytes) == (None, None, None)
    (tmp_path / "cpuinfo").write_bytes(b"\xff\xfe no colon\nflags: a b\nFeatures: a b\n")
    (tmp_path / "meminfo").write_bytes(b"MemTotal:  1000 kB\n")
    found = read_machine(tmp_path)
    assert found.cpu_flags == frozenset({"a", "b"})
    assert found.memory_bytes == 1_024_000


class FixedDisk(Disk):
    def __init__(self, free: int) -> None:
        self.free = free

    def free_bytes(self, path: Path) -> int:
        assert path.is_dir()
        return self.free


def diagnose(machine: Machine, folder: Path, free: int = 10**9) -> dict[str, Check]:
    wheel = ExternalWheel("onnxruntime-gpu", "1.32.0", "x.whl", "0" * 64)
    files = release_files()
    manifest = finish_manifest(draft_manifest(files, external=(wheel,)), files)
    manifest = replace(manifest, target=TARGET)
    checks = examine(machine, manifest, folder, disk=FixedDisk(free), find=lambda name: None)
    return {check.name: check for check in checks}


def test_the_doctor_sees_a_good_box_and_what_it_still_lacks(tmp_path: Path) -> None:
    checks = diagnose(BOX, tmp_path / "not" / "yet" / "there")
    assert {name for name, check in checks.items() if check.status != "ok"} == {"onnxruntime-gpu"}
    assert checks["onnxruntime-gpu"].status == "warn"


def test_the_doctor_names_each_failure_with_what_is_needed(tmp_path: Path) -> None:
    bad = replace(
        BOX, arch="x86_64", python="3.9.1", glibc=None, cpu_flags=frozenset(), has_lzma=False
    )
    checks = diagnose(bad, tmp_path)
    failed = {name for name, check in checks.items() if check.status == "fail"}
    assert failed == {"arch", "python", "glibc", "cpu", "lzma"}
    assert checks["arch"].needed == "aarch64"
    assert checks["lzma"].hint is not None


def test_the_doctor_says_what_it_cannot_know_and_what_is_tight(tmp_path: Path) -> None:
    unknown = diagnose(replace(BOX, cpu_flags=None, memory_bytes=None), tmp_path)
    assert unknown["cpu"].status == unknown["memory"].status == "unknown"
    tight = diagnose(replace(BOX, memory_bytes=500_000_000), tmp_path, free=1)
    assert tight["memory"].status == "warn"
    assert tight["disk"].status == "fail"
