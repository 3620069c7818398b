"""Keras layers of the shipped models that Keras itself does not have.

Importing this file registers them, so that `keras.saving.load_model` finds them. Written with
operations that TFLite and ONNX have: no einsum, and no mask of -1e9 in a shipped graph (one such
number takes all 256 levels of an int8 tensor). Not aware of whole models. May be imported by
`edgepack.build`.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

# Enough to silence a later position in a trained model, whose scores stay within about 10 of
# each other; small, so that an int8 tensor of attention scores keeps its resolution.
FUTURE_SCORE = -20.0
# In training nothing may come through at all: with -16 a model was seen to raise its scores
# until it could read the answer, and to get worse at everything else.
_TRAINING_FUTURE_SCORE = -1e9


@keras.saving.register_keras_serializable(package="edgepack")
class PositionTable(keras.layers.Layer):  # type: ignore[misc]
    """Adds one learnt vector for each position: float32[b, L, d] to float32[b, L, d]."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the table, float32[L, d]."""
        self.positions = self.add_weight(
            shape=input_shape[1:],
            initializer=keras.initializers.RandomNormal(0.0, 0.02),
            name="positions",
        )

    def call(self, inputs: Any) -> Any:
        """Returns inputs plus the table."""
        return inputs + self.positions

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        """The shape of the inputs."""
        return input_shape


@keras.saving.register_keras_serializable(package="edgepack")
class ItemBias(keras.layers.Layer):  # type: ignore[misc]
    """Adds one learnt number for each item: float32[..., catalogue + 1], same shape out."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the bias, float32[catalogue + 1]."""
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Returns inputs plus the bias."""
        return inputs + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> Any:
        """The shape of the inputs."""
        return input_shape


@keras.saving.register_keras_serializable(package="edgepack")
class CausalAttention(keras.layers.Layer):  # type: ignore[misc]
    """One-headed attention of each position to itself and to earlier ones.

    Keys and values have no bias and padding arrives as zeros, so a padded position has score 0
    and value 0: it adds nothing to the answer, whatever the weights.

    Args:
        units: Width of query, key and value.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.query = keras.layers.Dense(units, use_bias=False, name="query")
        self.key = keras.layers.Dense(units, use_bias=False, name="key")
        self.value = keras.layers.Dense(units, use_bias=False, name="value")
        self.output_dense = keras.layers.Dense(units, name="output")

    def build(self, query_shape: Any, context_shape: Any) -> None:
        """Makes the four projections."""
        self.query.build(query_shape)
        self.key.build(context_shape)
        self.value.build(context_shape)
        self.output_dense.build((*query_shape[:-1], self.units))

    def call(self, query: Any, context: Any, training: bool | None = None) -> Any:
        """Attends.

        Args:
            query: float32[b, q, d], the last q positions of the context.
            context: float32[b, L, d], padded positions zero.
            training: Later positions are then shut out exactly.

        Returns:
            float32[b, q, units].
        """
        keys = keras.ops.transpose(self.key(context), (0, 2, 1))
        scores = keras.ops.matmul(self.query(query) * self.units**-0.5, keys)
        shares = self.shares(scores, training)
        return self.output_dense(keras.ops.matmul(shares, self.value(context)))

    def shares(self, scores: Any, training: bool | None = None) -> Any:
        """What each position takes of each one it may look at.

        Args:
            scores: float32[b, q, L], of the last q positions.
            training: Later positions are then shut out exactly.

        Returns:
            float32[b, q, L], rows of sum 1.
        """
        asked, length = int(scores.shape[1]), int(scores.shape[2])
        if asked > 1:
            scores = scores + _future_scores(
                asked, length, _TRAINING_FUTURE_SCORE if training else FUTURE_SCORE
            )
        return keras.ops.softmax(scores, axis=-1)

    def compute_output_shape(self, query_shape: Any, context_shape: Any) -> Any:
        """The query's shape with `units` last."""
        del context_shape
        return (*query_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
        return {**super().get_config(), "units": self.units}


def _future_scores(asked: int, length: int, future_score: float) -> Any:
    """float32[asked, length]: 0 where a position may look, `future_score` where it may not."""
    position = np.arange(length - asked, length)[:, None]
    return np.where(np.arange(length) > position, future_score, 0.0).astype("float32")
