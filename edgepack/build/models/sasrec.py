"""SASRec: self-attention over the history, scored against the item table itself.

Source: Kang and McAuley 2018, arXiv:1808.09781, with pre-normalisation and one learnt number an
item added to the scores. Not aware of data or training. May be imported by `edgepack.build`.
"""

from __future__ import annotations

from typing import Any

import keras

from edgepack.build.models.item_table import make_item_table
from edgepack.build.models.layers import CausalAttention, PositionTable
from edgepack.build.models.ranker import Ranker


def build_sasrec(
    catalogue: int,
    sequence_length: int,
    *,
    units: int,
    blocks: int,
    dropout: float,
    wide: int = 0,
    item_codes: int = 0,
) -> Ranker:
    """Builds the model. The shipped graph computes its last block for the last position only.

    Args:
        catalogue: Number of items, without padding.
        sequence_length: Items in a history, L.
        units: Width of the item vectors, d.
        blocks: Transformer blocks.
        wide: Width inside a block's network; 0 for twice the units.
        dropout: Share of activations dropped in training, 0..1.
        item_codes: Codes an item, or 0 for a vector of its own.
    """
    layers = keras.layers
    history = keras.Input((sequence_length,), dtype="int32", name="history")
    items = make_item_table(catalogue, units, item_codes)
    present = keras.ops.expand_dims(
        keras.ops.cast(keras.ops.not_equal(history, 0), "float32"), axis=-1
    )
    state = PositionTable(name="positions")(items.table(history))
    state = layers.Dropout(dropout, name="input_dropout")(state) * present
    wide = wide or 2 * units
    for number in range(blocks - 1):
        state = _Block(f"block{number}", units, wide, dropout)(state, state, present)
    last_block = _Block(f"block{blocks - 1}", units, wide, dropout)
    final = layers.LayerNormalization(epsilon=1e-5, name="final_norm")
    every = final(last_block(state, state, present))
    last = final(last_block(state[:, -1:, :], state, present))
    scores = items.scores(keras.ops.squeeze(last, axis=1), history)
    return Ranker(
        inference=keras.Model(history, scores, name="sasrec"),
        hidden=keras.Model(history, every, name="sasrec_every_position"),
        table=items.table,
        bias=items.bias,
    )


class _Block:
    """Attention and a two-layer network, each added to what came in. Reusable, same weights."""

    def __init__(self, name: str, units: int, wide: int, dropout: float) -> None:
        layers = keras.layers
        self._norm = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_attention_norm")
        self._attention = CausalAttention(units, name=f"{name}_attention")
        self._network_norm = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_network_norm")
        self._wide = layers.Dense(wide, activation="relu", name=f"{name}_wide")
        self._narrow = layers.Dense(units, name=f"{name}_narrow")
        self._drop_attention = layers.Dropout(dropout, name=f"{name}_attention_dropout")
        self._drop_network = layers.Dropout(dropout, name=f"{name}_network_dropout")

    def __call__(self, query: Any, context: Any, present: Any) -> Any:
        whole = query is context
        normal = self._norm(context) * present
        asked = normal if whole else normal[:, -1:, :]
        state = query + self._drop_attention(self._attention(asked, normal))
        wide = self._wide(self._network_norm(state))
        state = state + self._drop_network(self._narrow(wide))
        # The last position always holds an item; the others may be padding.
        return state * present if whole else state
