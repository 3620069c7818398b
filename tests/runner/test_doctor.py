from __future__ import annotations

import json
import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgepack.formats.errors import (
    BundleError,
    ConfigError,
    DeviceError,
    HubError,
    QualityError,
)
from edgepack.formats.manifest import Manifest
from edgepack.formats.variants import RuntimeName
from edgepack.runner.boot.machine import Machine
from edgepack.runner.checking import CheckOutcome
from edgepack.runner.doctor import Examination, Finding, examine_box, worst_exit_code
from edgepack.runner.gpu.fit import Verdict
from edgepack.runner.gpu.looking import look_and_judge, wish_of
from edgepack.runner.main import main
from edgepack.runner.reports.spool import Spool
from edgepack.runner.serving_mark import Serving
from edgepack.runner.state import BoxPaths, ensure_device_id
from tests.runner.gpu.cards import Card, SimulatedNvml, write_box
from tests.runner.simulators import HandClock, write_release

WELL = CheckOutcome("tflite-dynamic-int8", (), 3, False, "Cortex-A72", 0)
MACHINE = Machine(
    arch="aarch64",
    os="linux",
    python="3.11.2",
    glibc="2.36",
    cpu="Cortex-A72",
    cpu_flags=None,
    memory_bytes=2**30,
    has_lzma=True,
)
UNIT = "[Unit]\nDescription=edgepack runner\n"


def installed_at(path: Path, moment: datetime) -> None:
    os.utime(path, (moment.timestamp(), moment.timestamp()))


@pytest.fixture
def well(tmp_path: Path) -> Examination:
    """A box on which nothing is wrong."""
    release, state = tmp_path / "root" / "current", tmp_path / "root" / "state"
    write_release(release)
    installed_at(release / "manifest.json", datetime(2026, 11, 22, tzinfo=UTC))
    ensure_device_id(state)
    units = tmp_path / "units"
    wants = units / "multi-user.target.wants"
    wants.mkdir(parents=True)
    for folder in (units, tmp_path / "root" / "systemd"):
        folder.mkdir(exist_ok=True)
        (folder / "edgepack-runner.service").write_text(UNIT)
    (wants / "edgepack-runner.service").symlink_to(units / "edgepack-runner.service")
    return Examination(
        paths=BoxPaths(release, state),
        clock=HandClock(),
        machine=MACHINE,
        check=lambda: WELL,
        clock_synced=lambda: True,
        serving=lambda: None,
        ask_port=lambda _: '{"status":"ok","model":{}}',
        reach=lambda _: None,
        port=8080,
        unit_folders=(units,),
    )


def found(around: Examination, name: str) -> tuple[Finding, int]:
    findings = examine_box(around)
    return next(each for each in findings if each.name == name), worst_exit_code(findings)


def test_a_box_on_which_nothing_is_wrong_has_only_good_findings(well: Examination) -> None:
    findings = examine_box(well)
    assert [(each.name, each.status) for each in findings] == [
        (name, "ok") for name in ("release", "model", "state", "spool", "clock", "port", "service")
    ]
    assert worst_exit_code(findings) == 0


def test_a_damaged_file_is_named_even_when_the_model_is_whole(well: Examination) -> None:
    release = well.paths.release
    manifest = json.loads((release / "manifest.json").read_text())
    extra = dict(manifest["files"][0], path="runner/edgepack/lost.py")
    manifest["files"].append(extra)
    (release / "manifest.json").write_text(json.dumps(manifest))
    finding, code = found(well, "release")
    assert "1 damaged: runner/edgepack/lost.py" in finding.found
    assert (finding.status, code) == ("fail", BundleError.exit_code)


def test_without_a_release_the_rest_is_still_looked_at(well: Examination) -> None:
    gone = replace(well, paths=replace(well.paths, release=well.paths.release.parent / "none"))
    finding, code = found(gone, "release")
    assert "cannot be read" in finding.found
    assert code == BundleError.exit_code
    assert {each.name for each in examine_box(gone)} >= {"state", "clock", "port", "service"}


