from __future__ import annotations

import io
from pathlib import Path

import pytest

from edgepack.formats.errors import ConfigError, QualityError
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.log import Log
from edgepack.runner.rows import CallSizes
from tests.runner.simulators import HandClock, SimulatedEngine, simulated_release


def _open(
    directory: Path,
    engine: SimulatedEngine,
    clock: HandClock,
    *,
    max_batch: int = 1,
    batch_size: int | None = None,
) -> LiveModel:
    release = simulated_release(directory, max_batch=max_batch)
    log = Log(io.StringIO(), clock)
    return open_live_model(release, lambda _: engine, clock, log, batch_size=batch_size)


def _batched(clock: HandClock, row_ns: int = 1000) -> SimulatedEngine:
    return SimulatedEngine(batched=True, clock=clock, call_ns=10_000, row_ns=row_ns)


def test_what_calls_of_several_rows_take_is_learnt_before_it_serves(tmp_path: Path) -> None:
    clock = HandClock()
    live = _open(tmp_path, _batched(clock), clock, max_batch=16)
    assert live.sizes == CallSizes(16)
    assert list(live.call_ns) == [(2, 12_000), (4, 14_000), (8, 18_000), (16, 26_000)]
    assert [live.expected_ns(rows) for rows in (1, 3, 12, 16)] == [11_000, 13_000, 22_000, 26_000]
    # More rows than one call takes are several calls.
    assert live.expected_ns(33) == 26_000 + 26_000 + 11_000


def test_a_call_that_is_filled_up_takes_as_long_as_a_full_one(tmp_path: Path) -> None:
    clock = HandClock()
    engine = _batched(clock)
    engine.batch_sizes = (1, 4, 8)
    live = _open(tmp_path, engine, clock, max_batch=8)
    assert list(live.call_ns) == [(4, 14_000), (8, 18_000)]
    assert live.expected_ns(2) == live.expected_ns(4) == 14_000


def test_a_slow_model_is_not_measured_for_ever(tmp_path: Path) -> None:
    clock = HandClock()
    live = _open(tmp_path, _batched(clock, row_ns=100_000_000), clock, max_batch=64)
    measured = [rows for rows, _ in live.call_ns]
    assert 2 in measured
    assert 64 not in measured
    # Beyond what was measured a row is as dear as the last ones.
    assert live.expected_ns(64) == pytest.approx(6.4e9, rel=0.01)


def test_a_model_with_a_batch_of_one_is_called_as_it_always_was(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    live = _open(tmp_path, engine, HandClock())
    assert (live.sizes, live.call_ns) == (CallSizes(1), ())
    assert set(engine.called) == {1}


def test_the_box_may_take_fewer_rows_than_the_model_was_built_for(tmp_path: Path) -> None:
    clock = HandClock()
    assert _open(tmp_path, _batched(clock), clock, max_batch=16, batch_size=4).sizes.most == 4
    one = _open(tmp_path, _batched(clock), clock, max_batch=16, batch_size=1)
    assert (one.sizes.most, one.call_ns) == (1, ())


@pytest.mark.parametrize(
    ("max_batch", "batch_size", "words"),
    [
        (8, 9, "got 9, but onnx-fp32 takes at most 8 rows in one call"),
        (1, 2, "built without a batch dimension"),
    ],
)
def test_more_rows_than_the_model_takes_are_refused(
    tmp_path: Path, max_batch: int, batch_size: int, words: str
) -> None:
    clock = HandClock()
    engine = SimulatedEngine(batched=max_batch > 1)
    with pytest.raises(ConfigError, match="batch_size") as caught:
        _open(tmp_path, engine, clock, max_batch=max_batch, batch_size=batch_size)
    assert words.replace("onnx-fp32", "tflite-dynamic-int8") in caught.value.message
    assert "max_batch" in (caught.value.hint or "")


def test_a_model_that_mixes_rows_is_not_served_and_its_engine_closed(tmp_path: Path) -> None:
    clock = HandClock()
    engine = _batched(clock)
    engine.mixes = True
    with pytest.raises(QualityError, match="answers wrongly on this box"):
        _open(tmp_path, engine, clock, max_batch=8)
    assert engine.closed
