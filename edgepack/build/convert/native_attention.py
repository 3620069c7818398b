"""Makes Keras's attention with several heads write the few operators it is. Runs in a worker.

Keras writes it as Einstein sums over five extents, which come out as some sixty ONNX operators a
layer, most of them about shapes. Before tracing, such a layer is made to write two products, a
softmax and the transpositions that part the heads; the numbers are the same. Imports TensorFlow;
used by `native`.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import tensorflow as tf

#: Added to a score, leaves nothing of it: rows that may look nowhere look everywhere alike, as
#: in Keras. It is representable where half precision's largest number stands for it.
_SHUT: Final = -1e30
#: Batch, positions, heads, width of a head.
_RANK: Final = 4


def is_plain_attention(layer: Any) -> bool:
    """Whether it is Keras's own layer, over one axis of positions."""
    import keras

    known = type(layer) is keras.layers.MultiHeadAttention
    return known and layer.built and layer.attention_axes == (1,)


def write_attention_plainly(layer: Any) -> None:
    """Makes a layer write plain operators from now on, in place.

    Args:
        layer: One that `is_plain_attention`.
    """
    # Keras documents this method as the one to override for another way of computing.
    original = layer._compute_attention  # noqa: SLF001
    layer._compute_attention = types.MethodType(_compute(original), layer)  # noqa: SLF001


def _compute(original: Callable[..., Any]) -> Callable[..., Any]:
    def compute(
        self: Any,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        training: Any = None,
        return_attention_scores: bool = False,
        **given: Any,
    ) -> Any:
        causal = bool(given.get("use_causal_mask"))
        if return_attention_scores or len(query.shape) != _RANK or None in query.shape[1:]:
            return original(
                query, key, value, attention_mask, training, return_attention_scores, **given
            )
        scale = np.float32(1.0 / np.sqrt(self.key_dim))
        scores = tf.matmul(
            tf.transpose(query, (0, 2, 1, 3)) * scale, tf.transpose(key, (0, 2, 3, 1))
        )
        if causal:
            scores += _later_shut(query.shape[1], key.shape[1])
        if attention_mask is not None:
            allowed = tf.cast(_for_heads(attention_mask), tf.float32)
            scores += (1.0 - allowed) * _SHUT
        shares = tf.nn.softmax(scores, axis=-1)
        if attention_mask is not None and self.dropout > 0:
            # With dropout, Keras's layer lets a row that may look nowhere see nothing.
            shares *= allowed
        seen = tf.matmul(shares, tf.transpose(value, (0, 2, 1, 3)))
        return tf.transpose(seen, (0, 2, 1, 3)), None

    return compute


def _later_shut(asked: int, length: int) -> Any:
    return np.where(np.tri(asked, length, dtype=bool), 0.0, _SHUT).astype(np.float32)


def _for_heads(mask: Any) -> Any:
    """bool[b, T, S], or with an extent for heads, as [b, 1 or N, T, S]."""
    while len(mask.shape) < _RANK:
        mask = tf.expand_dims(mask, -3)
    return mask
