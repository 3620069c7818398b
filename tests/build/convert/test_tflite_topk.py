"""A top-k of a large catalogue in two stages gives what one top-k gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepack.build.convert.tflite_file import operator_name, parse_tflite, tflite_bytes
from edgepack.build.convert.tflite_head import head_tensor_names
from edgepack.build.convert.tflite_topk import stage_top_k, stretch_of
from tests.build.convert.tflite_graphs import TfliteGraph

UNITS, K = 8, 5
_F, _I, _B = schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.INT8


def _ranker(
    table: npt.NDArray[Any], bias: npt.NDArray[np.float32] | None, *, each_row: bool = False
) -> Any:
    made, rows = TfliteGraph(), len(table)
    state = made.tensor((1, UNITS), _F)
    weights = made.tensor(table.shape, _B if table.dtype == np.int8 else _F, table)
    if table.dtype == np.int8:
        scales = rows if each_row else 1
        quantization = made.graph.tensors[weights].quantization
        quantization.scale = np.full(scales, 0.01, np.float32)
        quantization.zeroPoint = np.zeros(scales, np.int64)
    added = -1 if bias is None else made.tensor((rows,), _F, bias)
    scores = made.tensor((1, rows), _F)
    product = schema.FullyConnectedOptionsT()
    product.asymmetricQuantizeInputs = table.dtype == np.int8
    version = 1 if table.dtype != np.int8 else (12 if each_row else 9)
    made.add("FULLY_CONNECTED", version, [state, weights, added], [scores], product)
    items = made.tensor((1, rows - 1), _F)
    cut = schema.StridedSliceOptionsT()
    cut.beginMask, cut.endMask = 1, 3
    slices = [scores, made.ints(0, 1), made.ints(0, 0), made.ints(1, 1)]
    made.add("STRIDED_SLICE", 1, slices, [items], cut)
    k = made.tensor((), _I, np.array(K, np.int32))
    best, at, answer = made.tensor((1, K), _F), made.tensor((1, K), _I), made.tensor((1, K), _I)
    made.add("TOPK_V2", 1, [items, k], [best, at], schema.TopKV2OptionsT())
    made.add("ADD", 1, [at, made.ints(1)], [answer], schema.AddOptionsT())
    made.graph.inputs = np.array([state], np.int32)
    made.graph.outputs = np.array([best, answer], np.int32)
    return made.model


def _run(model: Any, state: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
    interpreter = Interpreter(model_content=tflite_bytes(model), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], state)
    interpreter.invoke()
    return [interpreter.get_tensor(each["index"]) for each in interpreter.get_output_details()]


def _staged(model: Any) -> Any:
    copy = parse_tflite(tflite_bytes(model))
    assert stage_top_k(copy, least_items=1) == 1
    return copy


def _names(model: Any) -> list[str]:
    return [operator_name(model, each) for each in model.subgraphs[0].operators]


@pytest.mark.parametrize("rows", [2 * K + 1, 2 * K + 2, 5 * K, 1_000, 1_025])
@pytest.mark.parametrize("kind", [np.float32, np.int8])
def test_two_stages_answer_as_one_does(rows: int, kind: Any) -> None:
    random = np.random.default_rng(rows)
    table = random.integers(-100, 100, (rows, UNITS)).astype(kind)
    # Padding would win if it were not shut out.
    bias = random.normal(size=rows).astype(np.float32)
    bias[0] = 1e6
    model = _ranker(table, bias)
    state = random.normal(size=(1, UNITS)).astype(np.float32)
    for one, two in zip(_run(model, state), _run(_staged(model), state), strict=True):
        assert np.array_equal(one, two)


def test_a_stretch_is_as_long_as_looks_at_the_fewest_scores() -> None:
    # The sizes of `benchmarks/variants/topk.py`, with the stretch that was quickest there.
    assert [stretch_of(items, 40) for items in (4_000, 10_000, 20_000)] == [16, 16, 32]
    assert stretch_of(10**8, 1) == 128


def test_ties_go_to_items_of_the_same_score() -> None:
    random = np.random.default_rng(1)
    # Few different scores: each of the best is shared by dozens of items in many stretches.
    table = random.integers(0, 2, (2_000, UNITS)).astype(np.float32)
    model, state = _ranker(table, None), np.ones((1, UNITS), np.float32)
    scores, items = _run(_staged(model), state)
    assert np.array_equal(scores, _run(model, state)[0])
    assert len(set(items.ravel())) == K
    assert np.array_equal(scores.ravel(), table[items.ravel()].sum(axis=1))


def test_a_table_with_a_scale_for_each_row_gets_scales_for_new_rows() -> None:
    random = np.random.default_rng(2)
    table = random.integers(-100, 100, (1_000, UNITS)).astype(np.int8)
    staged = _staged(_ranker(table, None, each_row=True))
    weights = staged.subgraphs[0].tensors[1]
    assert list(weights.shape) == [1_008, UNITS]
    assert len(weights.quantization.scale) == len(weights.quantization.zeroPoint) == 1_008


def test_the_scores_are_not_copied_to_cut_padding_off() -> None:
    table = np.ones((1_000, UNITS), np.float32)
    assert "STRIDED_SLICE" not in _names(_staged(_ranker(table, None)))


def test_scores_that_are_an_answer_too_keep_their_shape() -> None:
    random = np.random.default_rng(3)
    model = _ranker(random.normal(size=(1_000, UNITS)).astype(np.float32), None)
    graph = model.subgraphs[0]
    cut = next(each for each in graph.operators if operator_name(model, each) == "STRIDED_SLICE")
    graph.outputs = np.array([*graph.outputs, cut.outputs[0]], np.int32)
    state = random.normal(size=(1, UNITS)).astype(np.float32)
    for one, two in zip(_run(model, state), _run(_staged(model), state), strict=True):
        assert np.array_equal(one, two)


def test_a_small_catalogue_is_left_alone() -> None:
    model = _ranker(np.ones((1_000, UNITS), np.float32), None)
    before = tflite_bytes(model)
    assert stage_top_k(model) == 0
    assert tflite_bytes(model) == before


def test_all_that_is_made_of_the_scores_counts_as_their_head() -> None:
    model = _ranker(np.ones((1_000, UNITS), np.float32), None)
    graph = model.subgraphs[0]
    for number, tensor in enumerate(graph.tensors):
        tensor.name = f"t{number}".encode()
    computed = {f"t{i}" for each in graph.operators for i in each.outputs}
    assert set(head_tensor_names(model)) == computed


def test_scores_looked_up_for_each_item_and_added_belong_to_the_head() -> None:
    made = TfliteGraph()
    state, parts = made.tensor((1, UNITS), _F), np.ones((16, UNITS), np.float32)
    body, scores = made.tensor((1, UNITS), _F), made.tensor((1, 16), _F)
    made.add("ABS", 1, [state], [body], schema.AbsOptionsT())
    product = [body, made.tensor(parts.shape, _F, parts), -1]
    made.add("FULLY_CONNECTED", 1, product, [scores], schema.FullyConnectedOptionsT())
    looked_up = [made.tensor((1, 9), _F) for _ in range(2)]
    for out in looked_up:
        gather = schema.GatherOptionsT()
        gather.axis = 1
        made.add("GATHER", 1, [scores, made.ints(*range(9))], [out], gather)
    total = made.tensor((1, 9), _F)
    made.add("ADD", 1, looked_up, [total], schema.AddOptionsT())
    made.graph.inputs = np.array([state], np.int32)
    made.graph.outputs = np.array([total], np.int32)
    for number, tensor in enumerate(made.graph.tensors):
        tensor.name = f"t{number}".encode()
    # Both look-ups, not only the one on the way back from the sum's first operand.
    expected = {f"t{i}" for i in (scores, *looked_up, total)}
    assert set(head_tensor_names(made.model)) == expected
