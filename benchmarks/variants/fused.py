"""Makes LSTM layers TFLite's one operator for them, for `forms`: measured, and not taken.

The operator remembers its state from one call to the next, so whoever runs a file must clear the
interpreter's variables before every call.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any, Final

import tensorflow as tf

_LSTM_GATES: Final = 4


def fuse(layers: Sequence[Any]) -> int:
    """Makes LSTM layers the function that the converter writes as one operator.

    Args:
        layers: Keras layers; what is no plain LSTM is left.

    Returns:
        How many do so from now on.

    Source: `CheckFusableKerasLstm` and `ConvertKerasLSTMLayer` in
    tensorflow/compiler/mlir/lite/utils/lstm_utils.cc.
    """
    import keras

    changed = 0
    for layer in layers:
        if type(layer) is keras.layers.LSTM and _is_plain(layer):
            layer.inner_loop = types.MethodType(_fused_loop(f"lstm_{changed}"), layer)
            changed += 1
    return changed


def _is_plain(layer: Any) -> bool:
    names = (layer.activation.__name__, layer.recurrent_activation.__name__)
    return names == ("tanh", "sigmoid") and not layer.stateful and not layer.return_state


def _fused_loop(name: str) -> Callable[..., Any]:
    def inner_loop(
        self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        import keras

        if mask is not None:
            # A masked step keeps the state, which the operator cannot say.
            return keras.layers.LSTM.inner_loop(self, sequences, initial_state, mask, training)
        if self.go_backwards:
            sequences = tf.reverse(sequences, [1])
        cell = self.cell
        bias = cell.bias if cell.use_bias else tf.zeros([_LSTM_GATES * self.units])
        layer = tf.function(
            _lstm_layer,
            autograph=False,
            experimental_attributes={
                "api_implements": name,
                "time_major": False,
                "go_backwards": False,
            },
        )
        kernels = (tf.convert_to_tensor(cell.kernel), tf.convert_to_tensor(cell.recurrent_kernel))
        state, carry = initial_state
        _, every, *_ = layer(sequences, state, carry, *kernels, tf.convert_to_tensor(bias))
        # Only the sequence may be read, or the converter leaves the function as it is.
        last = every[:, -1]
        return last, every if self.return_sequences else last[:, None], [last, last]

    return inner_loop


def _lstm_layer(
    sequences: Any, state: Any, carry: Any, kernel: Any, recurrent: Any, bias: Any
) -> Any:
    """What the operator computes; the converter knows the function by its name and arguments."""
    answers = []
    for step in tf.unstack(sequences, axis=1):
        sums = tf.matmul(step, kernel) + tf.matmul(state, recurrent) + bias
        one, two, three, four = tf.split(sums, _LSTM_GATES, axis=-1)
        carry = tf.sigmoid(two) * carry + tf.sigmoid(one) * tf.tanh(three)
        state = tf.sigmoid(four) * tf.tanh(carry)
        answers.append(state)
    return state, tf.stack(answers, axis=1), state, carry, tf.constant(0.0)
