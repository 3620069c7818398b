"""The textbook classifier: Embedding, Bidirectional(LSTM), Dense with softmax.

It predicts the next item as a class. It reads the history in both directions, so only its last
answer is fair; training sees one prefix at a time. Not aware of data or training. May be
imported by `edgepack.build`.
"""

from __future__ import annotations

import keras

from edgepack.build.models.ranker import Ranker


def build_bilstm(
    catalogue: int, sequence_length: int, *, embedding: int, units: int, dropout: float
) -> Ranker:
    """Builds the model.

    Args:
        catalogue: Number of items, without padding.
        sequence_length: Items in a history, L.
        embedding: Width of the item vectors.
        units: Width of the state in each direction.
        dropout: Share of activations dropped in training before the classes, 0..1.
    """
    layers = keras.layers
    history = keras.Input((sequence_length,), dtype="int32", name="history")
    state = layers.Embedding(catalogue + 1, embedding, name="items")(history)
    state = layers.Bidirectional(layers.LSTM(units, name="lstm"), name="bilstm")(state)
    state = layers.Dropout(dropout, name="state_dropout")(state)
    classes = layers.Dense(catalogue + 1, activation="softmax", name="classes")(state)
    return Ranker(
        inference=keras.Model(history, classes, name="bilstm"),
        hidden=None,
        table=None,
        bias=None,
        normalised=True,
    )
