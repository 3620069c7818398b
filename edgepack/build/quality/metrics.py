"""Ranking and tensor metrics of a variant against the original. Pure functions of arrays.

It is not aware of models or files. Used by `edgepack.build.quality.measure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.build.artifacts import Quality

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]

#: The cut of every metric that has one: what a shop shows at once.
CUT = 10
#: Histories of at most this many items are the `short_histories` slice.
SHORT_HISTORY = 3
#: The share of the catalogue, least sold first, whose targets are the `rare_items` slice.
RARE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answers to a set of histories.

    Attributes:
        scores: float32[n, K], descending in each row.
        items: int32[n, K], item indices, best first.
    """

    scores: Floats
    items: Integers


def ranking_quality(
    reference: Ranking,
    variant: Ranking,
    histories: Integers,
    targets: Integers,
    item_counts: npt.NDArray[np.int64],
) -> Quality:
    """Compares a variant's rankings with the original's.

    Args:
        reference: The fp32 original's answers.
        variant: The variant's answers to the same histories.
        histories: int32[n, L], padded with 0.
        targets: int32[n], the item that really came next.
        item_counts: int64[catalogue + 1], events of each item in training.

    Returns:
        The metrics over all histories and over each slice that has any.
    """
    every = np.ones(len(targets), dtype=bool)
    whole = _metrics(reference, variant, targets, every)
    slices = {
        name: _metrics(reference, variant, targets, rows)
        for name, rows in _slices(histories, targets, item_counts).items()
        if rows.any()
    }
    return Quality(
        samples=len(targets),
        ndcg=whole["ndcg"],
        hr=whole["hr"],
        mrr=whole["mrr"],
        ndcg_ratio=whole["ndcg_ratio"],
        overlap=whole["overlap"],
        top1_same=whole["top1_same"],
        slices=slices,
        max_abs_err=_largest_distance(reference.scores, variant.scores),
    )


def tensor_quality(reference: list[npt.NDArray[Any]], variant: list[npt.NDArray[Any]]) -> Quality:
    """Compares a variant's outputs with the original's, element by element.

    Args:
        reference: The original's outputs, each [n, ...].
        variant: The variant's, in the same order.

    Returns:
        The largest distance of an element over all outputs, absolute and as a share of the
        output's range, and the share of rows whose largest element is the same in the first
        output that has several.
    """
    pairs = list(zip(reference, variant, strict=True))
    distances = [_largest_distance(one, other) for one, other in pairs]
    # A constant output has no range; its own size stands in for it.
    ranges = [float(np.ptp(one)) or float(np.abs(one).max()) or 1.0 for one in reference]
    same = None
    for one, other in pairs:
        if one.ndim > 1 and one.shape[-1] > 1:
            same = float(np.mean(one.argmax(-1) == np.nan_to_num(other).argmax(-1)))
            break
    return Quality(
        samples=len(reference[0]),
        max_abs_err=max(distances),
        argmax_same=same,
        range_err=max(each / span for each, span in zip(distances, ranges, strict=True)),
    )


def target_ranks(items: Integers, targets: Integers) -> npt.NDArray[np.int64]:
    """Returns each target's rank in its answer, 0 for the first; -1 where it is not in it.

    Args:
        items: int32[n, K].
        targets: int32[n].
    """
    hits = items == targets[:, None]
    return np.where(hits.any(axis=1), hits.argmax(axis=1), -1)


def ndcg_at_cut(ranks: npt.NDArray[np.int64]) -> float:
    """Returns NDCG at the cut with one relevant item each.

    Source: Järvelin and Kekäläinen 2002; with one relevant item the ideal gain is 1, so
    NDCG is 1 / log2(rank + 2) for a rank from 0.
    """
    gains = np.where((ranks >= 0) & (ranks < CUT), 1.0 / np.log2(np.maximum(ranks, 0) + 2), 0.0)
    return float(gains.mean())


def mean_overlap(reference: Integers, variant: Integers) -> float:
    """Returns the mean share of the reference's items above the cut that the variant names."""
    cut = min(CUT, reference.shape[1])
    shared = (reference[:, :cut, None] == variant[:, None, :cut]).any(axis=2)
    return float(shared.mean())


def _metrics(
    reference: Ranking, variant: Ranking, targets: Integers, rows: npt.NDArray[np.bool_]
) -> dict[str, float]:
    items, wanted = variant.items[rows], reference.items[rows]
    ranks = target_ranks(items, targets[rows])
    ndcg = ndcg_at_cut(ranks)
    original = ndcg_at_cut(target_ranks(wanted, targets[rows]))
    found = ranks >= 0
    return {
        "samples": float(rows.sum()),
        "ndcg": ndcg,
        "hr": float((found & (ranks < CUT)).mean()),
        "mrr": float(np.where(found, 1.0 / (np.maximum(ranks, 0) + 1), 0.0).mean()),
        # An original that never hits leaves nothing to lose.
        "ndcg_ratio": ndcg / original if original else 1.0,
        "overlap": mean_overlap(wanted, items),
        "top1_same": float((items[:, 0] == wanted[:, 0]).mean()),
    }


def _slices(
    histories: Integers, targets: Integers, item_counts: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.bool_]]:
    catalogue = np.argsort(item_counts[1:], kind="stable") + 1
    rare = catalogue[: int(len(catalogue) * RARE_SHARE)]
    return {
        "short_histories": (histories > 0).sum(axis=1) <= SHORT_HISTORY,
        "rare_items": np.isin(targets, rare),
    }


def _largest_distance(reference: npt.NDArray[Any], variant: npt.NDArray[Any]) -> float:
    distance = np.abs(reference.astype(np.float64) - variant.astype(np.float64))
    # What is not a number is as far off as can be.
    return float(np.nan_to_num(distance, nan=1e308, posinf=1e308).max())
