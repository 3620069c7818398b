from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from edgepack.hub.store.keeping import Pruned, Retention, prune
from edgepack.hub.store.schema import document, history, report, standing
from tests.hub.stores import DAY_MS, NOW_MS, Filler

_TODAY = NOW_MS // DAY_MS


def _count(store: Engine, table: Any) -> int:
    with store.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _old(store: Engine, days: int, *, boxes: int = 1) -> None:
    """Adds a report of so many days ago for each of so many boxes."""
    fill = Filler(store)
    setup, context = fill.setup(fill.release()), fill.context()
    for _ in range(boxes):
        key = fill.report(fill.device(), setup, created_ms=NOW_MS - days * DAY_MS)
        fill.run(key, context)
    fill.connect().close()
    fill.close()


@pytest.mark.parametrize(
    ("retention", "words"),
    [
        (Retention(documents=200, reports=180), "--documents at most --reports"),
        (Retention(reports=500, history=400), "--reports, and that at most --history"),
        (Retention(reports=180, standings=100), "--standings to be no less than --reports"),
    ],
)
def test_what_is_made_of_something_is_kept_as_long(retention: Retention, words: str) -> None:
    assert words in str(retention.problem())
    assert Retention().problem() is None


def test_what_is_young_stays(store: Engine) -> None:
    _old(store, 89)
    assert prune(store, Retention(), NOW_MS) == Pruned()
    assert _count(store, document) == _count(store, report) == 1


def test_a_run_on_a_release_that_the_box_has_left_goes_when_it_is_old(store: Engine) -> None:
    fill = Filler(store)
    left, here = fill.release(), fill.release("2.0.0")
    setups, context = (fill.setup(left), fill.setup(here)), fill.context()
    box, gone = fill.device(release_id=here), fill.device(release_id=None)
    for setup in setups:
        for days, trust in ((401, "trusted"), (399, "doubtful")):
            created_ms = NOW_MS - days * DAY_MS
            fill.standing(box, setup, context, 1000, created_ms=created_ms, trust=trust)
    fill.standing(gone, setups[0], context, 1000, created_ms=NOW_MS - 401 * DAY_MS)
    fill.connect().close()
    fill.close()
    assert prune(store, Retention(), NOW_MS) == Pruned(standings=2)
    with store.connect() as connection:
        kept = connection.execute(select(standing.c.setup_id, standing.c.trust)).all()
    assert sorted(map(tuple, kept)) == [
        (setups[0], "doubtful"),
        (setups[1], "doubtful"),
        (setups[1], "trusted"),
    ]
    assert prune(store, Retention(), NOW_MS) == Pruned()


def test_a_lot_goes_in_several_transactions_and_the_caller_is_asked_after_each(
    store: Engine,
) -> None:
    fill = Filler(store)
    box, setup, context = fill.device(), fill.setup(fill.release()), fill.context()
    for number in range(601):
        fill.history(box, setup, context, _TODAY - 801 - number)
    fill.history(box, setup, context, _TODAY - 799)
    fill.connect().close()
    fill.close()
    asked: list[int] = []

    def go_on() -> bool:
        asked.append(_count(store, history))
        return True

    assert prune(store, Retention(), NOW_MS, go_on=go_on) == Pruned(days=601)
    assert asked[:2] == [102, 1]
    assert _count(store, history) == 1


def test_one_that_is_cut_short_is_gone_on_with_the_next_time(store: Engine) -> None:
    _old(store, 181, boxes=3)
    assert prune(store, Retention(), NOW_MS, go_on=lambda: False) == Pruned(documents=3)
    assert _count(store, report) == 3
    assert prune(store, Retention(), NOW_MS) == Pruned(reports=3)
    assert _count(store, history) == 3


def test_what_two_do_at_once_is_done_once(store: Engine) -> None:
    _old(store, 181, boxes=5)
    others: list[Pruned] = []

    def interrupt() -> bool:
        # On PostgreSQL there is nothing for it to do: it is told that another one is at it.
        others.append(prune(store, Retention(), NOW_MS) or Pruned())
        return True

    first = prune(store, Retention(), NOW_MS, go_on=interrupt)
    assert first is not None
    assert first.reports + sum(each.reports for each in others) == 5
    with store.connect() as connection:
        days = connection.execute(select(history.c.runs)).scalars().all()
    assert days == [1] * 5
