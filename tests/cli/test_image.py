"""`edgepack image` as it is typed wrong: a sentence and a status, and nothing is started."""

from __future__ import annotations

import pytest

from edgepack.cli.main import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["image", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "name a --target or a --bundle"),
        (("--target", "arm46"), 3, "did you mean 'arm64'"),
        (("--target", "arm64", "--tool", "kaniko"), 2, "'kaniko' is not one of"),
        (("--target", "arm64", "--output", "tar:x"), 3, "expected oci:DIR"),
    ],
)
def test_a_wrong_option_is_said(
    arguments: tuple[str, ...], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == status
    assert words in capsys.readouterr().err


def test_a_wrong_time_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert run("--target", "arm64") == 3
    assert "SOURCE_DATE_EPOCH: got 'yesterday'" in capsys.readouterr().err


def test_without_a_tool_one_to_install_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert run("--target", "arm64") == 4
    assert "no container tool (docker with buildx, podman or buildah)" in capsys.readouterr().err