@pytest.mark.parametrize("code", [DeviceError.exit_code, QualityError.exit_code])
def test_a_runtime_or_an_answer_that_is_wrong_is_the_first_thing_to_mend(
    well: Examination, code: int
) -> None:
    outcome = CheckOutcome("x", ("rank 1 differs",), 3, False, None, code)
    sick = replace(well, check=lambda: outcome, ask_port=lambda _: "")
    finding, worst = found(sick, "model")
    assert "rank 1 differs" in finding.found
    assert worst == code


def test_a_box_of_another_kind_is_named(well: Examination) -> None:
    other = replace(well, machine=replace(MACHINE, arch="x86_64", memory_bytes=2**28))
    assert found(other, "arch")[0].status == "fail"
    assert found(other, "memory")[0].status == "warn"


def test_a_state_that_cannot_be_written_loses_reports_but_serves(well: Examination) -> None:
    blocked = well.paths.release / "manifest.json" / "state"
    finding, code = found(replace(well, paths=replace(well.paths, state=blocked)), "state")
    assert "serving goes on" in finding.found
    assert code == DeviceError.exit_code


def test_a_box_without_an_id_is_told_how_to_get_one(well: Examination, tmp_path: Path) -> None:
    finding, code = found(replace(well, paths=replace(well.paths, state=tmp_path / "new")), "state")
    assert (finding.status, code) == ("warn", 0)


def test_reports_that_pile_up_are_told(well: Examination) -> None:
    assert well.paths.spool is not None
    spool = Spool(well.paths.spool, max_count=2)
    for _ in range(3):
        spool.add(str(uuid.uuid4()), b"{}")
    finding, code = found(well, "spool")
    assert (finding.found, finding.status) == ("2 reports wait, 1 were dropped", "warn")
    assert code == 0


def test_a_spool_that_cannot_be_read_is_a_fault_and_not_an_empty_one(well: Examination) -> None:
    assert well.paths.spool is not None
    well.paths.spool.symlink_to(well.paths.spool.name)
    finding, code = found(well, "spool")
    assert (finding.status, code) == ("fail", DeviceError.exit_code)
    assert "reports cannot be kept" in finding.found


@pytest.mark.parametrize(
    "moment", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)]
)
def test_a_clock_before_the_installation_is_wrong(well: Examination, moment: datetime) -> None:
    clock = HandClock()
    clock.wall = moment
    finding, code = found(replace(well, clock=clock), "clock")
    assert "before the release was installed" in finding.found
    assert code == DeviceError.exit_code


@pytest.mark.parametrize(("synced", "status"), [(None, "ok"), (False, "warn")])
def test_a_clock_nobody_sets_wants_attention(
    well: Examination, synced: bool | None, status: str
) -> None:
    assert found(replace(well, clock_synced=lambda: synced), "clock")[0].status == status


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [(None, "warn", 0), ("", "fail", ConfigError.exit_code), ("<html>", "fail", 3)],
)
def test_a_port_is_free_ours_or_taken(
    well: Examination, answer: str | None, status: str, code: int
) -> None:
    finding, worst = found(replace(well, ask_port=lambda _: answer), "port")
    assert (finding.status, worst) == (status, code)


def test_the_daemon_of_this_state_is_known_by_its_mark(well: Examination) -> None:
    marked = replace(well, serving=lambda: Serving(4711, 8443, None), ask_port=lambda _: "")
    finding, code = found(marked, "port")
    assert (finding.found, code) == ("process 4711 serves at 8443", 0)


def test_settings_that_cannot_be_read_are_one_finding_of_many(well: Examination) -> None:
    fault = ConfigError("runner.toml: 1 problem", hint="mend it")
    finding, code = found(replace(well, settings_fault=fault), "settings")
    assert (finding.hint, code) == ("mend it", ConfigError.exit_code)


def test_a_service_that_is_missing_off_or_old_is_told_with_the_command(well: Examination) -> None:
    (folder,) = well.unit_folders
    own = well.paths.release.parent / "systemd" / "edgepack-runner.service"
    own.write_text(UNIT + "[Service]\n")
    assert "is not this release's" in found(well, "service")[0].found
    (folder / "multi-user.target.wants" / "edgepack-runner.service").unlink()
    assert "is not enabled" in found(well, "service")[0].found
    (folder / "edgepack-runner.service").unlink()
    finding, code = found(well, "service")
    assert str(finding.hint).startswith("systemctl enable --now ")
    assert (finding.status, code) == ("warn", 0)


