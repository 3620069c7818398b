from __future__ import annotations

import io
from pathlib import Path

from edgepack.formats.options import EngineOptions
from edgepack.runner.choice.settling import Settled
from edgepack.runner.daemon.models import open_as
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.log import Log
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release


def _live(folder: Path) -> tuple[LiveModel, SimulatedEngine]:
    clock, engine = HandClock(), SimulatedEngine()
    log = Log(io.StringIO(), clock)
    return open_live_model(simulated_release(folder), lambda _: engine, clock, log), engine


def test_a_release_that_is_open_as_it_would_be_opened_is_kept(tmp_path: Path) -> None:
    live, _ = _live(tmp_path)
    same = Settled(live.release, EngineOptions(), "as before")
    assert open_as(same, [live]) is live
    for other in (EngineOptions(2), EngineOptions(spinning=True), EngineOptions(io_binding=True)):
        assert open_as(Settled(live.release, other, "chosen"), [live]) is None


def test_a_reload_tries_a_gpu_again_that_had_failed(tmp_path: Path) -> None:
    live, engine = _live(tmp_path)
    engine.fallback = "CUDAExecutionProvider failed while it ran: out of memory"
    assert open_as(Settled(live.release, EngineOptions(), "as before"), [live]) is None
