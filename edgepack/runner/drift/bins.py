"""The bins drift is counted in, made from the reference distributions in a bundle's manifest.

A reference that is missing or makes no sense is no bins, never an error: drift is a service. It
is not aware of counting. Used by `counters`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

#: Bins of lengths are joined until each holds at least this share: fewer bins, less noise.
_MIN_SHARE = 0.05
_QUANTILE = re.compile(r"p(\d{2})")
_RANK = re.compile(r"top(\d{1,3})")
#: A longer history than any model looks at.
_MAX_LENGTHS = 10_000


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins and what share of the reference lies in each.

    Attributes:
        edges: Inner edges, ascending; an edge belongs to the bin above it.
        expected: One share more than edges.
    """

    edges: tuple[float, ...]
    expected: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a bundle expects of the histories and scores on a box.

    Attributes:
        history_length: Of histories with at least one item; the last edge or more are one bin.
        top_score: The best score of an answer.
        score_spread: The best score minus that of rank `spread_rank`.
        spread_rank: Counted from 1.
    """

    history_length: Bins | None = None
    top_score: Bins | None = None
    score_spread: Bins | None = None
    spread_rank: int = 1


def read_reference(reference: Mapping[str, Any]) -> Reference:
    """Makes bins from `manifest.reference`.

    Args:
        reference: As `edgepack.build.training` writes it; `{}` for a model of the user's own.

    Returns:
        The bins of what can be read.
    """
    scores = reference.get("score_quantiles")
    scores = scores if isinstance(scores, Mapping) else {}
    matches = [_RANK.fullmatch(each) for each in scores if isinstance(each, str)]
    return Reference(
        history_length=_bins_of_lengths(reference.get("history_length")),
        top_score=_bins_of_quantiles(scores.get("top1")),
        score_spread=_bins_of_quantiles(scores.get("spread")),
        spread_rank=max((int(match[1]) for match in matches if match), default=1),
    )


def _bins_of_lengths(lengths: Any) -> Bins | None:
    counts: Any = lengths.get("counts") if isinstance(lengths, Mapping) else None
    if not _is_numbers(counts) or len(counts) > _MAX_LENGTHS or min(counts, default=0) < 0:
        return None
    # An empty history is asked when nothing is known yet, which no reference has.
    some = counts[1:]
    total = sum(some)
    if total <= 0:
        return None
    edges, expected, gathered = [], [], 0.0
    for length, count in enumerate(some, start=1):
        if gathered >= _MIN_SHARE:
            edges.append(float(length))
            expected.append(gathered)
            gathered = 0.0
        gathered += count / total
    if gathered < _MIN_SHARE and edges:
        edges.pop()
        gathered += expected.pop()
    return Bins(tuple(edges), (*expected, gathered)) if edges else None


def _bins_of_quantiles(quantiles: Any) -> Bins | None:
    if not isinstance(quantiles, Mapping) or not _is_numbers(list(quantiles.values())):
        return None
    points: dict[float, float] = {}
    for name, value in quantiles.items():
        match = _QUANTILE.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            return None
        share = int(match[1]) / 100
        # Several quantiles at one value: what lies below it is the lowest of them.
        points[float(value)] = min(share, points.get(float(value), 1.0))
    edges = sorted(points)
    shares = [0.0, *(points[edge] for edge in edges), 1.0]
    if not edges or shares != sorted(shares):
        return None
    return Bins(tuple(edges), tuple(round(high - low, 9) for low, high in pairwise(shares)))


def _is_numbers(values: Any) -> bool:
    return isinstance(values, Sequence) and all(
        isinstance(each, (int, float)) and not isinstance(each, bool) and math.isfinite(each)
        for each in values
    )
