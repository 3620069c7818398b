"""Fake file trees of boxes: what Linux shows in /proc and /sys of each."""

from __future__ import annotations

from pathlib import Path

from edgepack.runner.bench.device import Platform
from edgepack.runner.bench.system import SystemTree

PI_PLATFORM = Platform("aarch64", "6.6.31-rpi-v8", "glibc 2.36", "3.11.2", 4)
PI5_PLATFORM = Platform("aarch64", "6.12.25+rpt-rpi-2712", "glibc 2.36", "3.11.2", 4)
JETSON_PLATFORM = Platform("aarch64", "5.15.148-tegra", "glibc 2.35", "3.10.12", 6)
MINI_PC_PLATFORM = Platform("x86_64", "6.1.0-21-amd64", "glibc 2.36", "3.11.2", 4)
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


def _cores(count: int, features: str, part: str, variant: str) -> str:
    return "".join(
        f"processor\t: {i}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: {variant}\n"
        f"CPU part\t: {part}\nCPU revision\t: 1\n\n"
        for i in range(count)
    )


def _policy(number: int, governor: str, now: int, low: int, high: int) -> dict[str, str | bytes]:
    policy = f"/sys/devices/system/cpu/cpufreq/policy{number}"
    return {
        f"{policy}/scaling_governor": f"{governor}\n",
        f"{policy}/scaling_cur_freq": f"{now}\n",
        f"{policy}/scaling_min_freq": f"{low}\n",
        f"{policy}/scaling_max_freq": f"{high}\n",
    }


def _zone(number: int, kind: str, temperature: int | None) -> dict[str, str | bytes]:
    zone = f"/sys/class/thermal/thermal_zone{number}"
    told = {} if temperature is None else {f"{zone}/temp": f"{temperature}\n"}
    return {f"{zone}/type": f"{kind}\n", **told}


def _cooling(number: int, kind: str, state: int) -> dict[str, str | bytes]:
    device = f"/sys/class/thermal/cooling_device{number}"
    return {f"{device}/type": f"{kind}\n", f"{device}/cur_state": f"{state}\n"}


def raspberry_pi_5(root: Path) -> SystemTree:
    """A Raspberry Pi 5 with Raspberry Pi OS 12 and a fan."""
    features = (
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc "
        "dcpop asimddp"
    )
    return write_tree(
        root,
        {
            "/proc/cpuinfo": _cores(4, features, "0xd0b", "0x4"),
            "/proc/meminfo": _MEMINFO,
            "/proc/loadavg": "0.02 0.05 0.01 1/180 2234\n",
            "/proc/uptime": "86400.02 340000.00\n",
            "/proc/self/cgroup": "0::/user.slice/user-1000.slice/session-3.scope\n",
            "/proc/sys/kernel/arch": "aarch64\n",
            "/proc/thread-self/exe": elf(183),
            "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\x00",
            "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "/sys/devices/system/cpu/online": "0-3\n",
            **_policy(0, "ondemand", 1_500_000, 1_500_000, 2_400_000),
            **_zone(0, "cpu-thermal", 52_350),
            **_cooling(0, "pwm-fan", 1),
            "/sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
            "/sys/class/hwmon/hwmon3/name": "rpi_volt\n",
            "/sys/class/hwmon/hwmon3/in0_lcrit_alarm": "0\n",
        },
    )


def jetson_orin_nano(root: Path) -> SystemTree:
    """A Jetson Orin Nano with JetPack 6, in its 15 W mode and warm."""
    features = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimddp"
    gpu = "/sys/class/devfreq/17000000.gpu"
    return write_tree(
        root,
        {
            "/proc/cpuinfo": _cores(6, features, "0xd42", "0x0"),
            "/proc/meminfo": _MEMINFO,
            "/proc/loadavg": "0.30 0.25 0.21 1/400 4000\n",
            "/proc/uptime": "3600.00 20000.00\n",
            "/proc/thread-self/exe": elf(183),
            "/proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\x00",
            "/etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
            "/etc/nvpmodel.conf": (
                "< PARAM TYPE=FILE NAME=CPU_ONLINE >\n< POWER_MODEL ID=0 NAME=15W >\n"
                "CPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=7W >\n< PM_CONFIG DEFAULT=0 >\n"
            ),
            "/var/lib/nvpmodel/status": "pmode:0000\n",
            "/sys/devices/system/cpu/online": "0-5\n",
            **_policy(0, "schedutil", 1_510_400, 115_200, 1_510_400),
            **_policy(4, "schedutil", 729_600, 115_200, 1_510_400),
            f"{gpu}/governor": "nvhost_podgov\n",
            f"{gpu}/cur_freq": "306000000\n",
            f"{gpu}/min_freq": "306000000\n",
            f"{gpu}/max_freq": "624750000\n",
            **_zone(0, "cpu-thermal", 47_937),
            **_zone(1, "gpu-thermal", 46_500),
            **_zone(2, "cv0-thermal", None),
            **_zone(8, "tj-thermal", 48_125),
            **_cooling(0, "cpufreq-cpu0", 0),
            **_cooling(1, "pwm-fan", 2),
            **_cooling(2, "cpu-throttle-alert", 1),
            **_cooling(3, "gpu-throttle-alert", 0),
            **_cooling(4, "hot-surface-alert", 0),
        },
    )


def mini_pc(root: Path) -> SystemTree:
    """A small x86 box without swap, as a systemd service with limits sees it."""
    throttle = "/sys/devices/system/cpu/cpu0/thermal_throttle"
    service = "/sys/fs/cgroup/system.slice/edgepack-session.service"
    policies: dict[str, str | bytes] = {}
    for core in range(4):
        policies |= _policy(core, "powersave", 800_000, 700_000, 3_400_000)
    return write_tree(
        root,
        {
            "/proc/cpuinfo": (
                "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) N100\n"
                "flags\t\t: fpu sse4_2 avx2 avx_vnni\n"
            ),
            "/proc/meminfo": (
                "MemTotal:        7900000 kB\nMemAvailable:    6500000 kB\n"
                "SwapTotal:             0 kB\nSwapFree:              0 kB\n"
            ),
            "/proc/loadavg": "0.05 0.04 0.00 1/210 900\n",
            "/proc/uptime": "900000.00 3500000.00\n",
            "/proc/self/cgroup": "0::/system.slice/edgepack-session.service\n",
            "/proc/1/cgroup": "0::/init.scope\n",
            "/proc/thread-self/exe": elf(62),
            "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "/sys/class/dmi/id/sys_vendor": "Intel(R) Client Systems\n",
            "/sys/class/dmi/id/product_name": "NUC12WSKi3\n",
            "/sys/devices/system/cpu/online": "0-3\n",
            "/sys/firmware/acpi/platform_profile": "balanced\n",
            f"{service}/cpu.max": "200000 100000\n",
            f"{service}/memory.max": "536870912\n",
            f"{service}/cpu.stat": "usage_usec 5\nnr_periods 90\nnr_throttled 3\n",
            f"{throttle}/core_throttle_count": "12\n",
            f"{throttle}/package_throttle_count": "12\n",
            **policies,
            **_zone(0, "acpitz", 27_800),
            **_zone(1, "x86_pkg_temp", 41_000),
            **_cooling(0, "Processor", 0),
            **_cooling(1, "intel_powerclamp", -1),
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
