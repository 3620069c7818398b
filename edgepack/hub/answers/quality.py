"""A variant's quality in one number.

It is not aware of the store. Used by the comparison and the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

#: The first that all rows have is the score; the same for every row of a comparison.
_SCORES: Final = {
    "ndcg_ratio": "NDCG@10 as a share of fp32's",
    "overlap": "share of the original's ten best items",
    "argmax_same": "share of rows with the same largest output",
}


def score_field(qualities: Iterable[Mapping[str, Any]]) -> str | None:
    """Picks the score that all measured rows have.

    Args:
        qualities: Of each row; empty ones were not measured and do not count.

    Returns:
        A field of `QualityFacts`, or None where nothing was measured or no field is in all.
    """
    measured = [each for each in qualities if each]
    if not measured:
        return None
    return next((name for name in _SCORES if all(_number(q, name) for q in measured)), None)


def score_words(field: str | None) -> str:
    """Says what a score is; empty for none."""
    return "" if field is None else _SCORES[field]


def score_of(quality: Mapping[str, Any], field: str | None) -> float | None:
    """Returns a row's score, or None where it was not measured."""
    return float(quality[field]) if field is not None and _number(quality, field) else None


def _number(quality: Mapping[str, Any], name: str) -> bool:
    value = quality.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)
