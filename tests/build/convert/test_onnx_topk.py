"""A top-k in stages gives what one top-k gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgepack.build.convert.onnx_topk import stage_top_k


def _model(items: int, k: int, **given: int) -> Any:
    graph = helper.make_graph(
        [helper.make_node("TopK", ["scores", "k"], ["best", "at"], "topk", **given)],
        "g",
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", items])],
        [
            helper.make_tensor_value_info("best", TensorProto.FLOAT, ["batch", k]),
            helper.make_tensor_value_info("at", TensorProto.INT64, ["batch", k]),
        ],
        [numpy_helper.from_array(np.array([k], dtype=np.int64), "k")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _answer(model: Any, scores: Any) -> Any:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"scores": scores})


@settings(max_examples=60)
@given(
    items=st.integers(60, 3000),
    k=st.integers(1, 12),
    stretch=st.integers(24, 100),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_answer_is_that_of_one_stage(
    items: int, k: int, stretch: int, batch: int, seed: int
) -> None:
    model = _model(items, k)
    scores = np.random.default_rng(seed).normal(size=(batch, items)).astype(np.float32)
    expected = _answer(model, scores)
    replaced = stage_top_k(model, stretch, least_items=2 * stretch + 1)
    assert replaced == (items > 2 * stretch)
    best, at = _answer(model, scores)
    np.testing.assert_array_equal(best, expected[0])
    np.testing.assert_array_equal(at, expected[1])


def test_equal_scores_keep_the_order_of_the_items() -> None:
    scores = np.repeat(np.array([[1.0, 2.0, 0.0]], dtype=np.float32), 500, axis=1)
    model = _model(1500, 9)
    expected = _answer(model, scores)
    assert stage_top_k(model, stretch=64, least_items=100) == 1
    for got, want in zip(_answer(model, scores), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_scores_that_are_all_below_zero_are_not_mistaken_for_padding() -> None:
    scores = -np.arange(1, 1002, dtype=np.float32)[None]
    model = _model(1001, 5)
    stage_top_k(model, stretch=64, least_items=100)
    best, at = _answer(model, scores)
    assert at.tolist() == [[0, 1, 2, 3, 4]]
    assert best.tolist() == [[-1.0, -2.0, -3.0, -4.0, -5.0]]


@pytest.mark.parametrize(
    "model", [_model(1000, 5), _model(50_000, 600), _model(50_000, 5, largest=0)]
)
def test_what_is_small_or_not_a_plain_top_k_is_left_alone(model: Any) -> None:
    before = model.SerializeToString()
    assert stage_top_k(model) == 0
    assert model.SerializeToString() == before
