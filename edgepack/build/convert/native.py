"""Writes GRU, LSTM and LayerNormalization as the one ONNX operator each of them has.

A traced Keras layer is a loop or a dozen small operators, and neither becomes one ONNX node
again. So before tracing, such a layer is made to write a named marker in its place, and the
export replaces each marker by the node, with the layer's own weights. An attention of several heads
is written plainly instead (`native_attention`). Runs in a worker; imports TensorFlow; used by
`onnx_export`, and by `fewer_operators` to know a norm.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from edgepack.build.convert.native_attention import is_plain_attention, write_attention_plainly
from edgepack.build.convert.rnn_weights import Array, onnx_rnn_weights

MARKER: Final = "edgepack_native_"


@dataclass(frozen=True, slots=True)
class NativeLayer:
    """A layer as its ONNX node has it.

    Attributes:
        operator: `LayerNormalization`, `GRU` or `LSTM`.
        weights: The node's constant inputs, in its order.
        attributes: The node's attributes.
        every_step: Whether a recurrent layer answers with every step's state or the last's.
    """

    operator: str
    weights: tuple[Array, ...]
    attributes: Mapping[str, Any]
    every_step: bool = False


def mark_native_layers(layers: Sequence[Any]) -> dict[str, NativeLayer]:
    """Makes every layer with a native form write a marker from now on, in place.

    Args:
        layers: Keras layers.

    Returns:
        The layers that do, by marker name. A layer called several times writes several
        markers whose names begin with it. An attention of several heads is not among them: it
        has no node of its own, and only writes fewer operators.
    """
    import keras

    marked: dict[str, NativeLayer] = {}
    for layer in layers:
        name = f"{MARKER}{len(marked)}_"
        if type(layer) is keras.layers.LayerNormalization and is_plain_norm(layer):
            marked[name] = _native_norm(layer)
            layer.call = types.MethodType(_norm_call(name), layer)
        elif type(layer) in (keras.layers.GRU, keras.layers.LSTM) and _is_plain_rnn(layer):
            marked[name] = _native_rnn(layer, is_gru=type(layer) is keras.layers.GRU)
            layer.inner_loop = types.MethodType(_rnn_loop(name, layer.inner_loop), layer)
        elif is_plain_attention(layer):
            write_attention_plainly(layer)
    return marked


def marker_handlers(marked: Mapping[str, NativeLayer]) -> dict[str, Any]:
    """Returns tf2onnx's table of handlers for the markers.

    Args:
        marked: From `mark_native_layers`.
    """

    def replace(context: Any, node: Any, name: str, _arguments: Any) -> None:
        layer = next((each for key, each in marked.items() if key in name), None)
        if layer is None:
            raise ValueError(f"{name}: a Python function cannot be converted")
        source, target = node.input[0], node.output[0]
        context.remove_node(name)
        weights = [_constant(context, name, each) for each in layer.weights]
        if layer.operator == "LayerNormalization":
            _norm_node(context, layer, [source, *weights], target, name)
        else:
            _rnn_node(context, layer, weights, source, target, name)

    return {kind: (replace, []) for kind in ("PyFunc", "PyFuncStateless", "EagerPyFunc")}


def is_plain_norm(layer: Any) -> bool:
    """Whether a LayerNormalization is the textbook's: over the last axis, with gamma and beta."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    return bool(
        list(axes) == [-1] and layer.scale and layer.center and not getattr(layer, "rms_scaling", 0)
    )


def _is_plain_rnn(layer: Any) -> bool:
    names = (layer.activation.__name__, layer.recurrent_activation.__name__)
    return names == ("tanh", "sigmoid") and not layer.stateful and not layer.return_state


def _marker(name: str, source: Any, shape: Any) -> Any:
    # Never runs: it is only traced, and replaced before anything reads the graph.
    marked = tf.numpy_function(_unreachable, [source], tf.float32, stateful=False, name=name)
    marked.set_shape(shape)
    return marked


def _unreachable(*_values: Any) -> Any:
    raise AssertionError("a marker was run")


def _norm_call(name: str) -> Callable[..., Any]:
    def call(self: Any, inputs: Any) -> Any:
        del self
        return _marker(name, inputs, inputs.shape)

    return call


def _rnn_loop(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def inner_loop(
        self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> Any:
        if mask is not None:
            # A masked step keeps the state, which the native node cannot say.
            return original(sequences, initial_state, mask, training)
        if self.go_backwards:
            sequences = tf.reverse(sequences, [1])
        batch, steps, _ = sequences.shape
        if self.return_sequences:
            every = _marker(name, sequences, (batch, steps, self.units))
            return every[:, -1], every, [every[:, -1]]
        last = _marker(name, sequences, (batch, self.units))
        return last, last[:, None], [last]

    return inner_loop


def _native_norm(layer: Any) -> NativeLayer:
    return NativeLayer(
        "LayerNormalization",
        (np.asarray(layer.gamma), np.asarray(layer.beta)),
        {"axis": -1, "epsilon": float(layer.epsilon)},
    )


def _native_rnn(layer: Any, *, is_gru: bool) -> NativeLayer:
    weights = [np.asarray(each) for each in layer.get_weights()]
    attributes: dict[str, Any] = {"hidden_size": int(layer.units)}
    if is_gru:
        attributes["linear_before_reset"] = int(layer.reset_after)
    return NativeLayer(
        "GRU" if is_gru else "LSTM",
        onnx_rnn_weights(weights, gates=3 if is_gru else 4),
        attributes,
        every_step=bool(layer.return_sequences),
    )


def _norm_node(
    context: Any, layer: NativeLayer, inputs: Sequence[str], target: str, name: str
) -> None:
    context.make_node(
        layer.operator,
        list(inputs),
        outputs=[target],
        name=name,
        attr=dict(layer.attributes),
        shapes=[context.get_shape(inputs[0])],
        dtypes=[context.get_dtype(inputs[0])],
    )


def _rnn_node(
    context: Any, layer: NativeLayer, weights: Sequence[str], source: str, target: str, name: str
) -> None:
    turned = context.make_node("Transpose", [source], attr={"perm": [1, 0, 2]}).output[0]
    # Y is [steps, 1, batch, units], Y_h is [1, batch, units].
    every, last, *_ = context.make_node(
        layer.operator, [turned, *weights], output_count=2, attr=dict(layer.attributes)
    ).output
    if layer.every_step:
        axis = _constant(context, name, np.array([1], dtype=np.int64))
        flat = context.make_node("Squeeze", [every, axis]).output[0]
        back: dict[str, Any] = {"attr": {"perm": [1, 0, 2]}, "outputs": [target]}
        context.make_node("Transpose", [flat], name=name, dtypes=[1], **back)
    else:
        axis = _constant(context, name, np.array([0], dtype=np.int64))
        context.make_node("Squeeze", [last, axis], outputs=[target], name=name, dtypes=[1])


def _constant(context: Any, name: str, value: Array) -> str:
    from tf2onnx import utils

    return str(context.make_const(utils.make_name(f"{name}_weights"), value).output[0])
