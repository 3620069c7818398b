"""Which hidden units and blocks a model would miss least.

What a group of weights is worth is how much the loss would change without it, to first order:
the square of the sum of weight times gradient over the group, added up over batches.

Source: Molchanov et al. 2019, arXiv:1906.10771, equation 8.

Not aware of how anything is cut. Used by `edgepack.build.training.optimise.prune`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: Weight times gradient of one batch, by the name of the weight.
Products = Mapping[str, Array]
#: The worth of some alternatives in one batch, before it is squared: float[n].
Worth = Callable[[Products], NDArray[np.float64]]


def importance(batches: Iterable[Products], worth: Worth) -> NDArray[np.float64]:
    """Adds up over batches what each alternative is worth.

    Args:
        batches: Products of each batch.
        worth: Sums the products of each alternative's weights.

    Returns:
        float64[n].
    """
    total: NDArray[np.float64] | None = None
    for products in batches:
        found = worth(products) ** 2
        total = found if total is None else total + found
    if total is None:
        raise AssertionError("no batch to judge by")
    return total


def most_important(worth: NDArray[np.float64], keep: int) -> NDArray[np.int64]:
    """The alternatives to keep, in their own order.

    Args:
        worth: float64[n].
        keep: How many, 1..n.

    Returns:
        int64[keep], ascending. Of equals the first ones.
    """
    best = np.argsort(-worth, kind="stable")[:keep]
    return np.sort(best).astype(np.int64)
