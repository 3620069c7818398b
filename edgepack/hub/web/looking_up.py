"""Looks tokens up together that are shown together: one question to the database for all of them.

It is not aware of HTTP or of what a token is good for. Used by `gate`; for the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Final

from fastapi.concurrency import run_in_threadpool

from edgepack.hub.access.credentials import Bearer

#: Of one question; SQLite takes some thousands.
_MOST_TOKENS: Final = 256


class Lookups:
    """Asks for the bearers of tokens, one question at a time.

    A token that comes while a question is on its way is part of the next one, so that nobody is
    let in by an answer from before he came.
    """

    def __init__(self, find_all: Callable[[Collection[str]], Mapping[str, Bearer]]) -> None:
        """Makes it.

        Args:
            find_all: Asks the database; called in another thread.
        """
        self._find_all = find_all
        self._wanted: list[tuple[str, asyncio.Future[Bearer | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def find(self, token: str) -> Bearer | None:
        """Finds who bears a token.

        Returns:
            The bearer; None for a token that is not good.

        Raises:
            Exception: The database's, where it does not answer.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Bearer | None] = loop.create_future()
        self._wanted.append((token, found))
        if self._asking is None:
            self._asking = loop.create_task(self._ask())
        return await found

    async def _ask(self) -> None:
        try:
            while self._wanted:
                asked, self._wanted = self._wanted[:_MOST_TOKENS], self._wanted[_MOST_TOKENS:]
                await self._answer(asked)
        finally:
            self._asking = None

    async def _answer(self, asked: list[tuple[str, asyncio.Future[Bearer | None]]]) -> None:
        tokens = dict.fromkeys(token for token, _ in asked)
        try:
            bearers = await run_in_threadpool(self._find_all, tokens.keys())
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            for _, found in asked:
                if not found.done():
                    found.set_exception(error)
            return
        for token, found in asked:
            # One that has hung up is not told.
            if not found.done():
                found.set_result(bearers.get(token))
