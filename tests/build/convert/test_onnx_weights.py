"""Weights that are 8-bit in the file and floats while they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgepack.build.convert.onnx_weights import pack_weights, quantise_evenly
from tests.build.convert.onnx_models import FLOAT, Array, copy_of, graph_of, normal, operators, run

STEPS, WIDTH, UNITS = 6, 32, 48


def _model(weights: Array, operator: str = "MatMul", **given: int) -> Any:
    return graph_of(
        [helper.make_node(operator, ["x", "w"], ["y"], operator, **given)],
        {"x": (FLOAT, [STEPS, WIDTH])},
        {"y": (FLOAT, [STEPS, UNITS])},
        {"w": weights},
    )


def _pack(model: Any) -> int:
    return pack_weights(model, lambda _: True)


@pytest.mark.parametrize(
    ("weights", "operator", "given"),
    [
        (normal(WIDTH, UNITS), "MatMul", {}),
        (normal(WIDTH, UNITS), "Gemm", {}),
        (normal(UNITS, WIDTH), "Gemm", {"transB": 1}),
    ],
)
def test_each_output_is_as_near_as_its_own_half_step(
    weights: Array, operator: str, given: dict[str, int]
) -> None:
    turned = weights.T if given else weights
    # One output a hundred times the others: with one scale for all they would be lost.
    turned[:, 0] *= 100
    model, x = _model(weights, operator, **given), normal(STEPS, WIDTH, seed=2)
    before = run(copy_of(model), x=x)[0]
    assert _pack(model) == 1
    after = run(model, x=x)[0]
    # Half a step for each weight, times what it is multiplied by.
    steps = np.abs(turned).max(axis=0) / 127
    limit = np.abs(x).sum(axis=1)[:, None] * steps / 2 + 1e-4
    assert (np.abs(after - before) <= limit).all()


def test_the_file_is_a_quarter_and_the_runtime_unpacks_at_load(tmp_path: Path) -> None:
    model = _model(normal(WIDTH, UNITS))
    size = model.ByteSize()
    _pack(model)
    assert model.ByteSize() < 0.4 * size
    assert operators(model) == ["Cast", "Mul", "MatMul"]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    loaded = onnx.load(options.optimized_model_filepath)
    assert len(loaded.graph.node) == 1, operators(loaded)


def test_a_gru_is_packed_by_gate_and_unit() -> None:
    units = 16
    model = graph_of(
        [helper.make_node("GRU", ["x", "w", "r"], ["", "y"], "gru", hidden_size=units)],
        {"x": (FLOAT, [STEPS, 1, WIDTH])},
        {"y": (FLOAT, [1, 1, units])},
        {"w": normal(1, 3 * units, WIDTH), "r": normal(1, 3 * units, units + 8)[:, :, :units]},
    )
    x = normal(STEPS, 1, WIDTH, seed=2)
    before = run(copy_of(model), x=x)[0]
    # The recurrent weights are below the size that is worth two nodes.
    assert _pack(model) == 1
    scale = next(each for each in model.graph.initializer if each.name == "wscale_")
    assert list(scale.dims) == [1, 3 * units, 1]
    # A state is between -1 and 1; 127 steps of each weight move it by a few hundredths at most.
    assert np.abs(run(model, x=x)[0] - before).max() < 0.05


def test_a_weight_that_is_also_looked_up_is_left_alone() -> None:
    model = _model(normal(WIDTH, UNITS))
    index = helper.make_node("Gather", ["w", "i"], ["row"], "gather")
    model.graph.node.append(index)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "i"))
    model.graph.output.append(helper.make_tensor_value_info("row", FLOAT, [1, UNITS]))
    assert pack_weights(model, lambda node: node.op_type == "MatMul") == 0


def test_what_is_not_wanted_or_small_stays_float() -> None:
    assert pack_weights(_model(normal(WIDTH, UNITS)), lambda _: False) == 0
    small = graph_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (FLOAT, [2, 4])},
        {"y": (FLOAT, [2, 4])},
        {"w": normal(4, 4)},
    )
    assert _pack(small) == 0


def test_a_column_of_zeros_stays_zero() -> None:
    weights = normal(WIDTH, UNITS)
    weights[:, 3] = 0
    values, scales = quantise_evenly(weights, -2)
    assert not (values * scales)[:, 3].any()
    assert np.isfinite(scales).all()
