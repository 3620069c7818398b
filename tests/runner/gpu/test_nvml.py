from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from edgepack.formats.device import GpuCard, GpuState
from edgepack.runner.gpu.nvml import decode_reasons, look_at_cards
from edgepack.runner.gpu.own import OwnProcess
from tests.runner.gpu.cards import Card, SimulatedNvml


def test_a_card_is_told_with_its_units() -> None:
    nvml = SimulatedNvml(cards=[Card(pids=(os.getpid(), os.getpid() + 1), utilisation=73)])
    look = look_at_cards(nvml=nvml)
    assert (look.driver_version, look.cuda_version, look.visible) == ("550.54.15", "12.4", (0,))
    assert look.cards == (
        GpuCard(
            name="NVIDIA L4",
            compute_capability="8.9",
            memory_total=24 * 2**30,
            sm_clock_max_mhz=2040,
            memory_clock_max_mhz=6251,
            power_limit_mw=72_000,
            persistence_mode=True,
            compute_mode="default",
            mig_mode="off",
        ),
    )
    assert look.states == (
        GpuState(
            memory_used=300 * 2**20,
            memory_free=24 * 2**30 - 300 * 2**20,
            sm_clock_mhz=210,
            memory_clock_mhz=405,
            temperature_mc=41_000,
            power_mw=12_500,
            utilisation=0.73,
            throttle_reasons=("gpu_idle",),
            throttled_thermal_ns=0,
            throttled_power_ns=0,
            other_processes=1,
        ),
    )
    assert nvml.sessions == 0, "what was opened is closed again"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("nvmlDeviceGetMigMode", "mig_mode"),
        ("nvmlDeviceGetEnforcedPowerLimit", "power_limit_mw"),
        ("nvmlDeviceGetMemoryInfo", "memory_total"),
        ("nvmlDeviceGetViolationStatus", "throttled_thermal_ns"),
        ("nvmlDeviceGetUtilizationRates", "utilisation"),
        ("nvmlDeviceGetComputeRunningProcesses", "other_processes"),
    ],
)
def test_what_a_card_does_not_tell_is_null_with_the_reason(name: str, field: str) -> None:
    look = look_at_cards(nvml=SimulatedNvml(cards=[Card(unsupported=frozenset({name}))]))
    told: dict[str, object] = {}
    missing: dict[str, str] = {}
    for part in (look.cards[0], look.states[0]):
        told |= {each.name: getattr(part, each.name) for each in dataclasses.fields(part)}
        missing |= part.missing
    assert told[field] is None
    assert missing[field] == "NVML error 3"
    nulls = {name for name, value in told.items() if value is None}
    assert nulls == set(missing)


def test_an_old_driver_is_asked_by_the_old_names() -> None:
    new = frozenset({"nvmlDeviceGetCurrentClocksEventReasons"})
    look = look_at_cards(nvml=SimulatedNvml(cards=[Card(reasons=0x44, unsupported=new)]))
    assert look.states[0].throttle_reasons == ("sw_power_cap", "hw_thermal_slowdown")


class OldPackage(SimulatedNvml):
    """As nvidia-ml-py 11.495: without the new names, and with one kind of memory."""

    def nvmlDeviceGetMemoryInfo(self, card: Card) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=card.total, used=card.used, free=card.total - card.used)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetMigMode"):
            raise AttributeError(name)
        return super().__getattr__(name)


def test_an_old_package_of_the_box_is_asked_by_the_old_names() -> None:
    look = look_at_cards(nvml=OldPackage(cards=[Card(reasons=0x44)]))
    assert look.trouble is None
    assert look.states[0].throttle_reasons == ("sw_power_cap", "hw_thermal_slowdown")
    assert look.states[0].memory_used == 300 * 2**20
    assert look.cards[0].mig_mode is None
    assert look.cards[0].missing == {"mig_mode": "this nvidia-ml-py has no nvmlDeviceGetMigMode"}


def test_in_a_container_this_process_is_not_another_one() -> None:
    # It is 7 to itself and 40311 to the driver.
    nvml = SimulatedNvml(cards=[Card(pids=(40_311,)), Card(pids=(40_311, 50_000))])
    look = look_at_cards(None, nvml, OwnProcess(frozenset({7}), complete=False, may_compute=True))
    assert [each.other_processes for each in look.states] == [0, 1]
    look = look_at_cards(None, nvml, OwnProcess(frozenset({7}), complete=False))
    assert [each.other_processes for each in look.states] == [1, 2]


def test_reasons_this_program_does_not_know_are_not_lost() -> None:
    assert decode_reasons(0) == ()
    assert decode_reasons(0x8) == ("hw_slowdown",)
    assert decode_reasons(0x8001) == ("gpu_idle", "unknown 0x8000")


@pytest.mark.parametrize(
    ("error", "trouble"),
    [(4, "no_permission"), (9, "not_loaded"), (12, "no_library"), (18, "mismatch"), (15, "lost")],
)
def test_what_keeps_nvml_from_answering_has_a_name(error: int, trouble: str) -> None:
    look = look_at_cards(nvml=SimulatedNvml(init_error=error))
    assert (look.trouble, look.cards) == (trouble, ())


def test_a_driver_that_goes_away_in_the_middle_is_trouble_and_no_crash() -> None:
    class Vanishing(SimulatedNvml):
        def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - pynvml's own name
            raise self.NVMLError(15)

    nvml = Vanishing()
    assert look_at_cards(nvml=nvml).trouble == "lost"
    assert nvml.sessions == 0
