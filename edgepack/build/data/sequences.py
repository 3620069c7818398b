"""Sequences of one session each, the vocabulary over them, and the leave-one-out split.

Not aware of files, models or training. May be imported by `edgepack.build` and `edgepack.cli`.

Sessions of fewer than three events are left out. The vocabulary holds every item of the kept
sessions, ordered by its number of events (most first), then by id: index 1 is the most popular
item. Of each sequence the last event is the test target, the one before it the validation
target. Whoever is tested may have learnt from everything but the last event, and is asked with
everything but the last event as history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.interactions import Interactions
from edgepack.formats.errors import ConfigError
from edgepack.formats.vocabulary import Vocabulary

# Fewest events that leave one to learn from, one to validate on and one to test on.
MIN_EVENTS = 3


@dataclass(frozen=True, slots=True)
class Sequences:
    """Sequences laid end to end.

    Attributes:
        items: int32[events], indices 1..catalogue of the vocabulary.
        offsets: int64[sequences + 1]; sequence i is `items[offsets[i]:offsets[i + 1]]`.
        vocabulary: External id of each index.
        short_sessions: Sessions left out because they had fewer than `MIN_EVENTS` events.
        short_events: Their events.
    """

    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    vocabulary: Vocabulary
    short_sessions: int
    short_events: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64[sequences], events in each sequence."""
        return np.diff(self.offsets)

    def counts(self, held_out: int) -> NDArray[np.int64]:
        """Events of each item, without the last `held_out` of each sequence.

        Args:
            held_out: 0, 1 (no test targets) or 2 (nor validation targets).

        Returns:
            int64[catalogue + 1], index 0 (padding) is 0.
        """
        kept = self.items[self.known(held_out)]
        return np.bincount(kept, minlength=len(self.vocabulary) + 1).astype(np.int64)

    def known(self, held_out: int) -> NDArray[np.bool_]:
        """Which events are left when the last `held_out` of each sequence are hidden.

        Args:
            held_out: How many events at the end of each sequence to hide.

        Returns:
            bool[events].
        """
        keep = np.ones(len(self.items), dtype=np.bool_)
        for back in range(1, held_out + 1):
            keep[self.offsets[1:] - back] = False
        return keep

    def histories(
        self, held_out: int, length: int, rows: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """What is asked, and the right answer.

        Args:
            held_out: 1 asks for the test targets, 2 for the validation targets.
            length: Items in a history, the most recent ones.
            rows: int64[n], which sequences; None for all.

        Returns:
            int32[n, length], left-padded with 0, and int32[n] targets.
        """
        chosen = np.arange(len(self)) if rows is None else rows
        ends = self.offsets[1:][chosen] - held_out
        history = gather(self.items, self.offsets[:-1][chosen], ends, length)
        return history, self.items[ends]


def gather(
    items: NDArray[np.int32], starts: NDArray[np.int64], ends: NDArray[np.int64], length: int
) -> NDArray[np.int32]:
    """The last `length` items before each end, never from before its start.

    Args:
        items: int32[events].
        starts: int64[n], first event that belongs to the row.
        ends: int64[n], one past the last event of the row.
        length: Items in a row.

    Returns:
        int32[n, length], left-padded with 0.
    """
    places = ends[:, None] - np.arange(length, 0, -1)
    inside = places >= starts[:, None]
    return np.where(inside, items[np.maximum(places, 0)], 0).astype(np.int32)


def make_sequences(interactions: Interactions) -> Sequences:
    """Groups sorted events into sequences and builds the vocabulary.

    Args:
        interactions: Events sorted by session and order.

    Raises:
        ConfigError: No session has three events, or the ones that have hold a single item.
    """
    lengths = np.bincount(interactions.sessions, minlength=interactions.session_count)
    keep = lengths >= MIN_EVENTS
    if not keep.any():
        longest = int(lengths.max(initial=0))
        raise ConfigError(
            f"{interactions.source}: none of {interactions.session_count} sessions has "
            f"{MIN_EVENTS} events or more (the longest has {longest})",
            hint="is the session column right? Sessions need events to learn from and to test on",
        )
    kept = interactions.items[keep[interactions.sessions]]
    counts = np.bincount(kept, minlength=len(interactions.item_ids))
    ids = interactions.item_ids
    ranked = sorted(np.flatnonzero(counts).tolist(), key=lambda i: (-int(counts[i]), ids[i]))
    if len(ranked) < 2:  # noqa: PLR2004 - with one item there is nothing to rank
        raise ConfigError(
            f"{interactions.source}: the sessions of {MIN_EVENTS} events or more hold only the "
            f"item '{ids[ranked[0]]}'; at least 2 are needed",
            hint="check the item column",
        )
    index = np.zeros(len(ids), dtype=np.int32)
    index[ranked] = np.arange(1, len(ranked) + 1, dtype=np.int32)
    return Sequences(
        items=index[kept],
        offsets=np.concatenate(([0], np.cumsum(lengths[keep]))).astype(np.int64),
        vocabulary=Vocabulary(tuple(ids[i] for i in ranked)),
        short_sessions=int((~keep).sum()),
        short_events=int(lengths[~keep].sum()),
    )


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices that cover `count` rows, `size` at a time.

    Args:
        count: Rows in all.
        size: Rows in a slice, the last may be shorter.
    """
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
