"""Ranking metrics on rankings small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepack.build.quality.metrics import (
    Ranking,
    mean_overlap,
    ndcg_at_cut,
    ranking_quality,
    target_ranks,
    tensor_quality,
)


def _ranking(*rows: list[int]) -> Ranking:
    items = np.array(rows, np.int32)
    scores = np.tile(np.arange(items.shape[1], 0, -1, dtype=np.float32), (len(rows), 1))
    return Ranking(scores, items)


def test_ranks_start_at_zero_and_a_missing_target_has_none() -> None:
    items = np.array([[5, 7, 9], [5, 7, 9], [5, 7, 9]], np.int32)
    assert target_ranks(items, np.array([5, 9, 4], np.int32)).tolist() == [0, 2, -1]


def test_ndcg_discounts_by_the_logarithm_of_the_rank() -> None:
    ranks = np.array([0, 2, -1, 10])
    # 1/log2(2), 1/log2(4), not found, below the cut of ten.
    assert ndcg_at_cut(ranks) == pytest.approx((1 + 0.5 + 0 + 0) / 4)


def test_overlap_ignores_order_and_counts_shares() -> None:
    one = np.arange(1, 21, dtype=np.int32)[None, :]
    reversed_top = one.copy()
    reversed_top[0, :10] = one[0, :10][::-1]
    assert mean_overlap(one, reversed_top) == 1.0
    half = one.copy()
    half[0, 5:10] = [30, 31, 32, 33, 34]
    assert mean_overlap(one, half) == 0.5


def test_overlap_of_a_small_catalogue_uses_what_there_is() -> None:
    assert mean_overlap(np.array([[1, 2]], np.int32), np.array([[2, 1]], np.int32)) == 1.0


def test_a_variant_is_compared_with_the_original_and_with_the_truth() -> None:
    histories = np.array([[0, 0, 0, 1], [1, 2, 3, 4]], np.int32)
    targets = np.array([2, 3], np.int32)
    counts = np.array([0, 50, 1, 50, 50, 50], np.int64)
    reference = _ranking([2, 3, 1], [3, 2, 1])
    variant = _ranking([2, 1, 3], [2, 3, 1])
    quality = ranking_quality(reference, variant, histories, targets, counts)
    assert quality.samples == 2
    assert quality.ndcg == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert quality.ndcg_ratio == quality.ndcg, "the original is perfect here"
    assert quality.hr == 1.0
    assert quality.mrr == 0.75
    assert quality.overlap == 1.0
    assert quality.top1_same == 0.5
    assert quality.slices["short_histories"]["top1_same"] == 1.0
    assert quality.slices["short_histories"]["samples"] == 1
    assert quality.slices["rare_items"]["samples"] == 1


def test_slices_without_rows_are_left_out() -> None:
    one = _ranking([1, 2])
    long_history = np.ones((1, 9), np.int32)
    counts = np.array([0, 9, 9], np.int64)
    quality = ranking_quality(one, one, long_history, np.array([1], np.int32), counts)
    assert quality.slices == {}


def test_an_original_that_never_hits_leaves_nothing_to_lose() -> None:
    one = _ranking([1, 2])
    counts = np.array([0, 9, 9, 9], np.int64)
    quality = ranking_quality(one, one, np.ones((1, 3), np.int32), np.array([3], np.int32), counts)
    assert (quality.ndcg, quality.ndcg_ratio) == (0.0, 1.0)


def test_tensors_are_compared_by_distance_and_by_class() -> None:
    reference = [np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)]
    variant = [np.array([[0.2, 0.8], [0.3, 0.7]], np.float32)]
    quality = tensor_quality(reference, variant)
    assert quality.max_abs_err == pytest.approx(0.5)
    assert quality.range_err == pytest.approx(0.5 / 0.8)
    assert quality.argmax_same == 0.5


def test_a_single_number_has_no_class() -> None:
    reference = [np.array([[1.0], [3.0]], np.float32)]
    quality = tensor_quality(reference, [np.array([[1.0], [2.9]], np.float32)])
    assert quality.argmax_same is None
    assert quality.range_err == pytest.approx(0.05)


def test_what_is_not_a_number_is_as_far_off_as_can_be() -> None:
    reference = [np.array([[1.0, 2.0]], np.float32)]
    quality = tensor_quality(reference, [np.array([[np.nan, 2.0]], np.float32)])
    assert quality.max_abs_err is not None
    assert quality.max_abs_err > 1e300
