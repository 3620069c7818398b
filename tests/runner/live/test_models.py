from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.runner.live.model import LiveModel, version_number
from edgepack.runner.live.models import LiveModels
from tests.runner.simulators import SimulatedEngine, simulated_release


def _live(directory: Path) -> LiveModel:
    return LiveModel(simulated_release(directory), SimulatedEngine(), None, 0)


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("1.2.0", 1_002_000),
        ("1.2.0-rc1", 1_002_000),
        ("20261125", 20_261_125_000_000),
        ("0.5", 5_000),
        ("0.4000.1", 999_001),
        ("daily", 0),
    ],
)
def test_a_version_has_a_whole_number(version: str, number: int) -> None:
    assert version_number(version) == number


def test_versions_and_labels_find_their_release(tmp_path: Path) -> None:
    stable, canary = _live(tmp_path / "a"), _live(tmp_path / "b")
    models = LiveModels(stable, canary)
    assert models.versioned("1.2.0") is models.versioned("1002000") is stable
    assert models.versioned("1") is None
    assert (models.labelled("stable"), models.labelled("canary")) == (stable, canary)
    assert models.labelled("latest") is None


def test_a_promoted_canary_stays_and_the_old_release_goes(tmp_path: Path) -> None:
    stable, canary = _live(tmp_path / "a"), _live(tmp_path / "b")
    models = LiveModels(stable, canary)
    assert models.replace(canary, None) == [stable]
    assert models.all() == [("stable", canary)]


def test_an_unloaded_model_keeps_its_name(tmp_path: Path) -> None:
    live = _live(tmp_path)
    engine = live.engine
    live.unload()
    live.unload()
    assert isinstance(engine, SimulatedEngine)
    assert engine.closed
    assert (live.engine, live.name, live.version) == (None, "session", "1.2.0")


def test_a_model_is_alive_when_its_engine_answers_zeros(tmp_path: Path) -> None:
    live = _live(tmp_path)
    assert live.answers()
    assert isinstance(live.engine, SimulatedEngine)
    live.engine.failing = "out of memory"
    assert not live.answers()
    live.unload()
    assert live.answers()
