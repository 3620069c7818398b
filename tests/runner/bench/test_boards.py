from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edgepack.formats.device import Frequency, Throttle
from edgepack.runner.bench.cgroup import read_cgroup
from edgepack.runner.bench.device import Platform, read_device
from edgepack.runner.bench.environment import read_environment
from edgepack.runner.bench.occupancy import other_percent, process_ticks, read_core_times
from edgepack.runner.bench.system import SystemTree
from tests.runner.bench.boxes import (
    JETSON_PLATFORM,
    MINI_PC_PLATFORM,
    PI5_PLATFORM,
    PI_PLATFORM,
    jetson_orin_nano,
    mini_pc,
    raspberry_pi_4,
    raspberry_pi_5,
    write_tree,
)

_BOXES = [
    (raspberry_pi_4, PI_PLATFORM),
    (raspberry_pi_5, PI5_PLATFORM),
    (jetson_orin_nano, JETSON_PLATFORM),
    (mini_pc, MINI_PC_PLATFORM),
]


@pytest.mark.parametrize(("box", "here"), _BOXES)
def test_every_null_of_a_real_box_has_its_reason(
    box: Callable[[Path], SystemTree], here: Platform, tmp_path: Path
) -> None:
    tree = box(tmp_path)
    for facts in (read_device(tree, here, {}), read_environment(tree, lambda: True)):
        for each in dataclasses.fields(facts):
            is_null = getattr(facts, each.name) is None
            assert is_null == (each.name in facts.missing), each.name
            assert not is_null or facts.missing[each.name]


def test_a_raspberry_pi_5_is_described(tmp_path: Path) -> None:
    tree = raspberry_pi_5(tmp_path)
    device = read_device(tree, PI5_PLATFORM, {})
    assert device.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert (device.cpu_model, device.cpu_part, device.cores_online) == ("Cortex-A76", "0xd0b", 4)
    assert device.cpu_flags is not None
    assert {"asimddp", "fphp"} <= set(device.cpu_flags)
    assert (device.emulated, device.virtualised, device.container) == (False, None, None)
    state = read_environment(tree, lambda: True)
    assert state.frequency == {"policy0": Frequency("ondemand", 1_500_000, 1_500_000, 2_400_000)}
    assert state.temperature_mc == {"thermal_zone0:cpu-thermal": 52_350}
    # Its kernel has no get_throttled file; the fan is no throttle.
    assert state.throttle == (Throttle("rpi_volt in0_lcrit_alarm", 0),)
    assert state.cgroup_memory_max is None
    assert "cgroup" in state.missing["cgroup_memory_max"]


def test_a_jetson_orin_is_described(tmp_path: Path) -> None:
    tree = jetson_orin_nano(tmp_path)
    device = read_device(tree, JETSON_PLATFORM, {})
    assert device.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert (device.cpu_model, device.cores_online) == ("Cortex-A78AE", 6)
    state = read_environment(tree, lambda: False)
    assert state.power_mode == "15W (0)"
    assert state.frequency is not None
    assert set(state.frequency) == {"policy0", "policy4", "devfreq 17000000.gpu"}
    gpu = state.frequency["devfreq 17000000.gpu"]
    assert gpu == Frequency("nvhost_podgov", 306_000, 306_000, 624_750)
    # A zone that is powered off answers with an error and is no zone at 0 degrees.
    assert state.temperature_mc == {
        "thermal_zone0:cpu-thermal": 47_937,
        "thermal_zone1:gpu-thermal": 46_500,
        "thermal_zone8:tj-thermal": 48_125,
    }
    assert state.throttle == (
        Throttle("cooling_device0 cpufreq-cpu0", 0),
        Throttle("cooling_device2 cpu-throttle-alert", 1),
        Throttle("cooling_device3 gpu-throttle-alert", 0),
    )
    assert state.clock_synced is False


def test_an_x86_box_is_described(tmp_path: Path) -> None:
    tree = mini_pc(tmp_path)
    device = read_device(tree, MINI_PC_PLATFORM, {})
    assert (device.board, device.cpu_model) == ("NUC12WSKi3", "Intel(R) N100")
    assert (device.cpu_implementer, device.cpu_part) == (None, None)
    assert device.cpu_flags == ("avx2", "avx_vnni", "fpu", "sse4_2")
    state = read_environment(tree, lambda: True)
    assert state.frequency is not None
    assert state.frequency["policy3"] == Frequency("powersave", 800_000, 700_000, 3_400_000)
    assert state.temperature_mc == {
        "thermal_zone0:acpitz": 27_800,
        "thermal_zone1:x86_pkg_temp": 41_000,
    }
    assert Throttle("cpu0 core_throttle_count", 12) in (state.throttle or ())
    assert Throttle("cooling_device0 Processor", 0) in (state.throttle or ())
    assert state.power_mode == "balanced"
    assert (state.swap_total, state.swap_used) == (0, 0)


