from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.runner.state import (
    ensure_device_id,
    find_paths,
    read_device_id,
    reset_device_id,
)


def test_without_a_root_or_a_release_there_is_nothing_to_run() -> None:
    with pytest.raises(ConfigError, match="EDGEPACK_ROOT"):
        find_paths({})


def test_the_launchers_variables_say_where_things_are() -> None:
    paths = find_paths({"EDGEPACK_ROOT": "/srv/box", "EDGEPACK_STATE": "/var/box"})
    assert (paths.release, paths.state) == (Path("/srv/box/current"), Path("/var/box"))
    assert paths.spool == Path("/var/box/spool")


def test_state_lies_in_the_root_unless_told_otherwise() -> None:
    assert find_paths({"EDGEPACK_ROOT": "/srv/box"}).state == Path("/srv/box/state")


def test_options_win_over_variables() -> None:
    environment = {"EDGEPACK_ROOT": "/srv/box", "EDGEPACK_STATE": "/var/box"}
    paths = find_paths(environment, release=Path("/r"), state=Path("/s"))
    assert (paths.release, paths.state) == (Path("/r"), Path("/s"))


def test_a_named_release_without_a_state_keeps_nothing() -> None:
    paths = find_paths({}, release=Path("/r"))
    assert paths.state is None
    assert paths.spool is None


@pytest.mark.parametrize("text", ["", "box-17.shop.example", "x" * 1000, "../../etc"])
def test_what_is_not_an_id_is_not_used_as_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "device_id").write_text(text)
    assert read_device_id(tmp_path) is None


def test_a_device_id_is_random_and_stays(tmp_path: Path) -> None:
    first = ensure_device_id(tmp_path / "a")
    assert first == ensure_device_id(tmp_path / "a") == read_device_id(tmp_path / "a")
    assert first != ensure_device_id(tmp_path / "b")


def test_programs_that_start_at_once_in_an_empty_state_get_one_id(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(ensure_device_id, [tmp_path / "volume"] * 32))
    assert len(found) == 1
    assert found == {read_device_id(tmp_path / "volume")}
    assert [path.name for path in (tmp_path / "volume").iterdir()] == ["device_id"]


def test_the_id_made_at_install_is_used(tmp_path: Path) -> None:
    made = str(uuid.uuid4())
    (tmp_path / "device_id").write_text(f"{made}\n")
    assert ensure_device_id(tmp_path) == made


def test_an_id_that_cannot_be_kept_is_not_made_up(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert ensure_device_id(tmp_path / "file") is None
    assert ensure_device_id(None) is None


def test_a_reset_makes_another_id_that_stays(tmp_path: Path) -> None:
    state = tmp_path / "not yet" / "made"
    first = reset_device_id(state)
    second = reset_device_id(state)
    assert first != second == ensure_device_id(state)
    assert [path.name for path in state.iterdir()] == ["device_id"]


def test_a_reset_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeviceError, match="the id cannot be kept"):
        reset_device_id(tmp_path / "file")
