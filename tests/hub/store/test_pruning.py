from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.keeping import Pruned, Retention
from edgepack.hub.store.pruning import Pruner, Told
from tests.hub.stores import DAY_MS, NOW_MS, Filler

_DAY_S = 86_400.0


class HandStop:
    """An end that comes after so many waits."""

    def __init__(self, most_waits: int) -> None:
        self.waited: list[float] = []
        self._left = most_waits
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float) -> bool:
        self.waited.append(timeout)
        self._left -= 1
        self._set = self._set or self._left < 0
        return self._set


class Heard:
    """Keeps what a pruner tells."""

    def __init__(self) -> None:
        self.pruned: list[Pruned] = []
        self.failed: list[Exception] = []
        self.told = Told(pruned=self.pruned.append, failed=self.failed.append)


def _fill(store: Engine, reports: int) -> None:
    fill = Filler(store)
    setup = fill.setup(fill.release())
    for _ in range(reports):
        fill.report(fill.device(), setup, created_ms=NOW_MS - 181 * DAY_MS)
    fill.connect().close()
    fill.close()


def _pruner(store: Engine, heard: Heard, stop: HandStop, every_s: float = _DAY_S) -> Pruner:
    return Pruner(store, Retention(), every_s, lambda: NOW_MS, told=heard.told, stop=stop)


def test_a_store_that_does_not_answer_is_told_and_tried_again(tmp_path: Path) -> None:
    heard, stop = Heard(), HandStop(3)
    # Without tables.
    engine = open_engine(tmp_path / "hub.db")
    _pruner(engine, heard, stop).run()
    engine.dispose()
    assert len(heard.failed) == 3
    assert heard.pruned == []
    assert stop.waited[1:] == [_DAY_S] * 3


def test_the_first_turn_comes_within_a_minute_and_the_next_when_it_is_time(store: Engine) -> None:
    _fill(store, 2)
    heard, stop = Heard(), HandStop(20)
    _pruner(store, heard, stop).run()
    assert heard.failed == []
    assert heard.pruned[:2] == [Pruned(documents=2, reports=2), Pruned()]
    assert stop.waited[0] == 60
    assert stop.waited.count(_DAY_S) == len(heard.pruned)
    often = HandStop(0)
    _pruner(store, heard, often, every_s=5.0).run()
    assert often.waited == [5.0]


def test_others_get_a_turn_between_two_transactions(store: Engine) -> None:
    _fill(store, 3)
    heard, stop = Heard(), HandStop(30)
    _pruner(store, heard, stop).run()
    between = stop.waited[1 : stop.waited.index(_DAY_S)]
    assert len(between) >= 4
    assert all(0 < each < 1 for each in between)


def test_the_end_comes_between_two_transactions(store: Engine) -> None:
    _fill(store, 3)
    heard, stop = Heard(), HandStop(2)
    _pruner(store, heard, stop).run()
    assert heard.pruned == [Pruned(documents=3, reports=1)]


def test_the_thread_starts_and_ends(store: Engine) -> None:
    pruner = Pruner(store, Retention(), _DAY_S, lambda: NOW_MS)
    pruner.start()
    thread = pruner._thread
    assert thread is not None
    pruner.stop()
    assert not thread.is_alive()
