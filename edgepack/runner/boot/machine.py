"""What this box is, and whether a target fits it.

Reading facts and judging them are apart: `read_machine` looks, `check_machine` compares and
looks at nothing. It is not aware of bundles. Used by `install` and `doctor`.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from edgepack.formats.errors import Problem
from edgepack.formats.manifest import TargetInfo

_ARCH_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}
#: The field of /proc/cpuinfo that lists the CPU's abilities.
_FLAGS_FIELD = {"x86_64": "flags", "aarch64": "Features"}


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts about a box.

    Attributes:
        arch: Such as `aarch64`; of the interpreter, not only of the kernel.
        os: Such as `linux`.
        python: Such as `3.11.2`.
        glibc: Such as `2.36`; None where the C library is another one.
        cpu: The CPU's name, or None.
        cpu_flags: Its abilities in the kernel's words; None where the kernel names none.
        memory_bytes: Physical memory; None where it is not known.
        has_lzma: Whether this Python can read xz.
    """

    arch: str
    os: str
    python: str
    glibc: str | None
    cpu: str | None
    cpu_flags: frozenset[str] | None
    memory_bytes: int | None
    has_lzma: bool


def read_machine(proc: Path = Path("/proc")) -> Machine:
    """Looks at the box this runs on.

    Args:
        proc: Where the kernel's files are.
    """
    kernel = platform.machine()
    arch = _ARCH_NAMES.get(kernel.lower(), kernel)
    if sys.maxsize <= 2**32 and arch in _FLAGS_FIELD:
        # A 32-bit system often runs on a 64-bit kernel; its Python loads no 64-bit library.
        arch = f"{arch} (32-bit Python)"
    cpuinfo = _read_fields(proc / "cpuinfo")
    flags = cpuinfo.get(_FLAGS_FIELD.get(arch, ""))
    memory = _read_fields(proc / "meminfo").get("MemTotal", "").split()
    return Machine(
        arch=arch,
        os=platform.system().lower(),
        python=platform.python_version(),
        glibc=_glibc_version(),
        cpu=cpuinfo.get("model name") or cpuinfo.get("Model") or cpuinfo.get("Hardware"),
        cpu_flags=None if flags is None else frozenset(flags.split()),
        memory_bytes=int(memory[0]) * 1024 if memory else None,
        has_lzma=importlib.util.find_spec("_lzma") is not None,
    )


def check_machine(machine: Machine, target: TargetInfo) -> list[Problem]:
    """Compares a box with the target a bundle was made for.

    Returns:
        Everything that keeps the bundle from running there; empty when it fits. Flags the
        kernel does not name are not judged.
    """
    problems = []
    if machine.os != target.os:
        problems.append(Problem("os", f"this box runs {machine.os}, the bundle is for {target.os}"))
    if machine.arch != target.arch:
        problems.append(
            Problem("arch", f"this box is {machine.arch}, the bundle is for {target.arch}")
        )
    if machine.python.split(".")[:2] != target.python.split("."):
        problems.append(
            Problem(
                "python",
                f"this is Python {machine.python}, the bundle is for {target.python}",
                hint=f"start it with python{target.python}",
            )
        )
    if machine.glibc is None:
        problems.append(Problem("glibc", f"not found here, the bundle needs {target.glibc}"))
    elif parse_version(machine.glibc) < parse_version(target.glibc):
        problems.append(
            Problem("glibc", f"this box has {machine.glibc}, the bundle needs {target.glibc}")
        )
    if machine.cpu_flags is not None and machine.arch == target.arch:
        lacking = [flag for flag in target.cpu_flags if flag not in machine.cpu_flags]
        if lacking:
            problems.append(Problem("cpu", f"this CPU lacks {', '.join(lacking)}"))
    return problems


def parse_version(text: str) -> tuple[int, ...]:
    """Returns the numbers of a version such as `2.36`; parts that are none end it."""
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _glibc_version() -> str | None:
    try:
        # "glibc 2.36"; other C libraries do not know the name.
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None
    return name.split()[-1] if name else None


def _read_fields(path: Path) -> dict[str, str]:
    """Reads `name: value` lines; the first of each name counts."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    return fields
