"""The item table of a ranker that scores with the vectors it reads: one of two kinds.

Not aware of architectures. May be imported by `edgepack.build.models`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from edgepack.build.models.coded_items import CodedItems
from edgepack.build.models.layers import ItemBias


@dataclass(frozen=True, slots=True)
class ItemTable:
    """The layers that hold the items.

    Attributes:
        table: Called with int32[...] items it gives float32[..., d] vectors.
        bias: Adds one number an item; None where `table` does that itself.
    """

    table: Any
    bias: Any | None

    def scores(self, state: Any, history: Any) -> Any:
        """Scores of all items in the shipped graph.

        Args:
            state: float32[b, d].
            history: int32[b, L], the graph's input.

        Returns:
            float32[b, catalogue + 1].
        """
        if self.bias is None:
            return self.table(state, history=history, reverse=True)
        return self.bias(self.table(state, reverse=True))


def make_item_table(catalogue: int, units: int, item_codes: int) -> ItemTable:
    """Makes a table.

    Args:
        catalogue: Number of items, without padding.
        units: Width of the item vectors, d.
        item_codes: Codes an item; 0 gives each item a vector of its own.
    """
    if item_codes:
        return ItemTable(CodedItems(catalogue + 1, units, item_codes, name="items"), None)
    table = keras.layers.ReversibleEmbedding(
        catalogue + 1,
        units,
        embeddings_initializer=keras.initializers.RandomNormal(0.0, units**-0.5),
        name="items",
    )
    return ItemTable(table, ItemBias(name="item_bias"))
