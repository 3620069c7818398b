"""What quantising a part of a model does to its answers. Pure functions of arrays.

Used by the worker; the same words as the quality gate's (`edgepack.build.quality.metrics`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgepack.build.quality.metrics import CUT

#: Standard deviations of a mean that hold the true one in 95 of 100 cases.
_NORMAL_95: Final = 1.96

Outputs = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Damage:
    """How far answers are from fp32's.

    Attributes:
        lost: Of a ranking, 1 - overlap@10; of tensors, the mean distance as a share of the
            output's range, over the output where it is largest.
        lost_error: Half the width of a 95 % interval of `lost`, from the spread over rows.
        first_changed: Share of rows whose best item (or largest element) is another one; None
            where an output has one element.
        largest: The largest distance of an element as a share of the output's range; None for
            a ranking.
    """

    lost: float
    lost_error: float
    first_changed: float | None
    largest: float | None

    def to_json(self) -> dict[str, float | None]:
        """Returns it rounded to six digits."""
        return {
            name: None if value is None else float(f"{value:.6g}")
            for name, value in asdict(self).items()
        }


def damage(expected: Outputs, found: Outputs, *, ranks: bool) -> Damage:
    """Compares answers.

    Args:
        expected: fp32's outputs, each [rows, ...].
        found: The others, in the same order.
        ranks: Whether these are scores and items.
    """
    return _of_ranking(expected, found) if ranks else _of_tensors(expected, found)


def _of_ranking(expected: Outputs, found: Outputs) -> Damage:
    one, other = _items(expected), _items(found)
    cut = min(CUT, one.shape[1])
    missing = 1.0 - (one[:, :cut, None] == other[:, None, :cut]).any(axis=2).mean(axis=1)
    return Damage(
        lost=float(missing.mean()),
        lost_error=_interval(missing),
        first_changed=float((one[:, 0] != other[:, 0]).mean()),
        largest=None,
    )


def _of_tensors(expected: Outputs, found: Outputs) -> Damage:
    worst: Damage | None = None
    for one, other in zip(expected, found, strict=True):
        before, after = one.astype(np.float64), other.astype(np.float64)
        # A constant output has no range; its own size stands in for it.
        span = float(np.ptp(before)) or float(np.abs(before).max()) or 1.0
        shares = np.nan_to_num(np.abs(after - before), nan=1e30).reshape(len(one), -1) / span
        changed = None
        if one.ndim > 1 and one.shape[-1] > 1:
            same = before.argmax(-1) == np.nan_to_num(after).argmax(-1)
            changed = float(1.0 - same.mean())
        each = Damage(
            lost=float(shares.mean()),
            lost_error=_interval(shares.mean(axis=1)),
            first_changed=changed,
            largest=float(shares.max()),
        )
        if worst is None or each.lost > worst.lost:
            worst = each
    if worst is None:
        raise AssertionError("a model has an output")
    return worst


def _items(outputs: Outputs) -> npt.NDArray[Any]:
    return next(each for each in outputs if np.issubdtype(each.dtype, np.integer))


def _interval(per_row: npt.NDArray[Any]) -> float:
    count = len(per_row)
    if count < 2:  # noqa: PLR2004 - one row has no spread
        return 0.0
    return float(_NORMAL_95 * per_row.std(ddof=1) / math.sqrt(count))
