"""A made-up shop, for trying things out without data.

Synthetic: no real customer, item or purchase is in it, and no figure measured on it says
anything about a real shop. Not aware of files or models. May be imported by `edgepack.build`
and `edgepack.cli`.

What a sequence model can find in it, strongest first: items have a few usual successors (a
Markov chain); a session has a style and keeps to items of that style (which the last item tells
less well than all of them); the item before the last one has successors too; categories are
visited for a while; popularity is skewed; the rest is noise.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from random import Random

import numpy as np

from edgepack.build.data.interactions import Interactions

_CATEGORIES = 20
_STYLES = 3
_SUCCESSORS = 12
# Cumulative shares in percent of what decides the next event; the rest is noise.
_SUCCESSOR, _BEFORE_LAST, _CATEGORY = 60, 78, 90
_MAX_EVENTS = 40


@dataclass(frozen=True, slots=True)
class SyntheticShop:
    """How large a shop is generated.

    Attributes:
        sessions: Number of sessions.
        items: Number of items, at least 40.
        seed: The same seed gives the same shop on every machine.
    """

    sessions: int = 8_000
    items: int = 500
    seed: int = 20_260

    def to_key(self) -> dict[str, int]:
        """All that decides what is generated, for a cache key."""
        return {"sessions": self.sessions, "items": self.items, "seed": self.seed}


def generate_interactions(shop: SyntheticShop) -> Interactions:
    """Generates the shop's log.

    Only `random.Random.random()` is drawn from, which Python keeps the same for a seed, and
    weights are integers, so no platform's exp or pow decides anything.

    Args:
        shop: Its size and seed.
    """
    world = _World(shop)
    sessions: list[int] = []
    items: list[int] = []
    for number in range(shop.sessions):
        events = world.session()
        sessions.extend([number] * len(events))
        items.extend(events)
    return Interactions(
        sessions=np.array(sessions, dtype=np.int32),
        items=np.array(items, dtype=np.int32),
        item_ids=tuple(f"sku-{number:05d}" for number in range(1, shop.items + 1)),
        session_count=shop.sessions,
        rows_read=len(items),
        dropped={},
        source="a synthetic shop",
    )


class _World:
    """The shop's hidden structure, and the source of chance."""

    def __init__(self, shop: SyntheticShop) -> None:
        self._random = Random(shop.seed)  # noqa: S311 - a sample shop, no secret
        self._count = shop.items
        shuffled = sorted(range(shop.items), key=lambda _: self._random.random())
        self._categories = [shuffled[c::_CATEGORIES] for c in range(_CATEGORIES)]
        self._category_of = [0] * shop.items
        for category, members in enumerate(self._categories):
            for item in members:
                self._category_of[item] = category
        self._successors = [self._usual_successors(item) for item in range(shop.items)]

    def session(self) -> list[int]:
        """One session's items: at least two events, on average nine."""
        style = self._below(_STYLES)
        events = [self._popular(self._popular_category())]
        while len(events) < _MAX_EVENTS and (len(events) < 2 or self._below(100) < 88):  # noqa: PLR2004
            events.append(self._following(events, style))
        return events

    def _following(self, events: list[int], style: int) -> int:
        kind = self._below(100)
        last = events[-1]
        if kind < _SUCCESSOR:
            return self._skewed(_of_style(self._successors[last], style))
        if kind < _BEFORE_LAST and len(events) > 1:
            return self._skewed(_of_style(self._successors[events[-2]], style))
        if kind < _CATEGORY:
            category = self._categories[self._category_of[last]]
            return self._skewed(_of_style(category, style))
        return self._popular(self._popular_category())

    def _usual_successors(self, item: int) -> list[int]:
        own = self._category_of[item]
        chosen: list[int] = []
        while len(chosen) < _SUCCESSORS:
            category = own if self._below(100) < 70 else self._below(_CATEGORIES)  # noqa: PLR2004
            candidate = self._categories[category][self._below(len(self._categories[category]))]
            if candidate != item and candidate not in chosen:
                chosen.append(candidate)
        return chosen

    def _popular_category(self) -> int:
        return self._skewed(list(range(_CATEGORIES)))

    def _popular(self, category: int) -> int:
        return self._skewed(self._categories[category])

    def _skewed(self, choices: list[int]) -> int:
        """One of some choices, the first most often: weights fall as 1 / (place + 2)."""
        bounds = list(accumulate(1_000_000 // (place + 2) for place in range(len(choices))))
        return choices[bisect(bounds, self._below(bounds[-1]))]

    def _below(self, limit: int) -> int:
        return int(self._random.random() * limit)


def _of_style(items: list[int], style: int) -> list[int]:
    """The items of a style; all of them where there is none."""
    return [item for item in items if item % _STYLES == style] or items
