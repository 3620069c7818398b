from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from edgepack.formats.errors import ConfigError, HubError
from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.store.backup import back_up, restore
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.schema import credential
from tests.hub.reports import NOW_MS


def _tokens(path: Path) -> int:
    engine = open_engine(path, read_only=True)
    try:
        with engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(credential)).scalar_one()
    finally:
        engine.dispose()


def test_a_backup_of_a_store_in_use_is_put_back(store: Engine, tmp_path: Path) -> None:
    path = Path(str(store.url.database))
    Credentials(store).make(Role.READER, NOW_MS)
    copy = tmp_path / "copy.db"
    assert back_up(path, copy) == copy.stat().st_size
    Credentials(store).make(Role.READER, NOW_MS)
    store.dispose()
    with pytest.raises(ConfigError, match="there is a store already"):
        restore(copy, path)
    restore(copy, path, replace=True)
    assert _tokens(path) == 1


def test_a_store_in_use_is_not_replaced(store: Engine, tmp_path: Path) -> None:
    path = Path(str(store.url.database))
    copy = tmp_path / "copy.db"
    back_up(path, copy)
    Credentials(store).make(Role.READER, NOW_MS)
    with pytest.raises(HubError, match="in use"):
        restore(copy, path, replace=True)
    assert _tokens(path) == 1


def test_a_damaged_backup_changes_nothing(store: Engine, tmp_path: Path) -> None:
    path = Path(str(store.url.database))
    copy = tmp_path / "copy.db"
    back_up(path, copy)
    data = bytearray(copy.read_bytes())
    data[4096:16384] = b"\xff" * 12288
    copy.write_bytes(data)
    store.dispose()
    before = path.read_bytes()
    with pytest.raises(HubError):
        restore(copy, path, replace=True)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_backup_is_never_written_over(store: Engine, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(b"precious")
    with pytest.raises(ConfigError, match="a file already"):
        back_up(Path(str(store.url.database)), copy)
    assert copy.read_bytes() == b"precious"


def test_postgresql_is_left_to_its_own_tools(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        back_up("postgresql://localhost/hub", tmp_path / "copy.db")
    assert "pg_dump" in str(caught.value.hint)
