"""A comparison with one number becomes one of two tensors of the same shape, and says the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepack.build.convert.tflite_compare import fill_compared_numbers
from edgepack.build.convert.tflite_file import tflite_bytes
from tests.build.convert.tflite_graphs import TfliteGraph

_I, _BOOL = schema.TensorType.INT32, schema.TensorType.BOOL
_HISTORY = np.array([[0, 0, 3, 7, 0, 5]], np.int32)


def _comparison(name: str, options: Any, shape: tuple[int, ...], number: Any) -> Any:
    made = TfliteGraph()
    history = made.tensor(shape, _I)
    other = made.tensor(number.shape, _I, number)
    there = made.tensor(shape, _BOOL)
    made.add(name, 1, [history, other], [there], options)
    made.graph.inputs, made.graph.outputs = [history], [there]
    return made.model


def _run(model: Any, given: Any) -> Any:
    interpreter = Interpreter(model_content=tflite_bytes(model))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], given)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.mark.parametrize(
    ("name", "options", "compare"),
    [
        ("NOT_EQUAL", schema.NotEqualOptionsT(), np.not_equal),
        ("EQUAL", schema.EqualOptionsT(), np.equal),
        ("LESS", schema.LessOptionsT(), np.less),
        ("GREATER_EQUAL", schema.GreaterEqualOptionsT(), np.greater_equal),
    ],
)
def test_a_number_gets_the_shape_of_what_it_is_compared_with(
    name: str, options: Any, compare: Any
) -> None:
    model = _comparison(name, options, (1, 6), np.array(3, np.int32))
    assert fill_compared_numbers(model) == 1
    graph = model.subgraphs[0]
    assert [int(n) for n in graph.tensors[graph.operators[0].inputs[1]].shape] == [1, 6]
    assert np.array_equal(_run(model, _HISTORY), compare(_HISTORY, 3))


@pytest.mark.parametrize(
    ("shape", "number"),
    [((1, 6), np.array([[3] * 6], np.int32)), ((1, 2_000), np.array(3, np.int32))],
    ids=["already whole", "a long tensor"],
)
def test_others_are_left_alone(shape: tuple[int, ...], number: Any) -> None:
    model = _comparison("NOT_EQUAL", schema.NotEqualOptionsT(), shape, number)
    assert fill_compared_numbers(model) == 0