def test_a_services_own_limits_are_found_below_the_root(tmp_path: Path) -> None:
    state = read_environment(mini_pc(tmp_path), lambda: True)
    assert (state.cgroup_cpu_max, state.cgroup_memory_max) == ("200000 100000", 512 * 2**20)
    assert state.cgroup_throttled == 3


def test_the_tightest_limit_on_the_way_to_the_root_counts(tmp_path: Path) -> None:
    base = "/sys/fs/cgroup"
    tree = write_tree(
        tmp_path,
        {
            "/proc/self/cgroup": "0::/shop.slice/till.service\n",
            f"{base}/shop.slice/cpu.max": "50000 100000\n",
            f"{base}/shop.slice/memory.max": "max\n",
            f"{base}/shop.slice/till.service/cpu.max": "100000 100000\n",
            f"{base}/shop.slice/till.service/memory.max": "1048576\n",
        },
    )
    limits = read_cgroup(tree)
    assert (limits.cpu_max, limits.memory_max, limits.throttled) == ("50000 100000", 2**20, None)


def test_version_1_groups_are_found_by_their_controllers(tmp_path: Path) -> None:
    tree = write_tree(
        tmp_path,
        {
            "/proc/self/cgroup": "5:memory:/shop\n4:cpu,cpuacct:/shop/till\n1:name=systemd:/x\n",
            "/sys/fs/cgroup/cpu/shop/till/cpu.cfs_quota_us": "20000",
            "/sys/fs/cgroup/cpu/shop/till/cpu.cfs_period_us": "100000",
            "/sys/fs/cgroup/cpu/shop/till/cpu.stat": "nr_periods 9\nnr_throttled 4\n",
            "/sys/fs/cgroup/memory/shop/memory.limit_in_bytes": "268435456",
        },
    )
    limits = read_cgroup(tree)
    assert (limits.cpu_max, limits.memory_max, limits.throttled) == ("20000 100000", 2**28, 4)


@pytest.mark.parametrize(
    "groups", ["", "nonsense", "0::", "0::/../../etc", "0::" + "/a" * 500, "::::\n0:::/x"]
)
def test_a_strange_list_of_groups_is_no_limit(tmp_path: Path, groups: str) -> None:
    limits = read_cgroup(write_tree(tmp_path, {"/proc/self/cgroup": groups}))
    assert (limits.cpu_max, limits.memory_max, limits.throttled) == (None, None, None)


@pytest.mark.parametrize("folder", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_firmwares_flags_are_found_on_every_generation(tmp_path: Path, folder: str) -> None:
    tree = write_tree(tmp_path, {f"/sys/devices/platform/{folder}/get_throttled": "50005\n"})
    state = read_environment(tree, lambda: None)
    assert state.throttle == (Throttle("raspberrypi get_throttled", 0x50005),)


@pytest.mark.parametrize(
    ("status", "config", "mode"),
    [
        ("pmode:0002", "< POWER_MODEL ID=2 NAME=MODE_30W >", "MODE_30W (2)"),
        ("pmode:0002", "", "mode (2)"),
        ("strange", "< POWER_MODEL ID=2 NAME=MODE_30W >", "strange"),
    ],
)
def test_a_power_mode_is_told_by_name_where_the_board_has_names(
    tmp_path: Path, status: str, config: str, mode: str
) -> None:
    tree = write_tree(tmp_path, {"/var/lib/nvpmodel/status": status, "/etc/nvpmodel.conf": config})
    assert read_environment(tree, lambda: None).power_mode == mode


def _stat(busy: int, idle: int) -> str:
    return f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu1 0\n"


def test_what_others_take_is_all_but_this_process(tmp_path: Path) -> None:
    before = read_core_times(write_tree(tmp_path / "a", {"/proc/stat": _stat(100, 100)}))
    after = read_core_times(write_tree(tmp_path / "b", {"/proc/stat": _stat(250, 150)}))
    # One second on two cores: three quarters busy, this process half of all.
    second = 1_000_000_000
    assert other_percent(before, after, second, second) == 25.0
    assert other_percent(before, after, 2 * second, second) == 0.0
    assert other_percent(before, before, second, second) is None
    assert other_percent(None, after, second, second) is None
    assert other_percent(before, after, None, second) is None


@pytest.mark.parametrize("text", ["", "cpu", "cpu  1 2 3\ncpu0 1", "cpu a b c d e f g h\ncpu0 1"])
def test_a_strange_stat_file_is_no_fact(tmp_path: Path, text: str) -> None:
    assert read_core_times(write_tree(tmp_path, {"/proc/stat": text})) is None


def test_a_processs_ticks_are_its_user_and_system_time(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, {"/proc/7/stat": "7 (a) b) S " + "0 " * 10 + "40 2 0 0"})
    assert process_ticks(tree, 7) == 42
    assert process_ticks(tree, 8) is None
