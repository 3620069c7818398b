"""ONNX's GRU and LSTM with the reordered weights answer as Keras's equations do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgepack.build.convert.rnn_weights import onnx_rnn_weights

Array = npt.NDArray[Any]
STEPS, WIDTH, UNITS = 5, 3, 4


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def _keras_gru(x: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """The last state of a GRU with `reset_after`. Source: keras.layers.GRUCell."""
    state = np.zeros(UNITS)
    for step in x:
        z_in, r_in, h_in = np.split(step @ kernel + bias[0], 3)
        z_re, r_re, h_re = np.split(state @ recurrent + bias[1], 3)
        z, r = _sigmoid(z_in + z_re), _sigmoid(r_in + r_re)
        state = z * state + (1 - z) * np.tanh(h_in + r * h_re)
    return state


def _keras_lstm(x: Array, kernel: Array, recurrent: Array, bias: Array) -> Array:
    """The last output of an LSTM. Source: keras.layers.LSTMCell, gates i, f, c, o."""
    state, carry = np.zeros(UNITS), np.zeros(UNITS)
    for step in x:
        i, f, c, o = np.split(step @ kernel + state @ recurrent + bias, 4)
        carry = _sigmoid(f) * carry + _sigmoid(i) * np.tanh(c)
        state = _sigmoid(o) * np.tanh(carry)
    return state


def _run_onnx(operator: str, x: Array, weights: tuple[Array, Array, Array]) -> Array:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    attributes = {"linear_before_reset": 1} if operator == "GRU" else {}
    graph = helper.make_graph(
        [
            helper.make_node(
                operator, ["x", "w", "r", "b"], ["", "h"], hidden_size=UNITS, **attributes
            )
        ],
        "rnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [STEPS, 1, WIDTH])],
        [helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, 1, UNITS])],
        [
            numpy_helper.from_array(each.astype(np.float32), name)
            for name, each in zip("wrb", weights, strict=True)
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    answer: Array = ReferenceEvaluator(model).run(None, {"x": x[:, None].astype(np.float32)})[0]
    return answer.reshape(-1)


def test_a_gru_answers_alike() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS, WIDTH))
    weights = [rng.normal(size=s) for s in ((WIDTH, 3 * UNITS), (UNITS, 3 * UNITS), (2, 3 * UNITS))]
    found = _run_onnx("GRU", x, onnx_rnn_weights(weights, gates=3))
    # float32 against float64 over five steps.
    np.testing.assert_allclose(found, _keras_gru(x, *weights), atol=1e-5)


def test_an_lstm_answers_alike() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(STEPS, WIDTH))
    weights = [rng.normal(size=s) for s in ((WIDTH, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))]
    found = _run_onnx("LSTM", x, onnx_rnn_weights(weights, gates=4))
    np.testing.assert_allclose(found, _keras_lstm(x, *weights), atol=1e-5)


def test_a_layer_without_bias_gets_zeros() -> None:
    weights = [np.ones((WIDTH, 4 * UNITS)), np.ones((UNITS, 4 * UNITS))]
    _, _, bias = onnx_rnn_weights(weights, gates=4)
    assert bias.shape == (1, 8 * UNITS)
    assert not bias.any()
