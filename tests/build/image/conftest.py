"""What the tests of images share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.build.image.shops import Shop


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    (tmp_path / "temporary").mkdir()
    # So that a test can see that nothing is left there.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return Shop(tmp_path)
