from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping

import pytest

from edgepack.hub.access.credentials import Bearer
from edgepack.hub.access.roles import Role
from edgepack.hub.web.looking_up import Lookups


class _Store:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[list[str]] = []

    def find_all(self, tokens: Collection[str]) -> Mapping[str, Bearer]:
        self.asked.append(list(tokens))
        self.go.wait(30)
        if "broken" in tokens:
            raise OSError("away")
        return {token: Bearer(1, Role.READER, device=token) for token in tokens if token != "bad"}


def _find(store: _Store, first: str, *rest: str) -> list[Bearer | BaseException | None]:
    async def run() -> list[Bearer | BaseException | None]:
        lookups = Lookups(store.find_all)
        tasks = [asyncio.create_task(lookups.find(first))]
        while not store.asked:
            await asyncio.sleep(0)
        tasks += [asyncio.create_task(lookups.find(token)) for token in rest]
        await asyncio.sleep(0)
        store.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(run())


def test_those_that_come_during_a_question_share_the_next_one() -> None:
    store = _Store()
    found = _find(store, "a", "b", "bad", "b")
    assert store.asked == [["a"], ["b", "bad"]]
    names = [each.device if isinstance(each, Bearer) else each for each in found]
    assert names == ["a", "b", None, "b"]


def test_a_token_that_is_asked_for_already_is_asked_for_again_by_who_comes_later() -> None:
    store = _Store()
    _find(store, "a", "a")
    assert store.asked == [["a"], ["a"]]


def test_a_question_takes_so_many_tokens_and_no_more() -> None:
    store = _Store()
    _find(store, "a", *(f"t{i}" for i in range(300)))
    assert [len(each) for each in store.asked] == [1, 256, 44]


def test_a_database_that_is_away_is_told_to_those_that_asked_it_only() -> None:
    store = _Store()
    first, broken, also = _find(store, "a", "broken", "b")
    assert isinstance(first, Bearer)
    assert isinstance(broken, OSError)
    assert isinstance(also, OSError)


def test_one_that_hangs_up_does_not_keep_the_others_waiting() -> None:
    store = _Store()
    store.go.set()

    async def run() -> Bearer | None:
        lookups = Lookups(store.find_all)
        gone, there = (asyncio.create_task(lookups.find(token)) for token in ("a", "b"))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await there

    found = asyncio.run(run())
    assert found is not None
    assert found.device == "b"
