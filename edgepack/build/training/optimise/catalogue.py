"""A trained model that knows fewer items: the rows of the rare ones are cut off.

Imports Keras through what it is given. Used by `edgepack.build.training`.
"""

from __future__ import annotations

import numpy as np

from edgepack.build.models.ranker import Ranker


def keep_items(ranker: Ranker, smaller: Ranker) -> Ranker:
    """Gives an untrained model what a trained one knows of the items that both have.

    Args:
        ranker: Trained; it is not changed.
        smaller: The same architecture with the same widths, over the first of its items.

    Returns:
        `smaller`.
    """
    trained = ranker.finish().weights
    # Items lie along one axis, most popular first; every other axis has the same extent.
    smaller.adopt(
        [
            np.asarray(weight)[tuple(slice(extent) for extent in wanted.shape)]
            for weight, wanted in zip(trained, smaller.inference.weights, strict=True)
        ]
    )
    return smaller
