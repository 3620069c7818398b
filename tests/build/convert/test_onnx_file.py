"""What is done to an ONNX graph beside quantising it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgepack.build.convert.onnx_file import (
    drop_unused,
    file_specs,
    head_product,
    merge_initializers,
    save_onnx,
    sort_nodes,
    tie_tables,
)

ITEMS, WIDTH = 40, 32


def _model(scoring: Any) -> Any:
    """A table that embeds one item and scores it: Gather, MatMul, Softmax, TopK."""
    table = np.random.default_rng(0).normal(size=(ITEMS, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "item"], ["vector"], "gather"),
        helper.make_node("MatMul", ["vector", "scoring"], ["logits"], "score"),
        helper.make_node("Softmax", ["logits"], ["shares"], "softmax"),
        helper.make_node("TopK", ["shares", "k"], ["scores", "items"], "topk"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("item", TensorProto.INT32, [1])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 5]),
            helper.make_tensor_value_info("items", TensorProto.INT64, [1, 5]),
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.ascontiguousarray(scoring(table)), "scoring"),
            numpy_helper.from_array(np.array([5], dtype=np.int64), "k"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _answer(model: Any) -> Any:
    return ReferenceEvaluator(model).run(None, {"item": np.array([3], dtype=np.int32)})


def test_a_transposed_table_is_kept_once_and_the_answer_stays() -> None:
    model = _model(lambda table: table.T)
    before = _answer(model)
    assert tie_tables(model) == 1
    assert [each.name for each in model.graph.initializer] == ["table", "k"]
    onnx.checker.check_model(model, full_check=True)
    for one, other in zip(_answer(model), before, strict=True):
        # numpy adds up a transposed matrix in another order.
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_a_matrix_of_its_own_is_left_alone() -> None:
    model = _model(lambda table: table.T + 1)
    assert tie_tables(model) == 0
    assert len(model.graph.initializer) == 3


def test_the_scoring_product_is_found_behind_softmax_and_topk() -> None:
    assert head_product(_model(lambda table: table.T)) == ["score"]


def test_equal_constants_become_one() -> None:
    model = _model(lambda table: table.T)
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([5], dtype=np.int64), "another_k")
    )
    model.graph.node[3].input[1] = "another_k"
    before = _answer(model)
    merge_initializers(model)
    assert "another_k" not in {each.name for each in model.graph.initializer}
    for one, other in zip(_answer(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_inputs_and_outputs_are_told_with_numpys_names() -> None:
    inputs, outputs = file_specs(_model(lambda table: table.T))
    assert [(each.name, each.dtype, each.shape) for each in inputs] == [("item", "int32", (1,))]
    assert [each.dtype for each in outputs] == ["float32", "int64"]


@pytest.mark.parametrize("note", ["made on host a", "made on host b"])
def test_what_the_host_wrote_into_a_file_does_not_reach_its_bytes(
    tmp_path: Path, note: str
) -> None:
    model = _model(lambda table: table.T)
    plain, marked = tmp_path / "plain.onnx", tmp_path / "marked.onnx"
    save_onnx(model, plain)
    model.doc_string = note
    helper.set_model_props(model, {"note": note})
    save_onnx(model, marked)
    assert plain.read_bytes() == marked.read_bytes()


def test_nodes_out_of_order_are_put_behind_what_they_read() -> None:
    model = _model(lambda table: table.T)
    before, nodes = _answer(model), list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
        onnx.checker.check_model(model)
    sort_nodes(model)
    onnx.checker.check_model(model, full_check=True)
    for want, got in zip(before, _answer(model), strict=True):
        np.testing.assert_array_equal(want, got)


def test_what_nobody_reads_is_dropped_and_what_a_subgraph_reads_is_kept() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["read_inside"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [1])],
    )
    straight = helper.make_graph(
        [], "other", [], [helper.make_tensor_value_info("straight", TensorProto.FLOAT, [1])]
    )
    one = np.array([1], dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Neg", ["x"], ["read_inside"]),
            helper.make_node("Abs", ["x"], ["straight"]),
            helper.make_node("Shape", ["x"], ["unused"]),
            helper.make_node("Cast", ["unused"], ["unused_too"], to=TensorProto.FLOAT),
            helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=straight),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array(True), "yes"), numpy_helper.from_array(one, "spare")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    drop_unused(model)
    assert [node.op_type for node in model.graph.node] == ["Neg", "Abs", "If"]
    assert [each.name for each in model.graph.initializer] == ["yes"]
    assert ReferenceEvaluator(model).run(None, {"x": one})[0].tolist() == [-1.0]
