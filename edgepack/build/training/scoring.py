"""Asks a model: scores, ranks of right answers, metrics on validation targets.

Not aware of how it is trained or saved. TensorFlow is imported on use. May be imported by
`edgepack.build.training` and `benchmarks`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgepack.build.data.ranking import RankingMetrics, metrics_of_ranks, target_ranks
from edgepack.build.data.sequences import Sequences, batches
from edgepack.build.models.ranker import Ranker
from edgepack.build.projects.project import Project
from edgepack.build.training.examples import IntArray

# Histories scored at a time: 256 x 100,000 items are 100 MB of float32.
SCORED_AT_ONCE = 256
# Sessions asked after each epoch: NDCG@10 of 5,000 has a standard error of about 0.005.
_VALIDATION_SESSIONS = 5_000


class Scorer:
    """Scores of the inference model, compiled once for one shape."""

    def __init__(self, ranker: Ranker) -> None:
        import tensorflow as tf

        self._ranker = ranker
        self._graph = tf.function(
            lambda history: ranker.inference(history, training=False), reduce_retracing=True
        )

    def scores(self, history: IntArray) -> NDArray[np.float32]:
        """Scores of some histories.

        Args:
            history: int32[n, L], n at most `SCORED_AT_ONCE`.

        Returns:
            float32[n, catalogue + 1].
        """
        padded = np.pad(history, ((0, SCORED_AT_ONCE - len(history)), (0, 0)))
        return np.asarray(self._graph(padded))[: len(history)]

    def ranks(self, history: IntArray, targets: IntArray) -> NDArray[np.int64]:
        """Rank of each target among all items.

        Args:
            history: int32[n, L].
            targets: int32[n].

        Returns:
            int64[n], 1 is best.
        """
        return np.concatenate(
            [
                target_ranks(self.scores(history[rows]), targets[rows])
                for rows in batches(len(targets), SCORED_AT_ONCE)
            ]
        )


class Validation:
    """Full-ranking metrics on the validation targets of up to 5,000 sessions."""

    def __init__(self, ranker: Ranker, sequences: Sequences, project: Project) -> None:
        random = np.random.default_rng(project.training.seed)
        chosen = random.permutation(len(sequences))[:_VALIDATION_SESSIONS]
        self._history, self._targets = sequences.histories(
            2, project.sequence_length, np.sort(chosen)
        )
        self._ranker = ranker
        self._scorer = Scorer(ranker)

    def measure(self) -> RankingMetrics:
        """Metrics of the weights as they are now."""
        self._ranker.finish()
        return metrics_of_ranks(self._scorer.ranks(self._history, self._targets))
