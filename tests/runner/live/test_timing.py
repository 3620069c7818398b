from __future__ import annotations

import io
from pathlib import Path

import pytest

from edgepack.formats.errors import DeviceError
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.live.timing import WHILE_SERVING, measure_again
from edgepack.runner.log import Log
from edgepack.runner.rows import CallSizes
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release

_MS = 1_000_000


def _on_card(directory: Path, clock: HandClock) -> tuple[LiveModel, SimulatedEngine]:
    engine = SimulatedEngine(batched=True, clock=clock, call_ns=10_000, row_ns=1000)
    engine.batch_sizes = (1, 4, 8)
    release = simulated_release(directory, max_batch=8)
    return open_live_model(release, lambda _: engine, clock, Log(io.StringIO(), clock)), engine


def test_after_a_fallback_times_and_rows_are_the_cpus(tmp_path: Path) -> None:
    clock = HandClock()
    live, engine = _on_card(tmp_path, clock)
    assert (live.outdated, live.sizes.only) == (False, (1, 4, 8))
    assert live.signature.sizes == live.sizes
    engine.fall_back(call_ns=3 * _MS, row_ns=_MS)
    measure_again(live, clock)
    # On the CPU nothing is filled up.
    assert (live.outdated, live.sizes) == (False, CallSizes(8))
    assert live.signature.sizes == live.sizes
    assert [live.expected_ns(rows) for rows in (1, 2, 8)] == [4 * _MS, 5 * _MS, 11 * _MS]


def test_a_slow_cpu_holds_requests_up_for_little_longer_than_allowed(tmp_path: Path) -> None:
    clock = HandClock()
    live, engine = _on_card(tmp_path, clock)
    engine.fall_back(call_ns=0, row_ns=300 * _MS)
    begin_ns = clock.now_ns
    measure_again(live, clock)
    # One call of one row and one of two, though each is longer than the limit.
    assert clock.now_ns - begin_ns == 900 * _MS > WHILE_SERVING.limit_ns
    assert live.expected_ns(1) == 300 * _MS
    assert live.expected_ns(8) == 2400 * _MS


def test_a_cpu_that_fails_too_is_measured_once_and_the_times_stay(tmp_path: Path) -> None:
    clock = HandClock()
    live, engine = _on_card(tmp_path, clock)
    before = live.median_ns
    engine.fall_back(call_ns=_MS)
    engine.failing = "out of memory"
    with pytest.raises(DeviceError, match="out of memory"):
        measure_again(live, clock)
    assert (live.outdated, live.median_ns) == (False, before)


def test_a_model_that_was_unloaded_meanwhile_is_left_alone(tmp_path: Path) -> None:
    clock = HandClock()
    live, engine = _on_card(tmp_path, clock)
    engine.fall_back(call_ns=_MS)
    live.unload()
    calls = engine.calls
    measure_again(live, clock)
    assert (live.outdated, engine.calls) == (False, calls)
