"""How what a box sees differs from what its model was made with: counts in bins, and a distance.

Counts of two windows or of two boxes with the same bins can be added. There are no ids of items,
users or sessions in them. It is not aware of how they were counted. Part of
`edgepack.formats.report`; anyone may import it; standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgepack.formats.typed import Count, Missing, Name, Ratio

#: Below this many values chance alone moves the distance by more than 0.05 in 12 bins: without
#: any drift its square is about (bins - 1) / (8 n ln 2) on average.
MIN_DRIFT_COUNT = 1000


@dataclass(frozen=True, slots=True)
class DriftFeature:
    """One quantity's distribution on the box beside the bundle's reference.

    Attributes:
        edges: The bins' inner edges, ascending; an edge belongs to the bin above it.
        expected: Each bin's share in the reference, one more than edges; about 1 in sum.
        counts: Each bin's count on the box.
        distance: Jensen-Shannon distance of the two, 0 to 1; null below 1,000 values.
    """

    edges: tuple[float, ...]
    expected: tuple[Ratio, ...]
    counts: tuple[Count, ...]
    distance: Ratio | None
    missing: Missing = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DriftFacts:
    """What a box saw in a stretch of time.

    Attributes:
        since: When counting began, RFC 3339, UTC, by the box's own clock.
        until: When it was last written down, likewise.
        histories: Histories that were asked about.
        empty_histories: How many of them had no item.
        items: Items in them.
        unknown_items: How many of these the model does not know.
        features: By name: `history_length` of histories that are not empty, `top_score` and
            `score_spread` of answers of the model.
    """

    since: Name
    until: Name
    histories: Count
    empty_histories: Count
    items: Count
    unknown_items: Count
    features: Mapping[str, DriftFeature]


def jensen_shannon_distance(counts: Sequence[float], expected: Sequence[float]) -> float:
    """Says how far two distributions over the same bins are apart.

    Unlike the population stability index it is defined where a bin is empty, and bounded.

    Args:
        counts: At least 0 each, more than 0 in sum; they need not be normalised.
        expected: The same of the reference.

    Returns:
        0, the same, to 1, no bin in common.

    Raises:
        ValueError: A different number of bins, or nothing in them.

    Source: the divergence of J. Lin, "Divergence Measures Based on the Shannon Entropy", IEEE
    Transactions on Information Theory 37(1), 1991, with logarithms to base 2; its square root is
    a metric: D. M. Endres and J. E. Schindelin, the same Transactions 49(7), 2003.
    """
    total, reference = math.fsum(counts), math.fsum(expected)
    if len(counts) != len(expected) or total <= 0 or reference <= 0:
        raise ValueError(f"no distance of {len(counts)} and {len(expected)} bins")
    divergence = 0.0
    for count, share in zip(counts, expected, strict=True):
        p, q = count / total, share / reference
        middle = (p + q) / 2
        divergence += _part(p, middle) + _part(q, middle)
    # Rounding may leave it a little outside.
    return math.sqrt(min(max(divergence / 2, 0.0), 1.0))


def _part(share: float, middle: float) -> float:
    return share * math.log2(share / middle) if share > 0 else 0.0
