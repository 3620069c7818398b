from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepack.formats.report import Report, check_report, parse_report
from edgepack.runner.bench.command import describe_report
from edgepack.runner.engines import Engine
from edgepack.runner.gpu.nvml import look_at_cards
from edgepack.runner.release import Release
from tests.runner.bench.boxes import raspberry_pi_4
from tests.runner.bench.reports import measure
from tests.runner.gpu.cards import Card, SimulatedNvml
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release


def _measure(folder: Path, nvml: SimulatedNvml, fallback: str | None = None) -> Report:
    clock = HandClock(step_ns=50)

    def open_simulated(_: Release) -> Engine:
        engine = SimulatedEngine(clock=clock, call_ns=2_000_000)
        engine.fallback = fallback
        return engine

    return measure(
        simulated_release(folder),
        clock,
        open_simulated,
        tree=raspberry_pi_4(folder / "box"),
        look_at_cards=lambda: look_at_cards(nvml=nvml),
    )


def test_a_report_has_the_cards_what_they_are_and_their_state_before_and_after(
    tmp_path: Path,
) -> None:
    unsupported = frozenset({"nvmlDeviceGetMigMode", "nvmlDeviceGetViolationStatus"})
    report = _measure(tmp_path, SimulatedNvml(cards=[Card(unsupported=unsupported)]))
    assert report.device.gpu is not None
    assert report.device.gpu.driver_version == "550.54.15"
    assert report.device.gpu.cards[0].missing == {"mig_mode": "NVML error 3"}
    assert "gpu" not in report.device.missing
    assert report.before.gpu is not None
    assert report.after.gpu is not None
    assert report.before.gpu[0].temperature_mc == 41_000
    assert check_report(json.loads(report.to_bytes())) == []
    assert parse_report(report.to_bytes()) == report


def test_what_a_card_does_not_tell_needs_a_reason_in_a_report(tmp_path: Path) -> None:
    document = json.loads(_measure(tmp_path, SimulatedNvml()).to_bytes())
    document["device"]["gpu"]["cards"][0]["mig_mode"] = None
    document["after"]["gpu"][0]["power_mw"] = None
    assert {each.where for each in check_report(document)} == {
        "device.gpu.cards[0].mig_mode",
        "after.gpu[0].power_mw",
    }


def test_cards_that_cannot_be_asked_are_null_with_the_reason(tmp_path: Path) -> None:
    report = _measure(tmp_path, SimulatedNvml(init_error=18), fallback="the driver was upgraded")
    assert (report.device.gpu, report.before.gpu) == (None, None)
    assert "NVML error 18" in report.device.missing["gpu"]
    assert "NVML error 18" in report.after.missing["gpu"]
    assert report.runtime.provider_fallback == "the driver was upgraded"
    assert "gpu_fallback" in report.trust.reasons
    assert "fallback      the driver was upgraded" in describe_report(report)
    assert check_report(json.loads(report.to_bytes())) == []


def test_a_report_from_before_there_were_gpus_is_still_one(tmp_path: Path) -> None:
    document = json.loads(_measure(tmp_path, SimulatedNvml()).to_bytes())
    for part in ("device", "before", "after"):
        del document[part]["gpu"]
        document[part]["missing"].pop("gpu", None)
    del document["runtime"]["provider_fallback"]
    for name in ("io_binding", "cuda_graph"):
        del document["runtime"]["options"][name]
    report = parse_report(json.dumps(document).encode())
    assert (report.device.gpu, report.before.gpu) == (None, None)
    assert report.runtime.options is not None
    assert report.runtime.options.io_binding is False


def test_nothing_in_a_report_tells_one_card_from_another_of_its_kind(tmp_path: Path) -> None:
    class Nosy(SimulatedNvml):
        """Fails the test when it is asked for what must not be known."""

        def __getattr__(self, name: str) -> Callable[..., Any]:
            assert not any(word in name for word in ("Serial", "UUID", "PciInfo", "BoardId"))
            return super().__getattr__(name)

    report = _measure(tmp_path, Nosy()).to_bytes().decode().lower()
    for word in ("uuid", "serial", "pci", "board_id"):
        assert f'"{word}' not in report
