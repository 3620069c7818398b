from __future__ import annotations

import argparse
import json
import uuid
from pathlib import Path

import pytest

from edgepack.formats.errors import ConfigError
from edgepack.runner.commands import looking
from edgepack.runner.main import main
from edgepack.runner.reports.spool import Spool
from edgepack.runner.state import read_device_id
from tests.runner.simulators import write_release

_COMMANDS = ("serve", "bench", "report", "enrol", "check", "status", "doctor", "reset-id")


@pytest.fixture(autouse=True)
def _no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPACK_ROOT", raising=False)
    monkeypatch.delenv("EDGEPACK_STATE", raising=False)


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_help_with_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"example: edgepack-runner {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["serv"], ["serve", "--port", "99999"], ["report"]])
def test_a_mistyped_command_line_is_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "bench", "check", "status", "reset-id"])
def test_without_an_installation_the_error_says_what_to_do(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert error.startswith("error: no release to run")
    assert "\nhint: " in error


@pytest.mark.parametrize("command", ["serve", "bench", "status"])
def test_a_missing_release_is_a_bundle_error(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--release", str(tmp_path), "--state", str(tmp_path / "s")]) == 7
    assert "manifest.json cannot be read" in capsys.readouterr().err


def test_a_damaged_release_is_a_finding_of_check_as_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_release(tmp_path)
    (tmp_path / "models" / "tflite-dynamic-int8.tflite").write_bytes(b"simulated m0del")
    assert main(["check", "--release", str(tmp_path), "--json"]) == 7
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["ok"] is False
    assert "SHA-256" in found["problems"][0]
    names = {"ok", "variant", "problems", "sequences", "emulated", "cpu", "provider", "fallback"}
    assert set(found) == names


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(_: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(looking, "_status", interrupted)
    assert main(["status", "--release", str(tmp_path)]) == 130


def test_status_says_what_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_release(tmp_path)
    state = tmp_path / "state"
    Spool(state / "spool").add(str(uuid.uuid4()), b"{}")
    assert main(["status", "--release", str(tmp_path), "--state", str(state), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["release"] == manifest.id
    assert (facts["model"], facts["reports_waiting"]) == ("session", 1)
    assert main(["status", "--release", str(tmp_path), "--state", str(state)]) == 0
    assert "reports waiting" in capsys.readouterr().out


def test_report_shows_exactly_what_would_leave_the_box(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Spool(tmp_path / "spool").add(str(uuid.uuid4()), b'{"b":1,"a":[2]}')
    arguments = ["report", "--show", "--release", str(tmp_path), "--state", str(tmp_path)]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"b": 1, "a": [2]}


def test_report_lists_what_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report_id = str(uuid.uuid4())
    arguments = ["report", "--spool", "--release", str(tmp_path), "--state", str(tmp_path)]
    assert main(arguments) == 0
    assert "no report waits" in capsys.readouterr().err
    Spool(tmp_path / "spool").add(report_id, b"{}")
    assert main(arguments) == 0
    assert report_id in capsys.readouterr().out


def test_reports_need_a_state_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--show", "--release", str(tmp_path)]) == ConfigError.exit_code
    assert "--state DIR" in capsys.readouterr().err


def test_a_bad_url_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Spool(tmp_path / "spool").add(str(uuid.uuid4()), b"{}")
    arguments = ["report", "--send", "hub", "--release", str(tmp_path), "--state", str(tmp_path)]
    assert main(arguments) == ConfigError.exit_code
    assert "not an http or https URL" in capsys.readouterr().err


def test_a_reset_prints_the_new_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reset-id", "--release", str(tmp_path), "--state", str(tmp_path)]
    assert main(arguments) == 0
    first = capsys.readouterr().out.strip()
    assert main(arguments) == 0
    second = capsys.readouterr().out.strip()
    assert uuid.UUID(first) != uuid.UUID(second)
    assert read_device_id(tmp_path) == second


def test_sending_without_a_hub_says_how_to_name_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", "--send", "--release", str(tmp_path), "--state", str(tmp_path)]
    assert main(arguments) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert "no hub is known" in error
    assert "hub.url in runner.toml" in error


def test_a_settings_file_with_mistakes_stops_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runner.toml").write_text("[hub]\nurk = 1\n[spool]\nmax_count = 0\n")
    arguments = ["report", "--spool", "--release", str(tmp_path), "--state", str(tmp_path)]
    assert main(arguments) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert "hub.urk: unknown key; did you mean 'url'?" in error
    assert "spool.max_count: 0 is below 1" in error


def test_a_secret_that_everybody_can_read_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    settings = tmp_path / "other.toml"
    settings.write_text('[hub]\nurl = "https://hub.example/x"\ntoken_file = "token"\n')
    places = ("--release", str(tmp_path), "--state", str(tmp_path), "--config", str(settings))
    assert main(["report", "--spool", *places]) == 0
    assert "warning: hub.token_file" in capsys.readouterr().err
