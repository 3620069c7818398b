"""What the hub's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.hub.stores import Filler, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Engine]:
    """An empty store in a file."""
    engine = open_store(tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def fill(store: Engine) -> Iterator[Filler]:
    """Fills the store."""
    filler = Filler(store)
    yield filler
    filler.close()
