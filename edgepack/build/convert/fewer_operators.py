"""Makes Keras layers write fewer TFLite operators, with the same numbers. Runs in a worker.

A normalisation comes out of the converter as eleven operators, an attention's four projections
as four products over all positions, and a look-up as three comparisons before the `GATHER`.
Before tracing, such layers are made to write

- a normalisation in eight operators, and where a dense layer reads it in six: gamma and beta are
  multiplied into that layer's weights when the file is made;
- an attention of one head in two products (`merging`);
- a recommender's look-up by the index as it comes: a history holds no number below zero.

Imports TensorFlow; used by `graph`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from edgepack.build.convert.merging import merging_keys_saves, merging_values_saves, multiplied
from edgepack.build.convert.native import is_plain_norm

#: A dense layer of more weights keeps them: its copy would be as large as the model.
_FOLDED_WEIGHTS: Final = 4_000_000

#: What a normalisation returned, and how: by tensor, the normalised rows, gamma and beta.
_Normalised = dict[Any, tuple[Any, Any, Any]]


def write_fewer_operators(layers: Sequence[Any], *, ranks: bool) -> None:
    """Makes layers write fewer operators from now on, in place.

    Args:
        layers: Keras layers. Only Keras's own and edgepack's are changed, and only in float32.
        ranks: The model is a recommender, whose look-ups get what a history holds.
    """
    import keras

    from edgepack.build.models.layers import CausalAttention

    normalised: _Normalised = {}
    for layer in layers:
        if not layer.built or layer.compute_dtype != "float32":
            continue
        if type(layer) is keras.layers.LayerNormalization and is_plain_norm(layer):
            _replace_call(layer, _norm_call(layer, normalised))
        elif type(layer) is keras.layers.Dense and _is_plain_dense(layer):
            _replace_call(layer, _dense_call(layer, normalised))
        elif type(layer) is CausalAttention:
            _replace_call(layer, _attention_call(layer))
        elif ranks and _is_plain_embedding(layer):
            _replace_call(layer, _look_up_call(layer))


def _replace_call(layer: Any, call: Callable[..., Any]) -> None:
    layer.call = types.MethodType(call, layer)


def _is_plain_dense(layer: Any) -> bool:
    changed = layer.quantization_mode is not None or layer.lora_enabled
    return not changed and int(np.prod(layer.kernel.shape)) <= _FOLDED_WEIGHTS


def _is_plain_embedding(layer: Any) -> bool:
    import keras

    known = type(layer) in (keras.layers.Embedding, keras.layers.ReversibleEmbedding)
    return known and layer.quantization_mode is None and not layer.lora_enabled


def _norm_call(layer: Any, normalised: _Normalised) -> Callable[..., Any]:
    gamma, beta = np.asarray(layer.gamma), np.asarray(layer.beta)

    def call(self: Any, inputs: Any) -> Any:
        mean = tf.reduce_mean(inputs, -1, keepdims=True)
        centred = inputs - mean
        variance = tf.reduce_mean(tf.math.squared_difference(inputs, mean), -1, keepdims=True)
        scale = tf.math.rsqrt(variance + self.epsilon)
        # A factor on its own would be multiplied into a product behind, also into one whose
        # table reads the input too and would then be kept twice.
        answer = centred * (scale * gamma) + beta
        # What nobody reads is not converted.
        normalised[answer.ref()] = (centred * scale, gamma, beta)
        return answer

    return call


def _dense_call(layer: Any, normalised: _Normalised) -> Callable[..., Any]:
    original = layer.call
    kernel = np.asarray(layer.kernel)
    bias = np.zeros(kernel.shape[-1], np.float32) if layer.bias is None else np.asarray(layer.bias)

    def call(self: Any, inputs: Any, training: Any = None) -> Any:
        found = normalised.get(inputs.ref()) if hasattr(inputs, "ref") else None
        if found is None:
            return original(inputs, training=training)
        rows, gamma, beta = found
        answer = tf.matmul(rows, gamma[:, None] * kernel)
        answer = tf.nn.bias_add(answer, bias + multiplied(beta[None], kernel)[0])
        return answer if self.activation is None else self.activation(answer)

    return call


def _attention_call(layer: Any) -> Callable[..., Any]:
    original = layer.call
    dense = (layer.query, layer.key, layer.value, layer.output_dense)
    asking, asked, value, output = (np.asarray(each.kernel) for each in dense)
    width, height, units, out = len(asking), len(asked), layer.units, output.shape[1]

    def call(self: Any, query: Any, context: Any, training: Any = None) -> Any:
        positions, others = int(query.shape[1]), int(context.shape[1])
        if not (
            merging_keys_saves(positions, others, width, height, units)
            and merging_values_saves(positions, others, height, units, out)
        ):
            return original(query, context, training=training)
        questions = tf.matmul(query, multiplied(asking * self.units**-0.5, asked.T))
        shares = self.shares(tf.matmul(questions, context, transpose_b=True), training)
        return tf.nn.bias_add(
            tf.matmul(tf.matmul(shares, context), multiplied(value, output)),
            self.output_dense.bias,
        )

    return call


def _look_up_call(layer: Any) -> Callable[..., Any]:
    original = layer.call

    def call(self: Any, inputs: Any, *given: Any, **named: Any) -> Any:
        # Asked in reverse the layer multiplies.
        if any(given) or any(named.values()) or not inputs.dtype.is_integer:
            return original(inputs, *given, **named)
        return tf.gather(tf.convert_to_tensor(self.embeddings), inputs)

    return call
