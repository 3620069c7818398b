"""Fake file trees of boxes: what Linux shows in /proc and /sys of each."""

from __future__ import annotations

from pathlib import Path

from edgepack.runner.bench.device import Platform
from edgepack.runner.bench.system import SystemTree

PI_PLATFORM = Platform("aarch64", "6.6.31-rpi-v8", "glibc 2.36", "3.11.2", 4)
VM_PLATFORM = Platform("x86_64", "6.1.0-21-amd64", "glibc 2.36", "3.11.2", 2)

_PI_CPU = "".join(
    f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n"
    "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\n"
    "CPU revision\t: 3\n\n"
    for i in range(4)
)
X86_CPU = (
    "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor\n"
    "flags\t\t: fpu avx2 hypervisor sse2\n"
)
_MEMINFO = (
    "MemTotal:        3884360 kB\nMemFree:  100 kB\nMemAvailable:    3301232 kB\n"
    "SwapTotal:        102396 kB\nSwapFree:         102000 kB\n"
)


def write_tree(root: Path, files: dict[str, str | bytes]) -> SystemTree:
    """Writes files below a root and returns the tree."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return SystemTree(root)


def elf(machine: int) -> bytes:
    """The head of a little-endian 64-bit ELF program for a machine code."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + machine.to_bytes(2, "little")


def raspberry_pi_4(root: Path) -> SystemTree:
    """A Raspberry Pi 4 with Raspberry Pi OS 12."""
    policy = "/sys/devices/system/cpu/cpufreq/policy0"
    return write_tree(
        root,
        {
            "/proc/cpuinfo": _PI_CPU,
            "/proc/meminfo": _MEMINFO,
            "/proc/loadavg": "0.10 0.05 0.01 1/150 1234\n",
            "/proc/uptime": "5025.11 19000.00\n",
            "/proc/sys/kernel/arch": "aarch64\n",
            "/proc/thread-self/exe": elf(183),
            "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\x00",
            "/etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "/etc/hostname": "till-17\n",
            "/sys/devices/system/cpu/online": "0-3\n",
            f"{policy}/scaling_governor": "performance\n",
            f"{policy}/scaling_cur_freq": "1500000\n",
            f"{policy}/scaling_min_freq": "600000\n",
            f"{policy}/scaling_max_freq": "1500000\n",
            "/sys/class/thermal/thermal_zone0/temp": "48200\n",
            "/sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "/sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        },
    )


def virtual_machine(root: Path) -> SystemTree:
    """An x86 virtual machine: no frequencies, no temperatures."""
    return write_tree(
        root,
        {
            "/proc/cpuinfo": X86_CPU,
            "/proc/meminfo": _MEMINFO,
            "/proc/loadavg": "0.00 0.00 0.00 1/80 99\n",
            "/proc/uptime": "10.5 20.0\n",
            "/sys/class/dmi/id/sys_vendor": "QEMU\n",
            "/sys/class/dmi/id/product_name": "Standard PC (Q35 + ICH9, 2009)\n",
            "/sys/devices/system/cpu/online": "0-1\n",
        },
    )
