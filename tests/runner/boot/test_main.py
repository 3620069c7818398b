from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgepack.build.pack import PackedBundle
from edgepack.runner.boot import entry
from edgepack.runner.boot.arguments import build_parser
from edgepack.runner.boot.main import main
from edgepack.runner.boot.store import Store
from tests.bundles import honest_but_wrong, pack

COMMANDS = ("verify", "install", "stage", "run", "bench", "doctor", "uninstall", "prune")


@pytest.fixture(autouse=True)
def _keep_the_signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def packed(tmp_path: Path) -> PackedBundle:
    return pack(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser("session.pyz").parse_args([command, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert f"example: python3 session.pyz {command}" in said


def test_no_command_and_an_unknown_one_are_usage_errors(packed: PackedBundle) -> None:
    for argv in (
        [],
        ["fly"],
        ["verify", "--fly"],
        ["install"],
        ["prune", "--root", "x", "--keep", "-1"],
    ):
        with pytest.raises(SystemExit) as caught:
            main(str(packed.path), argv)
        assert caught.value.code == 2


def test_a_whole_life_of_a_root(
    tmp_path: Path, packed: PackedBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    assert main(str(packed.path), ["verify"]) == 0
    assert "whole" in capsys.readouterr().out
    assert main(str(packed.path), ["install", "--root", str(root)]) == 0
    assert f"{root}/bin/edgepack-runner serve" in capsys.readouterr().out
    assert main(str(packed.path), ["prune", "--root", str(root), "--keep", "0"]) == 0
    assert Store(root).current_id() == packed.manifest.id
    assert main(str(packed.path), ["doctor"]) == 0
    assert main(str(packed.path), ["uninstall", "--root", str(root)]) == 0
    assert not root.exists()


def test_json_answers_are_one_object_a_line(
    tmp_path: Path, packed: PackedBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "root")
    for argv in (
        ["verify"],
        ["doctor"],
        ["install", "--root", root],
        ["prune", "--root", root],
        ["uninstall", "--root", root],
    ):
        assert main(str(packed.path), [*argv, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["ok"] is True


def test_an_error_has_its_class_status_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = honest_but_wrong(tmp_path)
    assert main(str(wrong), ["verify", "--json"]) == 7
    said = capsys.readouterr()
    assert said.err.startswith("error: payload member")
    assert "\nhint: " in said.err
    assert json.loads(said.out)["ok"] is False
    assert main(str(wrong), ["uninstall", "--root", str(tmp_path)]) == 8
    assert "nothing was removed" in capsys.readouterr().err


def test_debug_adds_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(tmp_path / "missing.pyz"), ["verify", "--debug"]) == 7
    assert "Traceback" in capsys.readouterr().err
    assert main(str(tmp_path / "missing.pyz"), ["verify"]) == 7
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_ends_with_130(
    tmp_path: Path,
    packed: PackedBundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(self: Store) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "make_folders", interrupt)
    assert main(str(packed.path), ["install", "--root", str(tmp_path / "root")]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


def test_a_termination_signal_ends_like_ctrl_c(packed: PackedBundle) -> None:
    assert main(str(packed.path), ["verify"]) == 0
    with pytest.raises(SystemExit) as caught:
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143


def test_the_entry_lets_a_whole_bundle_pass_and_names_a_damaged_member(
    packed: PackedBundle,
) -> None:
    assert entry.find_damage(packed.path) is None
    data = bytearray(packed.path.read_bytes())
    at = data.index(b"__main__.py") + len("__main__.py") + 5
    data[at] ^= 1
    packed.path.write_bytes(data)
    damage = entry.find_damage(packed.path)
    assert damage is not None
    assert "__main__.py" in damage
    assert entry.main(packed.path) == 7


def test_the_entry_survives_an_archive_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no archive")
    damage = entry.find_damage(tmp_path / "x")
    assert damage is not None
    assert "directory" in damage
