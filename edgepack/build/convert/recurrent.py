"""Takes out of a recurrent layer's steps what does not wait for them. Runs in a worker.

Keras multiplies a step's input by the kernel in that step. But no input waits for a state, so
one product of all inputs before the first step does the same: half the weights are then read
once and not once a step. It is done before tracing, in place. It is not aware of TFLite or of
which form is chosen. Imports TensorFlow; used by `graph`.
"""

from __future__ import annotations

import math
import types
from collections.abc import Sequence
from typing import Any, Final

import tensorflow as tf

_LSTM_GATES: Final = 4


def project_first(layers: Sequence[Any]) -> int:
    """Makes GRU and LSTM layers multiply all inputs by the kernel before the first step.

    The answer is the same but for rounding; masks, directions and `unroll` stay Keras's.

    Args:
        layers: Keras layers; those of other kinds and with a reset before the product are left.

    Returns:
        How many do so from now on.
    """
    import keras

    changed = 0
    for layer in layers:
        if type(layer) is keras.layers.GRU and layer.reset_after:
            cell = _gru_cell
        elif type(layer) is keras.layers.LSTM:
            cell = _lstm_cell
        else:
            continue
        layer.cell.call = types.MethodType(cell, layer.cell)
        layer.inner_loop = types.MethodType(_projected_loop, layer)
        changed += 1
    return changed


def repeated_weights(layers: Sequence[Any]) -> int:
    """Counts the weights that every step of recurrent layers multiplies.

    Args:
        layers: Recurrent Keras layers, built; after `project_first`.
    """
    total = 0
    for layer in layers:
        projected = getattr(layer.inner_loop, "__func__", None) is _projected_loop
        weights = [layer.cell.recurrent_kernel] if projected else layer.weights
        total += sum(math.prod(each.shape) for each in weights)
    return total


def rest_weights(layers: Sequence[Any]) -> int:
    """Counts the weights beside those of `repeated_weights` that a call reads from end to end.

    Of a table that is only looked up a call reads some rows; one that is also scored against is
    another kind of layer.

    Args:
        layers: All Keras layers of a model, built; after `project_first`.
    """
    import keras

    tables = {
        id(each)
        for layer in layers
        if type(layer) is keras.layers.Embedding
        for each in layer.weights
    }
    # A layer and what it is wrapped in have the same weights.
    sizes = {id(each): math.prod(each.shape) for layer in layers for each in layer.weights}
    read = sum(int(size) for key, size in sizes.items() if key not in tables)
    steps = [layer for layer in layers if isinstance(layer, keras.layers.RNN)]
    return read - repeated_weights(steps)


def _projected_loop(
    self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
) -> Any:
    import keras

    cell = self.cell
    projected = tf.matmul(sequences, cell.kernel)
    if cell.use_bias:
        bias = cell.bias if len(cell.bias.shape) == 1 else cell.bias[0]
        projected = projected + bias
    if isinstance(mask, (list, tuple)):
        mask = mask[0]
    return keras.layers.RNN.inner_loop(self, projected, initial_state, mask, training)


def _gru_cell(self: Any, inputs: Any, states: Any, training: bool = False) -> Any:
    """A step of a GRU with `reset_after`. Source: keras.layers.GRUCell."""
    del training
    state = states[0] if isinstance(states, (list, tuple)) else states
    inner = tf.matmul(state, tf.convert_to_tensor(self.recurrent_kernel))
    if self.use_bias:
        inner = inner + self.bias[1]
    gates = self.recurrent_activation(inputs[:, : 2 * self.units] + inner[:, : 2 * self.units])
    update, reset = tf.split(gates, 2, axis=-1)
    candidate = self.activation(inputs[:, 2 * self.units :] + reset * inner[:, 2 * self.units :])
    # `update * state + (1 - update) * candidate` with an operator less.
    new = candidate + update * (state - candidate)
    return new, [new]


def _lstm_cell(self: Any, inputs: Any, states: Any, training: bool = False) -> Any:
    """A step of an LSTM. Source: keras.layers.LSTMCell, gates i, f, c, o."""
    del training
    state, carry = states
    sums = inputs + tf.matmul(state, tf.convert_to_tensor(self.recurrent_kernel))
    one, two, three, four = tf.split(sums, _LSTM_GATES, axis=-1)
    gate = self.recurrent_activation
    carry = gate(two) * carry + gate(one) * self.activation(three)
    new = gate(four) * self.activation(carry)
    return new, [new, carry]
