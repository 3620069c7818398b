"""Compares pinned wheels with the box they are for: tags, C library, CPU flags.

It is not aware of models. Used by `edgepack.build.preflight.check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgepack.build.preflight.tables import version_key
from edgepack.build.targets.lock import LockedWheel
from edgepack.build.targets.target import Arch, Target
from edgepack.formats.errors import Problem

#: C library floors of the names from before PEP 600.
_LEGACY: Final = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_MANYLINUX = re.compile(r"manylinux_(\d+)_(\d+)_(.+)")


@dataclass(frozen=True, slots=True)
class CpuNeed:
    """CPU flags a distribution's wheels assume without asking the CPU.

    Attributes:
        distribution: Its name.
        since: The first version with this need.
        arch: On which architecture.
        flags: As /proc/cpuinfo names them.
    """

    distribution: str
    since: str
    arch: Arch
    flags: tuple[str, ...]


#: Source: `numpy.show_config()`, "SIMD Extensions": baseline X86_V2 from 2.4 on, and ASIMD on
#: ARM; x86-64-v2 spelled out after the x86-64 psABI.
CPU_NEEDS: Final = (
    CpuNeed("numpy", "2.4", "x86_64", ("cx16", "popcnt", "ssse3", "sse4_1", "sse4_2")),
    CpuNeed("numpy", "1.20", "aarch64", ("asimd",)),
)


def check_wheels(target: Target, wheels: Iterable[LockedWheel]) -> list[Problem]:
    """Checks that every wheel can be loaded by the box's Python and C library.

    Args:
        target: The box.
        wheels: Its pinned wheels.

    Returns:
        One problem for each that cannot.
    """
    problems = []
    for wheel in wheels:
        python, abi, platform = wheel.tags
        if not any(_fits_platform(each, target) for each in platform.split(".")):
            text = f"is for {platform}, the box is {target.arch} with glibc {target.glibc}"
            problems.append(Problem(wheel.filename, text, f"edgepack targets lock {target.name}"))
        elif not _fits_python(python, abi, target.python):
            text = f"is for {python}-{abi}, the box has Python {target.python}"
            problems.append(Problem(wheel.filename, text, f"edgepack targets lock {target.name}"))
    return problems


def _fits_platform(tag: str, target: Target) -> bool:
    """Source: PEP 600; a wheel runs with its floor or any newer C library."""
    if tag == "any":
        return True
    box = version_key(target.glibc)
    if found := _MANYLINUX.fullmatch(tag):
        return found[3] == target.arch and (int(found[1]), int(found[2])) <= box
    name, _, arch = tag.partition("_")
    if name in _LEGACY:
        return arch == target.arch and _LEGACY[name] <= box
    return name == "linux" and arch == target.arch


def _fits_python(python: str, abi: str, version: str) -> bool:
    """Source: PEP 425; abi3 wheels run on their own and every newer minor version."""
    major, minor = version_key(version)
    own = f"cp{major}{minor}"
    for tag in python.split("."):
        if tag in (own, f"py{major}", f"py{major}{minor}") and abi in (own, "none", "abi3"):
            return True
        numbers = re.fullmatch(rf"cp{major}(\d+)", tag)
        if "abi3" in abi and numbers and int(numbers[1]) <= minor:
            return True
    return False


def check_cpu(target: Target, wheels: Sequence[LockedWheel]) -> list[Problem]:
    """Checks that the box's CPU has what its wheels assume.

    Args:
        target: The box.
        wheels: Its pinned wheels.

    Returns:
        One problem for each distribution that assumes more.
    """
    problems = []
    for wheel in wheels:
        for need in CPU_NEEDS:
            if need.distribution != wheel.name or need.arch != target.arch:
                continue
            missing = [flag for flag in need.flags if flag not in target.cpu_flags]
            newer = version_key(wheel.version) >= version_key(need.since)
            if newer and missing:
                text = (
                    f"{wheel.name} {wheel.version} needs {', '.join(missing)}, which target "
                    f"{target.name} does not list"
                )
                hint = f"add them if a {target.qemu_model} has them, or pin an older {wheel.name}"
                problems.append(Problem("cpu.flags", text, hint))
    return problems
