from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgepack.formats.device import DeviceFacts, Environment, Throttle
from edgepack.runner.bench.device import read_device
from edgepack.runner.bench.environment import kernel_clock_synced, read_environment
from edgepack.runner.bench.process import process_age_ns
from edgepack.runner.bench.system import SystemTree
from tests.runner.bench.boxes import (
    PI_PLATFORM,
    VM_PLATFORM,
    raspberry_pi_4,
    virtual_machine,
    write_tree,
)


def _unexplained(facts: DeviceFacts | Environment) -> set[str]:
    names = {each.name for each in dataclasses.fields(facts)}
    return {n for n in names if getattr(facts, n) is None and not facts.missing.get(n)}


def test_a_box_that_tells_nothing_gives_reasons_and_no_zeros(tmp_path: Path) -> None:
    device = read_device(SystemTree(tmp_path), PI_PLATFORM, {})
    state = read_environment(SystemTree(tmp_path), lambda: None)
    assert device.cpu_model is None
    assert device.emulated is None
    assert state.frequency is None
    assert state.load_1m is None
    assert _unexplained(device) == _unexplained(state) == set()
    assert set(state.missing) == {
        each.name for each in dataclasses.fields(state) if each.name != "missing"
    }


@pytest.mark.parametrize("text", ["", "\x00\xff", "nonsense", "-", "0-x", "9" * 30])
def test_files_that_hold_nonsense_are_no_facts(tmp_path: Path, text: str) -> None:
    names = [
        "/proc/cpuinfo",
        "/proc/meminfo",
        "/proc/loadavg",
        "/proc/uptime",
        "/proc/sys/kernel/arch",
        "/sys/class/thermal/thermal_zone0/temp",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/cpu.stat",
        "/sys/devices/platform/soc/soc:firmware/get_throttled",
        "/etc/os-release",
    ]
    tree = write_tree(tmp_path, dict.fromkeys(names, text))
    assert _unexplained(read_device(tree, PI_PLATFORM, {})) == set()
    assert _unexplained(read_environment(tree, lambda: None)) == set()


def test_a_raspberry_pi_is_described(tmp_path: Path) -> None:
    tree = raspberry_pi_4(tmp_path)
    device = read_device(tree, PI_PLATFORM, {})
    assert device.board == "Raspberry Pi 4 Model B Rev 1.4"
    assert (device.cpu_model, device.cpu_implementer, device.cpu_part) == (
        "Cortex-A72",
        "0x41",
        "0xd08",
    )
    assert device.cpu_flags == ("asimd", "cpuid", "crc32", "evtstrm", "fp")
    assert (device.cores_online, device.memory_total) == (4, 3884360 * 1024)
    assert (device.emulated, device.container, device.virtualised) == (False, None, None)
    state = read_environment(tree, lambda: True)
    assert state.frequency is not None
    assert state.frequency["policy0"].governor == "performance"
    assert state.frequency["policy0"].current_khz == 1_500_000
    assert state.temperature_mc == {"thermal_zone0:cpu-thermal": 48200}
    assert state.throttle == (Throttle("raspberrypi get_throttled", 0),)
    assert (state.swap_used, state.load_1m, state.clock_synced) == (396 * 1024, 0.1, True)


def test_the_firmwares_throttle_flags_are_hexadecimal(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {"/sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"})
    assert read_environment(tree, lambda: None).throttle == (
        Throttle("raspberrypi get_throttled", 0x50005),
    )


def test_only_cooling_that_slows_the_cpu_counts_as_throttling(tmp_path: Path) -> None:
    zone = "/sys/class/thermal/cooling_device"
    tree = write_tree(
        tmp_path,
        {
            f"{zone}0/type": "pwm-fan",
            f"{zone}0/cur_state": "3",
            f"{zone}1/type": "cpufreq-cpu0",
            f"{zone}1/cur_state": "2",
        },
    )
    assert read_environment(tree, lambda: None).throttle == (
        Throttle("cooling_device1 cpufreq-cpu0", 2),
    )


def test_a_virtual_machine_says_so(tmp_path: Path) -> None:
    device = read_device(virtual_machine(tmp_path), VM_PLATFORM, {})
    assert (device.virtualised, device.cpu_model) == ("QEMU", "Intel(R) Xeon(R) Processor")


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({"/.dockerenv": ""}, {}, "docker"),
        ({"/run/.containerenv": ""}, {}, "podman"),
        ({"/proc/1/cgroup": "0::/kubepods/besteffort\n"}, {}, "kubepods"),
        ({}, {"container": "lxc"}, "lxc"),
        ({"/proc/1/cgroup": "0::/init.scope\n"}, {}, None),
    ],
)
def test_a_container_is_recognised(
    tmp_path: Path,
    files: dict[str, str | bytes],
    environment: dict[str, str],
    expected: str | None,
) -> None:
    tree = write_tree(tmp_path, files)
    assert read_device(tree, VM_PLATFORM, environment).container == expected


def test_an_emulated_cpu_is_not_described_by_the_hosts(tmp_path: Path) -> None:
    tree = virtual_machine(tmp_path)
    device = read_device(tree, PI_PLATFORM, {"QEMU_CPU": "cortex-a72"})
    assert (device.emulated, device.cpu_model, device.cpu_flags) == (True, "cortex-a72", None)


@pytest.mark.parametrize(
    ("files", "cpu", "memory"),
    [
        ({"cpu.max": "50000 100000\n", "memory.max": "536870912\n"}, "50000 100000", 536870912),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            None,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "20000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "1048576",
            },
            "20000 100000",
            1048576,
        ),
    ],
)
def test_cgroup_limits_of_both_versions_are_read(
    tmp_path: Path, files: dict[str, str | bytes], cpu: str | None, memory: int | None
) -> None:
    tree = write_tree(tmp_path, {f"/sys/fs/cgroup/{name}": text for name, text in files.items()})
    state = read_environment(tree, lambda: None)
    assert (state.cgroup_cpu_max, state.cgroup_memory_max) == (cpu, memory)


def test_no_name_of_the_box_is_read(tmp_path: Path) -> None:
    tree = raspberry_pi_4(tmp_path)
    device = read_device(tree, PI_PLATFORM, {"HOSTNAME": "till-17"})
    assert "till-17" not in repr(device)


def test_the_kernel_can_be_asked_about_its_clock() -> None:
    assert kernel_clock_synced() in (True, False, None)


@pytest.mark.parametrize(
    ("stat", "expected"),
    [
        ("7 (a) b) c) S " + "0 " * 18 + "500 0 0", 1_000_000_000),
        ("7 (python3) S " + "0 " * 18 + "0 0 0", None),
        ("7 (python3) S " + "0 " * 18 + "99999 0 0", None),
        ("7 (python3) S 0", None),
        ("", None),
    ],
)
def test_a_process_knows_its_age_or_says_it_does_not(
    tmp_path: Path, stat: str, expected: int | None
) -> None:
    tree = write_tree(tmp_path, {"/proc/self/stat": stat})
    assert process_age_ns(tree, 6_000_000_000, 100) == expected
