"""Tells a real CPU from QEMU's: emulated timings say nothing about a device.

User-mode QEMU answers for `/proc/self/…`, `uname` and, in newer versions, `/proc/cpuinfo`; the
same files by other names come from the real kernel, and contradict it. It is not aware of what
is done with the answer. Used by `device` and by `check`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from edgepack.runner.bench.system import SystemTree

#: A kernel may run its own family's 32-bit programs without emulating anything.
_FAMILIES = {
    "x86_64": "x86",
    "i386": "x86",
    "i486": "x86",
    "i586": "x86",
    "i686": "x86",
    "aarch64": "arm",
    "arm64": "arm",
    "arm": "arm",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
    "riscv64": "riscv",
}
#: e_machine of an ELF header. Source: elf(5), `EM_*` in linux/elf-em.h.
_ELF_FAMILIES = {3: "x86", 62: "x86", 40: "arm", 183: "arm", 243: "riscv"}
_ELF_HEAD_BYTES = 20


@dataclass(frozen=True, slots=True)
class Emulation:
    """Whether the CPU is emulated, and what gave it away.

    Attributes:
        emulated: None when nothing could be read that would tell.
        signs: Sentences, one for each sign; empty when there is none.
    """

    emulated: bool | None
    signs: tuple[str, ...]


def detect_emulation(system: SystemTree, machine: str, environment: Mapping[str, str]) -> Emulation:
    """Looks for every sign of an emulated CPU.

    Args:
        system: The file tree to look at.
        machine: What `uname` says, such as `aarch64`.
        environment: Environment variables; a sandbox that emulates sets `EDGEPACK_EMULATED=1`.

    Returns:
        The verdict and its signs.
    """
    family = _FAMILIES.get(machine, machine)
    signs = [
        sign
        for sign in (
            _said_so(environment),
            _kernel_differs(system, machine, family),
            _program_differs(system, machine, family),
            _program_hidden(system),
            _cpuinfo_differs(system, machine, family),
            _emulated_model(system),
        )
        if sign is not None
    ]
    if signs:
        return Emulation(True, tuple(signs))
    # Without one file of the real kernel the silence of the others proves nothing.
    known = system.exists("/proc/cpuinfo") or system.exists("/proc/thread-self/exe")
    return Emulation(False if known else None, ())


def _said_so(environment: Mapping[str, str]) -> str | None:
    return "EDGEPACK_EMULATED is set" if environment.get("EDGEPACK_EMULATED") == "1" else None


def _kernel_differs(system: SystemTree, machine: str, family: str) -> str | None:
    # Linux 6.1 and newer; QEMU passes the file through.
    kernel = system.text("/proc/sys/kernel/arch")
    if kernel is None or _FAMILIES.get(kernel, kernel) == family:
        return None
    return f"the kernel is {kernel}, uname says {machine}"


def _program_differs(system: SystemTree, machine: str, family: str) -> str | None:
    # QEMU answers for /proc/self/exe but not for /proc/thread-self/exe, which is QEMU itself.
    head = system.head("/proc/thread-self/exe", _ELF_HEAD_BYTES)
    if head is None or len(head) < _ELF_HEAD_BYTES or not head.startswith(b"\x7fELF"):
        return None
    little_endian = head[5] == 1
    code = int.from_bytes(head[18:20], "little" if little_endian else "big")
    if _ELF_FAMILIES.get(code) in (family, None):
        return None
    return f"the running program is {_ELF_FAMILIES[code]} code, uname says {machine}"


def _program_hidden(system: SystemTree) -> str | None:
    real = system.link("/proc/thread-self/exe")
    if real is not None and os.path.basename(real).startswith("qemu-"):  # noqa: PTH119
        return "the running program is QEMU"
    shown = system.link("/proc/self/exe")
    if real is not None and shown is not None and real != shown:
        return "/proc/self/exe and /proc/thread-self/exe differ"
    return None


def _cpuinfo_differs(system: SystemTree, machine: str, family: str) -> str | None:
    cpuinfo = system.text("/proc/cpuinfo")
    if cpuinfo is None:
        return None
    keys = {line.partition(":")[0].strip() for line in cpuinfo.splitlines()}
    if family == "arm" and "vendor_id" in keys and "CPU implementer" not in keys:
        return f"/proc/cpuinfo shows an x86 CPU, uname says {machine}"
    if family == "x86" and "CPU implementer" in keys:
        return f"/proc/cpuinfo shows an ARM CPU, uname says {machine}"
    return None


def _emulated_model(system: SystemTree) -> str | None:
    # The CPU model "max" of a QEMU without hardware virtualisation; "QEMU Virtual CPU" may be KVM.
    cpuinfo = system.text("/proc/cpuinfo") or ""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name" and "QEMU TCG" in value:
            return f"the CPU calls itself {value.strip()}"
    return None
