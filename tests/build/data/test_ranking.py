from __future__ import annotations

import numpy as np
import pytest

from edgepack.build.data.ranking import metrics_of_ranks, target_ranks


def scores_of(*rows: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.array(rows, dtype=np.float32)


def targets_of(*targets: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.array(targets, dtype=np.int32)


def test_padding_takes_no_part_however_high_its_score() -> None:
    assert target_ranks(scores_of([99, 3, 2, 1]), targets_of(1)).tolist() == [1]


def test_equal_scores_rank_by_index() -> None:
    scores = scores_of([0, 5, 5, 5], [0, 5, 5, 5])
    assert target_ranks(scores, targets_of(1, 3)).tolist() == [1, 3]


def test_a_target_whose_score_is_no_number_ranks_behind_everything() -> None:
    nan = float("nan")
    assert target_ranks(scores_of([0, nan, nan, nan], [0, nan, 1, 2]), targets_of(1, 1)).min() > 3


def test_the_metrics_of_known_ranks() -> None:
    found = metrics_of_ranks(np.array([1, 3, 11, 100]))
    assert found.hr == 0.5
    # 1 / log2(2) + 1 / log2(4) over four questions; exact in binary.
    assert found.ndcg == pytest.approx((1 + 0.5) / 4, abs=1e-12)
    assert found.mrr == pytest.approx((1 + 1 / 3 + 1 / 11 + 1 / 100) / 4, abs=1e-12)
    assert found.to_json()["questions"] == 4


def test_rank_ten_is_a_hit_and_eleven_is_not() -> None:
    assert metrics_of_ranks(np.array([10])).hr == 1.0
    assert metrics_of_ranks(np.array([11])).hr == 0.0
