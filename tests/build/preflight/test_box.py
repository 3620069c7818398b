"""Wheels against boxes: tags, C library, CPU flags."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgepack.build.preflight.box import check_cpu, check_wheels
from edgepack.build.targets.find import load_target
from edgepack.build.targets.lock import LockedWheel


def wheel(tags: str, name: str = "numpy-2.4.0") -> LockedWheel:
    return LockedWheel(f"{name}-{tags}.whl", "0" * 64)


@pytest.mark.parametrize(
    "tags",
    [
        "cp311-cp311-manylinux_2_36_aarch64",
        "cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64",
        "cp36-abi3-manylinux2014_aarch64",
        "py3-none-any",
        "py2.py3-none-any",
        "cp311-none-linux_aarch64",
    ],
)
def test_a_wheel_that_fits_is_accepted(tags: str) -> None:
    assert check_wheels(load_target("arm64"), [wheel(tags)]) == []


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ("cp311-cp311-manylinux_2_38_aarch64", "glibc 2.36"),
        ("cp311-cp311-manylinux_2_17_x86_64", "the box is aarch64"),
        ("cp311-cp311-musllinux_1_2_aarch64", "musllinux_1_2_aarch64"),
        ("cp312-cp312-manylinux_2_17_aarch64", "the box has Python 3.11"),
        ("cp312-abi3-manylinux_2_17_aarch64", "the box has Python 3.11"),
        ("py2-none-any", "the box has Python 3.11"),
        ("cp311-cp311-macosx_11_0_arm64", "macosx"),
    ],
)
def test_a_wheel_that_does_not_fit_is_named(tags: str, words: str) -> None:
    (problem,) = check_wheels(load_target("arm64"), [wheel(tags)])
    assert words in str(problem)
    assert "numpy-2.4.0" in problem.where


def test_cpu_flags_that_wheels_assume_must_be_on_the_box() -> None:
    cpu = load_target("cpu")
    old = replace(cpu, cpu_flags=("sse4_1",))
    wheels = [wheel("cp311-cp311-manylinux_2_28_x86_64")]
    assert check_cpu(cpu, wheels) == []
    (problem,) = check_cpu(old, wheels)
    assert "numpy 2.4.0 needs cx16, popcnt, ssse3, sse4_2" in problem.message
    before = [wheel("cp311-cp311-manylinux_2_17_x86_64", "numpy-2.2.6")]
    assert check_cpu(old, before) == [], "numpy before 2.4 asks the CPU first"
