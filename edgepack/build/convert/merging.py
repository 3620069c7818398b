"""When multiplying an attention's matrices beforehand saves multiplications in each call.

With one head `(x Q) (y K)^T` is `(x Q K^T) y^T`, and `(P (y V)) O` is `(P y) (V O)`. Pure
functions, not aware of any file format. Used by `onnx_attention` and `fewer_operators`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def merging_keys_saves(positions: int, others: int, width: int, height: int, units: int) -> bool:
    """Whether `(x Q K^T) y^T` takes fewer multiplications than `(x Q) (y K)^T`.

    Args:
        positions: Rows of x, that ask.
        others: Rows of y, that are asked.
        width: Columns of x.
        height: Columns of y.
        units: Columns of both projections.
    """
    pairs = positions * others
    before = units * (positions * width + others * height + pairs)
    return height * (positions * width + pairs) < before


def merging_values_saves(positions: int, others: int, height: int, units: int, out: int) -> bool:
    """Whether `(P y) (V O)` takes fewer multiplications than `(P (y V)) O`.

    Args:
        positions: Rows of P.
        others: Rows of y.
        height: Columns of y.
        units: Columns of `y V`.
        out: Columns of the answer.
    """
    pairs = positions * others
    before = units * (others * height + pairs + positions * out)
    return height * (pairs + positions * out) < before


def multiplied(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Matrix:
    """Returns first @ second, rounded once."""
    exact = np.matmul(first.astype(np.float64), second.astype(np.float64))
    rounded: Matrix = exact.astype(np.float32)
    return rounded
