"""The command line's boundary: every error is a sentence with the exit code of its class."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from edgepack.cli.main import COMMANDS, cli, main
from edgepack.formats import errors


def _status(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(str(caught.value.code))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Lets a test put a failing command in place of `doctor`."""
    return monkeypatch


def _fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(type(cli), "get_command", lambda self, ctx, name: broken)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigError("x"), 3),
        (errors.MissingToolError("x"), 4),
        (errors.ConversionError("x"), 5),
        (errors.QualityError("x"), 6),
        (errors.BundleError("x"), 7),
        (errors.DeviceError("x"), 8),
        (errors.HubError("x"), 9),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("x"), 1),
    ],
)
def test_the_class_of_an_error_owns_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    _fail_with(monkeypatch, error)
    assert _status(["doctor"]) == status


def test_an_error_is_a_message_and_a_hint_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, errors.ConfigError("the lamp is dark", hint="light it"))
    _status(["doctor"])
    assert capsys.readouterr().err == "error: the lamp is dark\nhint: light it\n"


def test_debug_adds_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, errors.ConfigError("the lamp is dark"))
    _status(["--debug", "doctor"])
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_says_that_it_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _fail_with(monkeypatch, ZeroDivisionError("x"))
    _status(["doctor"])
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "this is a bug in edgepack" in shown


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(["biuld"]) == 2
    assert "did you mean 'build'?" in capsys.readouterr().err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (_, text) in COMMANDS.items():
        assert f"  {name} " in shown
        assert text in shown


def test_an_unknown_target_gets_a_suggestion_and_the_list(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _status(["build", "--target", "arm46", "--cache", str(tmp_path)]) == 3
    shown = capsys.readouterr().err
    assert "did you mean 'arm64'?" in shown
    assert "arm64-tiny" in shown


def test_columns_without_a_log_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert _status(["train", "--session", "a"]) == 2
    assert "--data" in capsys.readouterr().err


def test_a_log_without_columns_names_those_that_lack(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _status(["train", "--data", str(tmp_path / "x.csv"), "--item", "sku"]) == 2
    assert "--session, --order" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", [["--session", "a"], ["--where", "a > 1"], ["--time-format", "%Y"]]
)
def test_a_log_without_a_header_has_no_columns_to_name(
    capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert _status(["train", "--data", "x.txt", "--layout", "pairs", *option]) == 2
    assert f"--layout pairs has no columns: {option[0]}" in capsys.readouterr().err


def test_every_command_with_a_cache_removes_what_a_killed_build_left(tmp_path: Path) -> None:
    abandoned = tmp_path / "tmp" / "root-0123456789abcdef"
    abandoned.mkdir(parents=True)
    assert _status(["build", "--target", "arm46", "--cache", str(tmp_path)]) == 3
    assert not abandoned.exists()


def test_a_missing_log_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    columns = ["--session", "a", "--item", "b", "--order", "c"]
    arguments = ["train", "--data", str(tmp_path / "absent.csv"), *columns]
    assert _status([*arguments, "--cache", str(tmp_path)]) == 3
    assert "absent.csv" in capsys.readouterr().err


def test_a_bad_condition_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["--session", "a", "--item", "b", "--order", "c"]
    assert _status(["train", "--data", "x.csv", *columns, "--where", "Quantity"]) == 2
    assert "COLUMN OP VALUE" in capsys.readouterr().err


def test_a_file_that_is_no_bundle_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "x.pyz"
    path.write_bytes(b"no bundle")
    for command in ("inspect", "verify"):
        assert _status([command, str(path)]) == 7
        assert "x.pyz" in capsys.readouterr().err


def test_a_missing_bundle_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _status(["verify", str(tmp_path / "absent.pyz")]) in (3, 7)
    assert "absent.pyz" in capsys.readouterr().err
