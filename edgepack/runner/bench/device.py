"""What this box is: kernel, CPU, cores, memory, container, emulation.

What cannot be read is None with its reason. Host names and addresses are never read. It is not
aware of the box's momentary state, which `environment` reads. Used by `bench` and `check`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from edgepack.formats.device import DeviceFacts
from edgepack.runner.bench.emulation import detect_emulation
from edgepack.runner.bench.system import SystemTree

NO_GPU_USED = "the runtime uses no GPU"
_KIB = 1024
#: Flags beyond the longest list seen (x86 servers have about 130).
_MAX_FLAGS = 300
#: ARM's own core names by MIDR part number, for implementer 0x41.
#: Source: Linux, arch/arm64/include/asm/cputype.h.
_ARM_CORES = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD46: "Cortex-A510",
    0xD49: "Neoverse-N2",
}
_ARM_IMPLEMENTER = 0x41
#: /proc/cpuinfo names that only hypervisors' machines and firmware carry.
_HYPERVISORS = ("KVM", "QEMU", "VMware", "VirtualBox", "Xen", "Bochs", "Firecracker", "Amazon EC2")


@dataclass(frozen=True, slots=True)
class Platform:
    """What Python itself says about where it runs; passed in so that tests can be any box.

    Attributes:
        machine: `uname`'s machine, such as `aarch64`.
        kernel: `uname`'s release.
        libc: Name and version, such as `glibc 2.36`; empty when unknown.
        python: Such as `3.11.2`.
        cores_allowed: Cores this process may run on, or None.
    """

    machine: str
    kernel: str
    libc: str
    python: str
    cores_allowed: int | None


def this_platform() -> Platform:
    """Returns the platform this process runs on."""
    return Platform(
        machine=platform.machine(),
        kernel=platform.release(),
        libc=" ".join(platform.libc_ver()).strip(),
        python=platform.python_version(),
        cores_allowed=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    )


def read_device(system: SystemTree, here: Platform, environment: Mapping[str, str]) -> DeviceFacts:
    """Reads what the box is.

    Args:
        system: The file tree to look at.
        here: What Python says.
        environment: Environment variables, for the signs of containers and emulation.

    Returns:
        The facts, each missing one with its reason.
    """
    emulation = detect_emulation(system, here.machine, environment)
    # Under QEMU the file may show the host's CPU, which is not the one that computes here.
    cpu = {} if emulation.emulated else read_cpuinfo(system)
    cpu_model = environment.get("QEMU_CPU") if emulation.emulated else cpu_name(cpu)
    silent = "the CPU is emulated" if emulation.emulated else "/proc/cpuinfo does not tell"
    values = {
        "kernel": (here.kernel or None, "uname says nothing"),
        "os_release": (_os_release(system), "/etc/os-release is absent"),
        "libc": (here.libc or None, "not linked with a known C library"),
        "arch": (here.machine or None, "uname says nothing"),
        "python": (here.python, ""),
        "board": (_board(system), "no device tree and no DMI product name"),
        "cpu_model": (cpu_model or None, silent),
        "cpu_implementer": (cpu.get("CPU implementer"), silent),
        "cpu_part": (cpu.get("CPU part"), silent),
        "cpu_flags": (_flags(cpu), silent),
        "cores_online": (_cores_online(system), "/sys/devices/system/cpu/online is absent"),
        "cores_allowed": (here.cores_allowed, "the affinity of the process cannot be read"),
        "memory_total": (read_meminfo(system).get("MemTotal"), "/proc/meminfo is absent"),
        "container": (_container(system, environment), "no sign of a container"),
        "virtualised": (_hypervisor(system, cpu), "no sign of a hypervisor"),
        "emulated": (emulation.emulated, "/proc is absent"),
        # `gpu` beside this puts the cards in, where the runtime uses them.
        "gpu": (None, NO_GPU_USED),
    }
    return DeviceFacts(
        **{name: value for name, (value, _) in values.items()},  # type: ignore[arg-type]
        emulation_signs=emulation.signs,
        missing={name: reason for name, (value, reason) in values.items() if value is None},
    )


def read_cpuinfo(system: SystemTree) -> dict[str, str]:
    """Returns the fields of /proc/cpuinfo, of the first core that has each."""
    fields: dict[str, str] = {}
    for line in (system.text("/proc/cpuinfo") or "").splitlines():
        name, colon, value = line.partition(":")
        if colon and value.strip():
            fields.setdefault(name.strip(), value.strip()[:8000])
    return fields


def read_meminfo(system: SystemTree) -> dict[str, int]:
    """Returns the fields of /proc/meminfo in bytes."""
    fields = {}
    for line in (system.text("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        number = value.split()
        if number and number[0].isdigit():
            fields[name.strip()] = int(number[0]) * _KIB
    return fields


def cpu_name(cpu: Mapping[str, str]) -> str | None:
    """Returns the CPU's name from /proc/cpuinfo's fields, decoding ARM's part numbers."""
    named = cpu.get("model name") or cpu.get("cpu model")
    if named:
        return named[:200]
    try:
        implementer = int(cpu["CPU implementer"], 16)
        part = int(cpu["CPU part"], 16)
    except (KeyError, ValueError):
        return None
    if implementer == _ARM_IMPLEMENTER and part in _ARM_CORES:
        return _ARM_CORES[part]
    return f"implementer {implementer:#04x} part {part:#05x}"


def _flags(cpu: Mapping[str, str]) -> tuple[str, ...] | None:
    text = cpu.get("flags") or cpu.get("Features")
    return None if text is None else tuple(sorted(text.split()))[:_MAX_FLAGS]


def _os_release(system: SystemTree) -> str | None:
    for line in (system.text("/etc/os-release") or "").splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip("\"'")[:200] or None
    return None


def _board(system: SystemTree) -> str | None:
    # ARM boards carry a device tree, x86 boxes a DMI table; serial numbers are left alone.
    name = system.text("/proc/device-tree/model") or system.text("/sys/class/dmi/id/product_name")
    return name[:200] if name else None


def _cores_online(system: SystemTree) -> int | None:
    text = system.text("/sys/devices/system/cpu/online")
    if not text:
        return None
    count = 0
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            count += int(last or first) - int(first) + 1
    except ValueError:
        return None
    return count


def _container(system: SystemTree, environment: Mapping[str, str]) -> str | None:
    if system.exists("/.dockerenv"):
        return "docker"
    if system.exists("/run/.containerenv"):
        return "podman"
    if environment.get("container"):
        return environment["container"][:200]
    cgroup = system.text("/proc/1/cgroup") or ""
    for word in ("kubepods", "docker", "containerd", "lxc", "libpod"):
        if word in cgroup:
            return word
    return None


def _hypervisor(system: SystemTree, cpu: Mapping[str, str]) -> str | None:
    vendor = system.text("/sys/class/dmi/id/sys_vendor") or ""
    kind = system.text("/sys/hypervisor/type")
    if kind:
        return kind[:200]
    for name in _HYPERVISORS:
        if name.lower() in vendor.lower():
            return name
    tree = system.text("/proc/device-tree/hypervisor/compatible")
    if tree:
        return tree.split("\x00")[0][:200]
    if "hypervisor" in cpu.get("flags", "").split():
        return "unknown"
    return None
