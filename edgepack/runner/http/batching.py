"""Decides which of the waiting jobs go into one call of the engine, and how long to wait for more.

A pure function of the queue and the time. It is not aware of threads or of what jobs do. Used by
`model_thread`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Waiting(Protocol):
    """A job in the queue."""

    @property
    def group(self) -> Hashable | None:
        """Jobs of one group may share a call; None shares with nobody."""
        ...

    @property
    def rows(self) -> int:
        """Rows it brings, at least 1."""
        ...

    @property
    def queued_ns(self) -> int:
        """When it came."""
        ...

    @property
    def due_ns(self) -> int | None:
        """When its answer must be there; None: whenever."""
        ...


@dataclass(frozen=True, slots=True)
class Rules:
    """How calls are put together.

    Attributes:
        most_rows: The most rows of one call.
        delay_ns: How long the first in the queue may be held back for others to come.
        expected_ns: How long a call with so many rows takes.
    """

    most_rows: int
    delay_ns: int
    expected_ns: Callable[[int], float]


class Choice(NamedTuple):
    """What is to be done now.

    Attributes:
        taken: Places in the queue, ascending from 0: the first in the queue is always among them.
        wait_until_ns: Look again at this time or when another job comes; None: run them now.
    """

    taken: tuple[int, ...]
    wait_until_ns: int | None = None


_FIRST_ALONE = Choice((0,))


def choose(queue: Sequence[Waiting], rules: Rules, now_ns: int) -> Choice:
    """Chooses the next call.

    The first in the queue goes, and takes along those of its group for which there is room, in
    the order they came. Who comes along makes nobody late who would be in time otherwise. Jobs
    whose time is over take no room.

    Args:
        queue: Not empty, in the order of arrival.
        rules: How calls are put together.
        now_ns: The time.

    Returns:
        The jobs of the next call. It waits only while nobody else's turn is held up, and no
        longer than the earliest deadline among them allows.
    """
    first = queue[0]
    rows, due_ns = first.rows, first.due_ns
    if first.group is None or rows >= rules.most_rows or _is_over(due_ns, now_ns):
        return _FIRST_ALONE
    taken, others = [0], False
    for place in range(1, len(queue)):
        each = queue[place]
        if _is_over(each.due_ns, now_ns):
            continue
        whole = rows + each.rows
        fits = each.group == first.group and whole <= rules.most_rows
        if not fits or _makes_late(rules, now_ns, due_ns, rows, whole):
            others = True
        else:
            taken.append(place)
            rows, due_ns = whole, _earlier(due_ns, each.due_ns)
    if not rules.delay_ns or others or rows >= rules.most_rows:
        return Choice(tuple(taken))
    until_ns = first.queued_ns + rules.delay_ns
    if due_ns is not None:
        until_ns = min(until_ns, int(due_ns - rules.expected_ns(rows)))
    return Choice(tuple(taken), until_ns if until_ns > now_ns else None)


def _is_over(due_ns: int | None, now_ns: int) -> bool:
    return due_ns is not None and due_ns <= now_ns


def _makes_late(rules: Rules, now_ns: int, due_ns: int | None, rows: int, whole: int) -> bool:
    if due_ns is None:
        return False
    in_time = now_ns + rules.expected_ns(rows) <= due_ns
    return in_time and now_ns + rules.expected_ns(whole) > due_ns


def _earlier(one_ns: int | None, other_ns: int | None) -> int | None:
    if one_ns is None or other_ns is None:
        return other_ns if one_ns is None else one_ns
    return min(one_ns, other_ns)
