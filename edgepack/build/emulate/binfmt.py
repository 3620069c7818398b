"""Makes the kernel start another architecture's programs through QEMU.

It is not aware of roots or targets. Used by `edgepack.build.emulate`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepack.build.process import run_limited
from edgepack.build.targets.target import Arch
from edgepack.formats.errors import Problem

BINFMT_DIR: Final = Path("/proc/sys/fs/binfmt_misc")
_RULES: Final = Path("/usr/lib/binfmt.d")
_MOUNT_TIMEOUT_S: Final = 10.0
#: The machine number in an ELF header, little endian. Source: elf.h, EM_AARCH64 and EM_X86_64.
_ELF_MACHINE: Final[dict[Arch, str]] = {"aarch64": "b700", "x86_64": "3e00"}
#: How QEMU's programs name the architectures.
APT_INSTALL: Final = "apt install --no-install-recommends qemu-user-static"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What the kernel starts a foreign program with: its path and flags."""

    path: str
    flags: str


def is_native(arch: Arch) -> bool:
    """Whether this machine's CPU runs an architecture by itself."""
    return platform.machine() == arch


def find_interpreter(arch: Arch, folder: Path = BINFMT_DIR) -> Interpreter | None:
    """Returns the enabled emulator of an architecture, under whatever name it is registered.

    Args:
        arch: The foreign architecture.
        folder: The kernel's list.

    Returns:
        The first that keeps its program open (flag F), which a root without the emulator
        inside needs; None when there is none.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return None
    for entry in entries:
        if entry.name in ("register", "status"):
            continue
        try:
            lines = entry.read_text().splitlines()
        except OSError:
            continue
        fields = dict(line.partition(" ")[::2] for line in lines)
        flags = fields.get("flags:", "")
        foreign = fields.get("magic", "").endswith(_ELF_MACHINE[arch])
        if "enabled" in lines and foreign and "F" in flags:
            return Interpreter(fields.get("interpreter", ""), flags)
    return None


def ensure_interpreter(arch: Arch) -> Problem | None:
    """Makes sure the kernel starts an architecture's programs; registers where it may.

    Args:
        arch: The architecture; nothing is needed for the machine's own.

    Returns:
        What is missing and the command that mends it, or None when all is well.
    """
    if is_native(arch) or find_interpreter(arch) is not None:
        return None
    program = f"qemu-{arch}-static"
    if shutil.which(program) is None:
        return Problem(program, f"no emulator for {arch} programs is installed", APT_INSTALL)
    if os.geteuid() == 0 and _register(arch):
        return None
    return Problem(
        str(BINFMT_DIR), f"the kernel does not start {arch} programs", registration_command(arch)
    )


def registration_command(arch: Arch) -> str:
    """Returns what a person types to register an architecture's emulator."""
    rule = _RULES / f"qemu-{arch}.conf"
    return (
        f"sudo sh -c 'mountpoint -q {BINFMT_DIR} || mount -t binfmt_misc binfmt_misc {BINFMT_DIR}; "
        f"cat {rule} > {BINFMT_DIR}/register'"
    )


def _register(arch: Arch) -> bool:
    rule = _RULES / f"qemu-{arch}.conf"
    if not (BINFMT_DIR / "register").exists():
        argv = ["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT_DIR)]
        if shutil.which("mount") is None or not run_limited(argv, timeout_s=_MOUNT_TIMEOUT_S).ok:
            return False
    # Another build may have registered it at the same moment; the list decides.
    with contextlib.suppress(OSError):
        (BINFMT_DIR / "register").write_bytes(rule.read_bytes().strip())
    return find_interpreter(arch) is not None


@functools.cache
def emulator_version(arch: Arch) -> str:
    """Returns the emulator's version, such as `7.2.22`; empty for the machine's own."""
    program = shutil.which(f"qemu-{arch}-static")
    if is_native(arch) or program is None:
        return ""
    result = run_limited([program, "--version"], timeout_s=_MOUNT_TIMEOUT_S)
    words = result.stdout.split()
    return words[words.index("version") + 1] if "version" in words[:-1] else "unknown"
