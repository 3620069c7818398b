from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.projects import find_projects, load_project
from edgepack.build.shipped import search_path, shipped_dir
from edgepack.formats.errors import ConfigError

TEXT = 'name = "{}"\nversion = "{}"\n[architecture]\nname = "gru4rec"\n'


def add_project(folder: Path, name: str, version: str = "1") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "model.toml").write_text(TEXT.format(name, version))
    return folder / name


def test_an_unknown_project_gets_a_suggestion_and_the_list(tmp_path: Path) -> None:
    add_project(tmp_path, "session")
    add_project(tmp_path, "shop")
    with pytest.raises(ConfigError, match="no model project 'sesion'; did you mean 'session'") as e:
        load_project("sesion", [tmp_path])
    assert "session, shop" in (e.value.hint or "")


def test_a_folder_without_a_project_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder without a model\.toml"):
        load_project(str(tmp_path), [])


def test_a_project_that_is_not_text_is_refused(tmp_path: Path) -> None:
    folder = add_project(tmp_path, "shop")
    (folder / "model.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        load_project("shop", [tmp_path])


def test_a_project_that_is_far_too_large_is_refused(tmp_path: Path) -> None:
    folder = add_project(tmp_path, "shop")
    (folder / "model.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load_project("shop", [tmp_path])


def test_the_users_own_project_comes_before_the_shipped_one(tmp_path: Path) -> None:
    add_project(tmp_path / "models", "session", "9.9")
    project = load_project("session", search_path("models", tmp_path))
    assert project.version == "9.9"


def test_shipped_projects_are_found_from_anywhere(tmp_path: Path) -> None:
    found = find_projects(search_path("models", tmp_path))
    assert list(found) == ["bilstm", "gru4rec", "session"]
    assert load_project("session", search_path("models", tmp_path)).architecture == "sasrec"


def test_a_project_is_also_given_by_its_folder_or_file(tmp_path: Path) -> None:
    folder = add_project(tmp_path, "shop")
    assert load_project(str(folder), []).name == "shop"
    assert load_project(str(folder / "model.toml"), []).directory == folder


def test_in_a_checkout_the_shipped_folder_is_searched_once(repository: Path) -> None:
    assert search_path("models", repository) == (shipped_dir("models"),)
