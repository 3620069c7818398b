from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgepack.build.image.credentials import Credentials, credential_files, find_credentials
from edgepack.formats.errors import ConfigError, ImageError


def no_helper(command: Sequence[str], text: str) -> str:
    raise AssertionError(f"asked {command} for {text}")


def login(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_the_files_are_looked_at_in_the_order_of_the_tools(tmp_path: Path) -> None:
    environment = {"HOME": "/h", "XDG_RUNTIME_DIR": "/run/me", "REGISTRY_AUTH_FILE": "/a.json"}
    assert [str(path) for path in credential_files(environment)] == [
        "/a.json",
        "/run/me/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/h/.docker/config.json",
    ]
    assert str(credential_files({"DOCKER_CONFIG": "/d"})[-1]) == "/d/config.json"


def test_the_closest_login_wins_and_a_missing_file_is_no_login(tmp_path: Path) -> None:
    auths = {"reg.example": login("all", "1"), "reg.example/shop": login("shop", "2:3")}
    files = [tmp_path / "missing.json", write(tmp_path / "auth.json", {"auths": auths})]
    found = find_credentials("reg.example", "shop/session", files, no_helper)
    assert found == Credentials("shop", "2:3")
    assert find_credentials("reg.example", "x", files, no_helper) == Credentials("all", "1")
    assert find_credentials("other.example", "x", files, no_helper) is None


def test_dockers_own_registry_is_found_under_its_old_name(tmp_path: Path) -> None:
    auths = {"https://index.docker.io/v1/": login("me", "x")}
    files = [write(tmp_path / "config.json", {"auths": auths})]
    assert find_credentials("docker.io", "library/a", files, no_helper) == Credentials("me", "x")


def test_a_token_stands_for_user_and_password(tmp_path: Path) -> None:
    files = [write(tmp_path / "c.json", {"auths": {"reg.example": {"identitytoken": "t"}}})]
    found = find_credentials("reg.example", "a", files, no_helper)
    assert found == Credentials("", "t", is_token=True)


@pytest.mark.parametrize(
    "document",
    [
        {"credHelpers": {"reg.example": "keyring"}},
        {"auths": {"reg.example": {}}, "credsStore": "keyring"},
    ],
)
def test_a_helper_is_asked_where_one_is_named(tmp_path: Path, document: Any) -> None:
    asked = []

    def ask(command: Sequence[str], text: str) -> str:
        asked.append((list(command), text))
        return json.dumps({"Username": "<token>", "Secret": "s"})

    files = [write(tmp_path / "config.json", document)]
    found = find_credentials("reg.example", "a", files, ask)
    assert found == Credentials("", "s", is_token=True)
    assert asked == [(["docker-credential-keyring", "get"], "reg.example")]


def test_a_helper_that_has_nothing_is_no_login(tmp_path: Path) -> None:
    def ask(command: Sequence[str], text: str) -> str:
        raise ImageError("credentials not found")

    files = [write(tmp_path / "config.json", {"credHelpers": {"reg.example": "x"}})]
    assert find_credentials("reg.example", "a", files, ask) is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ConfigError, match=r"bad\.json is not JSON"):
        find_credentials("reg.example", "a", [tmp_path / "bad.json"], no_helper)
    wrong = write(tmp_path / "wrong.json", {"auths": {"reg.example": {"auth": "*"}}})
    with pytest.raises(ConfigError, match="cannot be read"):
        find_credentials("reg.example", "a", [wrong], no_helper)


def test_a_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(Credentials("me", "hunter2"))


@pytest.mark.parametrize("empty", [None, []])
def test_an_empty_table_is_no_login(tmp_path: Path, empty: object) -> None:
    files = [write(tmp_path / "c.json", {"auths": empty, "credHelpers": empty})]
    assert find_credentials("reg.example", "a", files, no_helper) is None