def test_an_instance_of_the_template_counts_as_a_service(well: Examination) -> None:
    (folder,) = well.unit_folders
    (folder / "multi-user.target.wants" / "edgepack-runner.service").unlink()
    (folder / "edgepack-runner.service").unlink()
    (folder / "edgepack-runner@.service").write_text(UNIT)
    assert "is not enabled" in found(well, "service")[0].found
    wants = folder / "multi-user.target.wants" / "edgepack-runner@session.service"
    wants.symlink_to(folder / "edgepack-runner@.service")
    assert found(well, "service")[0].status == "ok"


def test_the_network_is_left_alone_unless_it_was_asked_for(well: Examination) -> None:
    def refuse(url: str) -> str | None:
        raise AssertionError(url)

    assert all(each.name != "hub" for each in examine_box(replace(well, reach=refuse)))
    down = replace(well, hub="https://hub.example", reach=lambda _: "timed out")
    finding, code = found(down, "hub")
    assert "timed out" in finding.found
    assert code == HubError.exit_code
    assert found(replace(down, reach=lambda _: None), "hub")[0].status == "ok"
    assert found(replace(well, hub="", reach=refuse), "hub")[0].status == "warn"


def test_findings_are_printed_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepack.runner.reaching.ask_port", lambda _: None)
    places = ["--release", str(tmp_path / "none"), "--state", str(tmp_path / "state")]
    assert main(["doctor", *places]) == BundleError.exit_code
    shown = capsys.readouterr().out
    assert "fail  release" in shown
    assert "      hint: " in shown
    assert main(["doctor", "--json", *places]) == BundleError.exit_code
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is False
    assert set(printed["checks"][0]) == {"name", "status", "found", "hint"}


def _for_a_card(well: Examination, nvml: SimulatedNvml, tmp_path: Path) -> Examination:
    """The box of `well` with a bundle for a GPU, and what is simulated of a card."""
    manifest = write_release(well.paths.release, runtime=RuntimeName.ONNXRUNTIME_GPU)
    assert manifest.runtime.name is RuntimeName.ONNXRUNTIME_GPU
    installed_at(well.paths.release / "manifest.json", datetime(2026, 11, 22, tzinfo=UTC))
    root = write_box(tmp_path / "box")

    def judge(asked: Manifest) -> Verdict:
        wish = wish_of(asked, 1000)
        return look_and_judge(wish, environment={}, import_path=[], root=root, nvml=nvml)

    return replace(well, judge_gpu=judge)


def test_a_card_that_can_be_used_is_named(well: Examination, tmp_path: Path) -> None:
    finding, code = found(_for_a_card(well, SimulatedNvml(), tmp_path), "gpu")
    assert (finding.status, code) == ("ok", 0)
    assert "NVIDIA L4, driver 550.54.15: CUDAExecutionProvider" in finding.found


def test_all_that_keeps_a_card_from_use_is_a_warning_as_the_cpu_serves(
    well: Examination, tmp_path: Path
) -> None:
    nvml = SimulatedNvml(cards=[Card(mode=2, capability=(5, 0))])
    findings = examine_box(_for_a_card(well, nvml, tmp_path))
    gpu = [each for each in findings if each.name == "gpu"]
    assert [each.status for each in gpu] == ["warn", "warn"]
    assert all(each.hint for each in gpu)
    assert worst_exit_code(findings) == 0


def test_a_card_that_looked_well_and_failed_is_told_by_what_the_engine_says(
    well: Examination, tmp_path: Path
) -> None:
    failed = replace(WELL, provider="CPUExecutionProvider", fallback="out of memory at loading")
    around = replace(_for_a_card(well, SimulatedNvml(), tmp_path), check=lambda: failed)
    finding, _ = found(around, "gpu")
    assert (finding.status, finding.found) == ("warn", "out of memory at loading")
