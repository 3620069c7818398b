"""Item ids in place of indices, for a recommender's tensors.

It is not aware of protocols. Used by `v2` and `tfs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edgepack.formats.errors import DeviceError
from edgepack.formats.vocabulary import PADDING, Vocabulary
from edgepack.runner.engines.contract import Array

#: Fills a history that is shorter than its neighbours in a tensor.
PAD = ""


def history_indices(vocabulary: Vocabulary, rows: Iterable[Sequence[str]], length: int) -> Array:
    """Turns histories of item ids into the model's input.

    Args:
        vocabulary: The model's.
        rows: Item ids, most recent last; unknown ones and empty strings are skipped.
        length: The model's sequence length.

    Returns:
        int32[rows, length], padded on the left.
    """
    encoded = [vocabulary.encode([i for i in row if i != PAD], length)[0] for row in rows]
    return np.array(encoded, dtype=np.int32).reshape(len(encoded), length)


def item_ids(vocabulary: Vocabulary, indices: Array) -> list[str]:
    """Returns the ids of the items that the model ranked, row by row.

    Raises:
        DeviceError: The model ranked what is no item.
    """
    found: list[int] = indices.ravel().tolist()
    if found and (min(found) <= PADDING or max(found) > len(vocabulary)):
        raise DeviceError("the model ranked an item that is not in the vocabulary")
    items = vocabulary.items
    return [items[index - 1] for index in found]
