"""What a model must beat: popularity, and a first-order Markov chain.

Not aware of neural models or files. May be imported by `edgepack.build`.

Both learn from every event but the last of each sequence, and are asked with everything but
the last event, as the model is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.ranking import RankingMetrics, metrics_of_ranks, target_ranks
from edgepack.build.data.sequences import Sequences, batches

# Rows scored at a time: 512 x 100,000 items are 200 MB of float32.
_BATCH = 512


def popularity_metrics(sequences: Sequences, held_out: int = 1) -> RankingMetrics:
    """Ranks by number of training events, whatever the history.

    Args:
        sequences: All sequences.
        held_out: 1 to test, 2 to validate.
    """
    counts = sequences.counts(held_out).astype(np.float32)
    _, targets = sequences.histories(held_out, 1)
    return metrics_of_ranks(_ranks_of_items(counts)[targets - 1])


def _ranks_of_items(counts: NDArray[np.float32]) -> NDArray[np.int64]:
    # Stable: equal counts rank by index, as in target_ranks.
    order = np.argsort(-counts[1:], kind="stable")
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def markov_metrics(sequences: Sequences, held_out: int = 1) -> RankingMetrics:
    """Ranks by how often an item followed the last one, then by popularity.

    Args:
        sequences: All sequences.
        held_out: 1 to test, 2 to validate.

    Source: the first-order item transition counts of Rendle et al. 2010, without factorising.
    """
    chain = MarkovChain(sequences, held_out)
    history, targets = sequences.histories(held_out, 1)
    last = history[:, -1]
    ranks = [
        target_ranks(chain.scores(last[rows]), targets[rows])
        for rows in batches(len(targets), _BATCH)
    ]
    return metrics_of_ranks(np.concatenate(ranks))


class MarkovChain:
    """Transition counts between neighbouring items of the training events."""

    def __init__(self, sequences: Sequences, held_out: int) -> None:
        known = sequences.known(held_out)
        starts = np.zeros(len(sequences.items) + 1, dtype=np.bool_)
        starts[sequences.offsets] = True
        pair = known[:-1] & known[1:] & ~starts[1:-1]
        size = len(sequences.vocabulary) + 1
        codes = sequences.items[:-1][pair].astype(np.int64) * size + sequences.items[1:][pair]
        unique, counts = np.unique(codes, return_counts=True)
        self._to = (unique % size).astype(np.int32)
        self._counts = counts.astype(np.float32)
        self._first = np.searchsorted(unique // size, np.arange(size + 1))
        popularity = sequences.counts(held_out).astype(np.float32)
        # Below one, so that it only decides between items with the same transition count.
        self._popularity = popularity / (popularity.max() + 1)

    def scores(self, last: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores of every item after each of some items.

        Args:
            last: int32[n], the last item of each history.

        Returns:
            float32[n, catalogue + 1].
        """
        scores = np.repeat(self._popularity[None, :], len(last), axis=0)
        for row, item in enumerate(last):
            found = slice(self._first[item], self._first[item + 1])
            scores[row, self._to[found]] += self._counts[found]
        return scores
