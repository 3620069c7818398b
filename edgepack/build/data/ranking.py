"""Ranking metrics over the whole catalogue, seen items kept.

Not aware of models or files. May be imported by `edgepack.build`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The cut of HR@10 and NDCG@10.
CUT = 10


@dataclass(frozen=True, slots=True)
class RankingMetrics:
    """Means over questions with one right answer each.

    Attributes:
        hr: HR@10, share of questions with the answer among the first ten, 0..1.
        ndcg: NDCG@10, 1 / log2(1 + rank) within the first ten, else 0.
        mrr: Mean of 1 / rank over the whole catalogue, without a cut.
        questions: How many were asked.
    """

    hr: float
    ndcg: float
    mrr: float
    questions: int

    def to_json(self) -> dict[str, float | int]:
        """The metrics rounded to six digits, for `training.json`."""
        return {
            "hr": round(self.hr, 6),
            "ndcg": round(self.ndcg, 6),
            "mrr": round(self.mrr, 6),
            "questions": self.questions,
        }


def target_ranks(scores: NDArray[np.float32], targets: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rank of each target among all items, 1 is best.

    Equal scores rank by index, so by popularity: the lower index first. The same rule as a
    stable top-k, and no luck is involved.

    Args:
        scores: float32[n, catalogue + 1]; column 0 (padding) takes no part.
        targets: int32[n], 1..catalogue.

    Returns:
        int64[n].
    """
    own = scores[np.arange(len(targets)), targets][:, None]
    items = scores[:, 1:]
    before = np.arange(1, scores.shape[1]) < targets[:, None]
    # Asked this way round, a target without a score (NaN) ranks last and not first.
    worse = (items < own) | ((items == own) & ~before)
    ranks: NDArray[np.int64] = (~worse).sum(axis=1).astype(np.int64) + 1
    return ranks


def metrics_of_ranks(ranks: NDArray[np.int64]) -> RankingMetrics:
    """Averages over questions.

    Args:
        ranks: int64[n], rank of each question's answer.

    Source: NDCG with one relevant item, Järvelin and Kekäläinen 2002 (ideal DCG is 1).
    """
    hit = ranks <= CUT
    gain = np.where(hit, 1.0 / np.log2(ranks + 1.0), 0.0)
    return RankingMetrics(
        hr=float(hit.mean()),
        ndcg=float(gain.mean()),
        mrr=float((1.0 / ranks).mean()),
        questions=len(ranks),
    )
