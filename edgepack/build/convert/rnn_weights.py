"""A Keras recurrent layer's weights in ONNX's order. Pure functions of arrays.

It is not aware of Keras or ONNX. Used by `native`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def onnx_rnn_weights(layer_weights: Sequence[Array], *, gates: int) -> tuple[Array, Array, Array]:
    """Reorders a Keras GRU's or LSTM's weights to ONNX's W, R and B.

    Args:
        layer_weights: kernel float32[in, gates * units], recurrent kernel float32[units,
            gates * units] and, with a bias, float32[2, 3 * units] (GRU with reset_after),
            float32[3 * units] (GRU without) or float32[4 * units] (LSTM).
        gates: 3 for a GRU, 4 for an LSTM.

    Returns:
        W float32[1, gates * units, in], R float32[1, gates * units, units] and B
        float32[1, 2 * gates * units].

    Source: ONNX operators GRU (gate order z, r, h) and LSTM (i, o, f, c); Keras has z, r, h
    and i, f, c, o.
    """
    order = (0, 1, 2) if gates == 3 else (0, 3, 1, 2)  # noqa: PLR2004 - a GRU's gates

    def arrange(columns: Array) -> Array:
        parts = np.split(columns, gates, axis=-1)
        return np.concatenate([parts[i] for i in order], axis=-1)

    kernel, recurrent = arrange(layer_weights[0]), arrange(layer_weights[1])
    width = kernel.shape[1]
    both = np.zeros((2, width), dtype=np.float32)
    if len(layer_weights) > 2:  # noqa: PLR2004 - the third is the bias
        bias = arrange(layer_weights[2])
        both[: bias.shape[0] if bias.ndim > 1 else 1] = bias
    return (
        np.ascontiguousarray(kernel.T)[None],
        np.ascontiguousarray(recurrent.T)[None],
        both.reshape(1, -1),
    )
