"""The gate names every limit that is missed, with what was measured."""

from __future__ import annotations

import math

from edgepack.build.artifacts import Gate, Quality
from edgepack.build.quality.gate import check_gate

GOOD = Quality(100, ndcg=0.2, ndcg_ratio=1.0, overlap=0.99, top1_same=0.95, max_abs_err=3.0)


def _with(**changes: float) -> Quality:
    values = {
        "ndcg_ratio": GOOD.ndcg_ratio,
        "overlap": GOOD.overlap,
        "top1_same": GOOD.top1_same,
        **changes,
    }
    return Quality(100, ndcg=0.2, max_abs_err=3.0, **values)  # type: ignore[arg-type]


def test_a_good_ranking_passes_whatever_its_scores() -> None:
    assert check_gate(GOOD, Gate(max_abs_err=0.1)) == []


def test_limits_themselves_pass() -> None:
    limit = _with(ndcg_ratio=0.995, overlap=0.95, top1_same=0.90)
    assert check_gate(limit, Gate()) == []


def test_every_missed_limit_is_named() -> None:
    bad = _with(ndcg_ratio=0.9, overlap=0.5, top1_same=0.1)
    assert check_gate(bad, Gate()) == [
        "NDCG@10 of fp32 0.900, at least 0.995 is needed",
        "overlap@10 0.500, at least 0.95 is needed",
        "same top-1 0.100, at least 0.9 is needed",
    ]


def test_nan_never_passes() -> None:
    assert check_gate(_with(overlap=math.nan), Gate()) == [
        "overlap@10 nan, at least 0.95 is needed"
    ]


def test_a_classifier_is_judged_by_its_classes() -> None:
    quality = Quality(10, max_abs_err=0.4, argmax_same=0.99, range_err=0.4)
    assert check_gate(quality, Gate()) == []
    assert check_gate(quality, Gate(argmax_same=1.0)) == ["same class 0.990, at least 1 is needed"]
    assert check_gate(quality, Gate(max_abs_err=0.1)) == [
        "largest error 0.4, at most 0.1 is allowed"
    ]


def test_a_regression_is_judged_by_its_range() -> None:
    quality = Quality(10, max_abs_err=40.0, range_err=0.2)
    assert check_gate(quality, Gate()) == [
        "largest error as a share of the range 0.2, at most 0.05 is allowed"
    ]
