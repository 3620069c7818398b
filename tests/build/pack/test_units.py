from __future__ import annotations

import re
from dataclasses import replace

import pytest

from edgepack.build.pack.units import TEMPLATE_PATH, UNIT_PATH, service_units
from edgepack.formats.bundle import check_release_path
from edgepack.formats.manifest import RuntimeInfo
from edgepack.formats.variants import RuntimeName
from edgepack.runner.boot.uninstall import UNITS
from edgepack.runner.http.limits import Limits
from tests.bundles import this_machine, this_target

TARGET = replace(this_target(this_machine()), memory_mb=1000)
PLAIN = RuntimeInfo(RuntimeName.LITERT, "2.3.0")
GPU = RuntimeInfo(RuntimeName.ONNXRUNTIME_GPU, "1.32.0")


def keys(unit: bytes) -> dict[str, str]:
    lines = [line for line in unit.decode().splitlines() if "=" in line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def test_a_release_carries_the_units_that_install_looks_for() -> None:
    units = service_units(PLAIN, TARGET)
    assert [str(path) for path in UNITS] == [UNIT_PATH, TEMPLATE_PATH] == list(units)
    for path in units:
        check_release_path(path, "units")


@pytest.mark.parametrize("path", [UNIT_PATH, TEMPLATE_PATH])
def test_devices_are_hidden_from_all_but_a_gpus_runtime(path: str) -> None:
    plain = keys(service_units(PLAIN, TARGET)[path])
    gpu = keys(service_units(GPU, TARGET)[path])
    assert set(plain) - set(gpu) == {"PrivateDevices", "ProtectClock", "MemoryDenyWriteExecute"}
    assert {name: value for name, value in plain.items() if name in gpu} == gpu


def test_memory_is_limited_to_a_share_of_the_box() -> None:
    unit = keys(service_units(PLAIN, TARGET)[UNIT_PATH])
    assert (unit["MemoryHigh"], unit["MemoryMax"], unit["MemorySwapMax"]) == ("400M", "500M", "0")


def test_a_shop_is_never_given_up() -> None:
    unit = keys(service_units(PLAIN, TARGET)[UNIT_PATH])
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == ("always", "0")


def test_a_stop_has_time_for_the_requests_on_their_way() -> None:
    unit = keys(service_units(PLAIN, TARGET)[UNIT_PATH])
    assert float(unit["TimeoutStopSec"]) >= Limits().grace_s + 5


def test_only_the_marks_that_install_fills_in_are_left() -> None:
    for unit in service_units(PLAIN, TARGET).values():
        marks = set(re.findall("@[A-Z_]+@", unit.decode()))
        assert marks <= {"@ROOT@", "@ROOTS@", "@STATE@", "@ACCOUNT@"}
