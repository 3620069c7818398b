"""How well a variant ranks or computes, as the host measured it before it was shipped.

It is not aware of how it was measured. Anyone may import it; standard library only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgepack.formats.typed import Count, Ratio


@dataclass(frozen=True, slots=True)
class QualityFacts:
    """A variant against the fp32 original; None: not measured for this kind of model.

    Attributes:
        samples: Held-out inputs it was measured on.
        ndcg: NDCG@10 against the true next item, 0 to 1.
        hr: HR@10.
        mrr: Mean reciprocal rank.
        ndcg_ratio: `ndcg` as a share of the original's.
        overlap: Mean share of the original's ten best items that it also names.
        top1_same: Share of histories with the same best item.
        max_abs_err: Largest distance of an output element.
        argmax_same: Share of rows whose largest output is the original's.
        range_err: `max_abs_err` as a share of the output's range.
    """

    samples: Count
    ndcg: Ratio | None = None
    hr: Ratio | None = None
    mrr: Ratio | None = None
    ndcg_ratio: Ratio | None = None
    overlap: Ratio | None = None
    top1_same: Ratio | None = None
    max_abs_err: Ratio | None = None
    argmax_same: Ratio | None = None
    range_err: Ratio | None = None


def quality_from_metrics(metrics: Mapping[str, Any]) -> QualityFacts | None:
    """Takes what a manifest says of a candidate.

    Args:
        metrics: The candidate's `quality`; empty where nothing was measured.

    Returns:
        The facts, without the slices; None where nothing was measured.
    """
    if "samples" not in metrics:
        return None
    known = {each.name for each in dataclasses.fields(QualityFacts)}
    return QualityFacts(**{name: value for name, value in metrics.items() if name in known})
