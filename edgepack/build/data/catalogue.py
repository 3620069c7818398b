"""A catalogue cut down to its popular items, and what is asked of a model that knows only those.

Not aware of models or training. May be imported by `edgepack.build`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.sequences import MIN_EVENTS, Sequences, gather
from edgepack.formats.errors import ConfigError
from edgepack.formats.vocabulary import Vocabulary

#: What one item or less leaves is no catalogue.
_FEWEST_ITEMS = 2


def popular_enough(sequences: Sequences, share: float) -> int:
    """How many of the most popular items make up a share of all events but the test's targets.

    Args:
        sequences: All sequences; their vocabulary begins with the most popular item.
        share: Of the events, 0..1.

    Returns:
        The fewest that do, 2 or more.
    """
    events = np.cumsum(sequences.counts(1))
    fewest = int(np.searchsorted(events, share * events[-1], side="left"))
    return min(max(fewest, _FEWEST_ITEMS), len(sequences.vocabulary))


def keep_popular(sequences: Sequences, count: int) -> Sequences:
    """Leaves every other item's events out, and the sessions that are too short then.

    Args:
        sequences: All sequences.
        count: Items to keep, the most popular ones.

    Returns:
        Sequences over a vocabulary of `count` items, in which an item has the index it had.

    Raises:
        ConfigError: No session is long enough then.
    """
    items, offsets = _known(sequences, count)
    lengths = np.diff(offsets)
    long = lengths >= MIN_EVENTS
    if not long.any():
        raise ConfigError(
            f"[optimise.catalogue] keeps {count} of {len(sequences.vocabulary)} items, and none "
            f"of {len(sequences)} sessions has {MIN_EVENTS} events of these",
            hint="raise events: a larger share of the events keeps more items",
        )
    return Sequences(
        items=items[np.repeat(long, lengths)],
        offsets=np.concatenate(([0], np.cumsum(lengths[long]))).astype(np.int64),
        vocabulary=Vocabulary(sequences.vocabulary.items[:count]),
        short_sessions=sequences.short_sessions + int((~long).sum()),
        short_events=sequences.short_events + int(lengths[~long].sum()),
    )


@dataclass(frozen=True, slots=True)
class Questions:
    """The test of a model that may not know every item, the same for every size of catalogue.

    Attributes:
        history: int32[n, L], the most recent items that it knows, left-padded with 0.
        targets: int32[n]; 0 for one that it does not know.
        items: Of the whole catalogue; an answer that the model cannot name has the last rank.
    """

    history: NDArray[np.int32]
    targets: NDArray[np.int32]
    items: int

    def ranks(
        self, ask: Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.int64]]
    ) -> NDArray[np.int64]:
        """Rank of each right answer, as a box would give it.

        A history in which the model knows nothing is answered with the popular items.

        Args:
            ask: Gives the ranks of int32[m] known targets after int32[m, L] histories that are
                not empty.

        Returns:
            int64[n], 1 is best.
        """
        known = self.targets > 0
        empty = ~(self.history > 0).any(axis=1)
        ranks = np.where(known, self.targets, self.items).astype(np.int64)
        asked = known & ~empty
        if asked.any():
            ranks[asked] = ask(self.history[asked], self.targets[asked])
        return ranks


def ask_all(sequences: Sequences, count: int, length: int) -> Questions:
    """Asks for the last event of every sequence.

    Args:
        sequences: All sequences, with the whole catalogue.
        count: Items that the model knows, the most popular ones.
        length: Items in a history, L.
    """
    items, offsets = _known(sequences, count)
    last = sequences.items[sequences.offsets[1:] - 1]
    targets = np.where(last <= count, last, 0).astype(np.int32)
    history = gather(items, offsets[:-1], offsets[1:] - (targets > 0), length)
    return Questions(history, targets, len(sequences.vocabulary))


def _known(sequences: Sequences, count: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Events of the most popular items, and where each sequence's begin."""
    known = sequences.items <= count
    before = np.concatenate(([0], np.cumsum(known))).astype(np.int64)
    return sequences.items[known], before[sequences.offsets]
