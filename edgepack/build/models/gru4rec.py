"""GRU4Rec: one gated recurrent layer over the history, scored against the item table itself.

Source: Hidasi et al. 2016, arXiv:1511.06939, trained with full softmax cross-entropy. Not aware
of data or training. May be imported by `edgepack.build`.
"""

from __future__ import annotations

import keras

from edgepack.build.models.item_table import make_item_table
from edgepack.build.models.ranker import Ranker


def build_gru4rec(
    catalogue: int,
    sequence_length: int,
    *,
    units: int,
    dropout: float,
    state: int = 0,
    item_codes: int = 0,
) -> Ranker:
    """Builds the model. Padding is fed as zero vectors, so no step needs a mask.

    Args:
        catalogue: Number of items, without padding.
        sequence_length: Items in a history, L.
        units: Width of the item vectors.
        state: Width of the recurrent layer's state; 0 for that of the item vectors.
        dropout: Share of activations dropped in training, 0..1.
        item_codes: Codes an item, or 0 for a vector of its own.
    """
    layers = keras.layers
    history = keras.Input((sequence_length,), dtype="int32", name="history")
    items = make_item_table(catalogue, units, item_codes)
    present = keras.ops.expand_dims(
        keras.ops.cast(keras.ops.not_equal(history, 0), "float32"), axis=-1
    )
    vectors = layers.Dropout(dropout, name="input_dropout")(items.table(history) * present)
    trained = layers.GRU(state or units, return_sequences=True, name="gru_every_position")
    shipped = layers.GRU(state or units, name="gru")
    project = layers.Dense(units, name="to_item_space")
    drop = layers.Dropout(dropout, name="state_dropout")
    every = project(drop(trained(vectors)))
    scores = items.scores(project(drop(shipped(vectors))), history)
    return Ranker(
        inference=keras.Model(history, scores, name="gru4rec"),
        hidden=keras.Model(history, every, name="gru4rec_every_position"),
        table=items.table,
        bias=items.bias,
        copies=((trained, shipped),),
    )
