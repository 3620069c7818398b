from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgepack.runner.boot.launcher import (
    import_path,
    main,
    standard_library_path,
    state_directory,
)


def test_only_the_standard_library_is_kept_of_the_import_path() -> None:
    entries = [
        "/opt/box/bin",
        "",
        "/home/u/.local/lib/python3.11/site-packages",
        "/usr/lib/python311.zip",
        "/usr/lib/python3.11",
        "/usr/lib/python3.11/lib-dynload",
        "/usr/lib/python3/dist-packages",
        "/usr/lib/python3.11/site-packages",
        "/tmp/lib-dynload",
    ]
    archive = f"/usr/lib/python{sys.version_info[0]}{sys.version_info[1]}.zip"
    entries[3] = archive
    kept = standard_library_path(entries, "/usr/lib/python3.11")
    assert kept == [archive, "/usr/lib/python3.11", "/usr/lib/python3.11/lib-dynload"]


def test_what_the_box_brings_comes_last(tmp_path: Path) -> None:
    external = {"paths": ["external", "/usr/lib/python3/dist-packages"]}
    (tmp_path / "external.json").write_text(json.dumps(external))
    assert import_path(tmp_path, ["/lib"]) == [
        str(tmp_path / "runner"),
        str(tmp_path / "site"),
        "/lib",
        str(tmp_path / "external"),
        "/usr/lib/python3/dist-packages",
    ]


@pytest.mark.parametrize("content", [None, "{", "[]x"])
def test_a_release_without_external_parts_imports_only_its_own(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "external.json").write_text(content)
    assert import_path(tmp_path, []) == [str(tmp_path / "runner"), str(tmp_path / "site")]


def test_the_state_is_where_the_environment_then_the_root_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGEPACK_STATE", raising=False)
    assert state_directory(tmp_path) == tmp_path / "state"
    (tmp_path / "edgepack-root.json").write_text('{"state": "/var/lib/box"}')
    assert state_directory(tmp_path) == Path("/var/lib/box")
    (tmp_path / "edgepack-root.json").write_text('{"state": "state"}')
    assert state_directory(tmp_path) == tmp_path / "state"
    monkeypatch.setenv("EDGEPACK_STATE", "/elsewhere")
    assert state_directory(tmp_path) == Path("/elsewhere")


def test_a_root_without_a_release_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tmp_path) == 8
    said = capsys.readouterr().err
    assert "no current release" in said
    assert "install --root" in said
