from __future__ import annotations

import base64
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepack.formats.tensors import TensorSpec
from edgepack.runner.http.messages import RefusalError
from edgepack.runner.http.tensors.turn import OutputTensor
from edgepack.runner.http.tfs.response import predict_response
from tests.runner.http.apps import EchoEngine, Served, recommender_live, tensor_live
from tests.runner.simulators import GRAPH_TOP_K, SimulatedEngine, SimulatedTensorEngine

_PREDICT = "/v1/models/session:predict"
_DOUBLE = "/v1/models/doubler:predict"
_ROW = [0, 0, 0, 3, 7]


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(recommender_live(tmp_path))


@pytest.fixture
def doubler(tmp_path: Path) -> Served:
    return Served(tensor_live(tmp_path, SimulatedTensorEngine()))


@pytest.fixture
def pair(tmp_path: Path) -> Served:
    specs = (TensorSpec("a", "float32", (-1, 2)), TensorSpec("b", "int32", (-1,)))
    return Served(tensor_live(tmp_path, EchoEngine(*specs)))


def test_rows_in_and_rows_out(doubler: Served) -> None:
    asked = {"signature_name": "serving_default", "instances": [[1, 2, 3], [0.5, 0, -1]]}
    assert doubler.post(_DOUBLE, asked) == (200, {"predictions": [[2, 4, 6], [1, 0, -2]]})
    named = {"instances": [{"x": [1, 2, 3]}]}
    assert doubler.post(_DOUBLE, named) == (200, {"predictions": [[2, 4, 6]]})


def test_columns_in_and_columns_out(doubler: Served) -> None:
    expected = (200, {"outputs": [[2, 4, 6]]})
    assert doubler.post(_DOUBLE, {"inputs": [[1, 2, 3]]}) == expected
    assert doubler.post(_DOUBLE, {"inputs": {"x": [[1, 2, 3]], "other": 1}}) == expected


def test_several_tensors_are_objects_by_name(pair: Served) -> None:
    rows = {"instances": [{"a": [1, 2], "b": 5}, {"b": 6, "a": [3, 4]}]}
    assert pair.post(_DOUBLE, rows) == (
        200,
        {"predictions": [{"same_a": [1, 2], "same_b": 5}, {"same_a": [3, 4], "same_b": 6}]},
    )
    columns = {"inputs": {"a": [[1, 2], [3, 4]], "b": [5, 6]}}
    assert pair.post(_DOUBLE, columns) == (
        200,
        {"outputs": {"same_a": [[1, 2], [3, 4]], "same_b": [5, 6]}},
    )


def test_a_recommender_ranks_indices(served: Served) -> None:
    status, body = served.post(_PREDICT, {"instances": [_ROW, [0, 0, 0, 0, 20]]})
    assert status == 200
    first, second = body["predictions"]
    assert (len(first["items"]), first["items"][0], second["items"][0]) == (GRAPH_TOP_K, 7, 20)
    assert first["scores"] == sorted(first["scores"], reverse=True)


def test_item_ids_are_strings_of_any_number_and_come_back_as_strings(served: Served) -> None:
    coded = {"b64": base64.b64encode(b"sku-7").decode()}
    asked = {"instances": [["sku-3", coded], ["sku-20"], [], ["never-seen", "sku-1"]]}
    status, body = served.post(_PREDICT, asked)
    assert status == 200
    assert [row["items"][0] for row in body["predictions"]][:2] == ["sku-7", "sku-20"]
    assert len(body["predictions"]) == 4
    _, body = served.post(_PREDICT, {"inputs": {"history": [["sku-20"]]}})
    assert body["outputs"]["items"][0][0] == "sku-20"
    numbers = served.post(_PREDICT, {"instances": [_ROW]})[1]["predictions"][0]
    texts = served.post(_PREDICT, {"instances": [["sku-3", "sku-7"]]})[1]["predictions"][0]
    assert texts["scores"] == numbers["scores"]
    assert texts["items"] == [f"sku-{index}" for index in numbers["items"]]


def test_nan_and_infinities_go_in_and_come_out(doubler: Served) -> None:
    response = doubler.send("POST", _DOUBLE, b'{"instances": [[NaN, Infinity, -Infinity]]} tail')
    assert response.status == 200
    assert b"[[NaN,Infinity,-Infinity]]" in response.body
    assert math.isnan(json.loads(response.body)["predictions"][0][0])


_BOTH = {"instances": [1], "inputs": [1]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
        ({}, "Missing 'inputs' or 'instances' key"),
        (_BOTH, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys"),
        ({"instances": {}}, "Excepting 'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        (
            {"signature_name": 100},
            "not formatted correctly. 'signature_name' key must be a string value.",
        ),
        (
            {"signature_name": "x", "instances": [1]},
            'Serving signature name: "x" not found in signature def',
        ),
        (
            {"instances": [["a", 1, 2]]},
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON "
            'Value: "a" Type: String is not of expected type: float',
        ),
        ({"inputs": [[1, True, 2]]}, "JSON Value: true Type: True is not of expected type: float"),
        ({"inputs": [[1, None, 2]]}, "JSON Value: null Type: Null is not of expected type: float"),
        ({"inputs": [[{"b64": "YQ=="}, 1, 2]]}, "Type: Object is not of expected type: float"),
        (
            {"inputs": [[2**24, 1, 2]]},
            "Cannot convert JSON value: 16777216 to float without loss of precision.",
        ),
        (
            {"inputs": [[1e39, 1, 2]]},
            "Cannot convert JSON value: 1e+39 to float without loss of precision.",
        ),
        (
            {"instances": [[1, 2, 3], [1, 2]]},
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting "
            "tensor size: 3 but got: 2",
        ),
        (
            {"instances": [[1, 2], [[1], [2]]]},
            "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [2,1]",
        ),
        (
            {"inputs": [[1, 2, 3], [1, 2]]},
            "Encountered list at unexpected size: 2 at level: 1 expected size: 3",
        ),
        (
            {"inputs": [[1, 2, 3], 4]},
            "JSON Value: 4 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ({"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
        ({"inputs": 1}, "input 'x' has the shape []; the model takes [-1, 3]"),
        ({"instances": [[1, 2]]}, "input 'x' has the shape [1,2]; the model takes [-1, 3]"),
        ({"instances": [[]]}, "input 'x' has the shape [1,0]; the model takes [-1, 3]"),
        ({"inputs": json.loads("[" * 20 + "]" * 20)}, "has 20 dimensions"),
        (
            {"instances": [[0, 0, 0]] * 257},
            "the batch is 257, expected 1 to 256",
        ),
        (
            {"instances": [{"x": [1, 2, 3]}, [1, 2, 3]]},
            "Expecting object but got list at item 1 of input list",
        ),
        (
            {"instances": [[1, 2, 3], {"x": [1, 2, 3]}]},
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            {"instances": [{"x": [1, 2, 3], "z": 1}]},
            "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON object: does not have named input: z",
        ),
        ({"instances": [{}]}, "JSON object: {} keys must be equal to: x"),
        ({"inputs": {"z": 1}}, "Missing named input: x in 'inputs' object."),
    ],
)
def test_a_bad_request_is_told_in_the_original_words(
    doubler: Served, body: object, words: str
) -> None:
    status, answer = doubler.post(_DOUBLE, body)
    assert status == 400
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"instances": [[1, 2]]}, "instances is a plain list, but expecting list of objects"),
        ({"inputs": [[1, 2]]}, "inputs is a plain value/list, but expecting an object"),
        ({"inputs": {"a": [[1, 2]]}}, "Missing named input: b in 'inputs' object."),
        ({"inputs": {"a": [[1, 2]], "b": [1, 2]}}, "differ in their first extent"),
        (
            {"instances": [{"a": [1, 2], "b": 1}, {"a": [1, 2]}]},
            "Failed to process element: 1 of 'instances' list. JSON object: ",
        ),
        (
            {"instances": [{"a": [1, 2], "b": 1}, {"a": [1, 2], "b": 1.5}]},
            "Failed to process element: 1 key: b of 'instances' list. Error: INVALID_ARGUMENT: "
            "JSON Value: 1.5 Type: Number is not of expected type: int32",
        ),
    ],
)
def test_several_tensors_have_their_own_errors(pair: Served, body: object, words: str) -> None:
    status, answer = pair.post(_DOUBLE, body)
    assert (status, words in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    ("instances", "words"),
    [
        ([[0, 0, 0, 0, 41]], "an item index outside 0 to 40"),
        ([["sku-1", 7]], "JSON Value: 7 Type: Number is not of expected type: string"),
        ([["sku-1", {"b64": "%"}]], "Unable to base64 decode"),
        ([["sku-1", {"b65": ""}]], "not formatted correctly for base64 data"),
        (["sku-1"], "found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([["sku-1"]] * 257, "the batch is 257, expected 1 to 256"),
    ],
)
def test_histories_that_are_none_are_refused(served: Served, instances: Any, words: str) -> None:
    status, answer = served.post(_PREDICT, {"instances": instances})
    assert (status, words in answer["error"]) == (400, True)


def test_a_model_without_a_batch_takes_its_tensor_as_it_is(tmp_path: Path) -> None:
    served = Served(tensor_live(tmp_path, EchoEngine(TensorSpec("x", "float32", (3,)))))
    assert served.post(_DOUBLE, {"inputs": [1, 2, 3]}) == (200, {"outputs": [1, 2, 3]})
    assert served.post(_DOUBLE, {"instances": [1, 2, 3]}) == (200, {"predictions": [1, 2, 3]})
    scalar = Served(tensor_live(tmp_path / "s", EchoEngine(TensorSpec("x", "float32", ()))))
    assert scalar.post(_DOUBLE, {"inputs": 5}) == (200, {"outputs": 5})


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((2,), (3,)), "Tensor name: out1 has inconsistent batch size: 3 expecting: 2"),
        (((2,), ()), "Tensor name: out1 has no shape information"),
    ],
)
def test_outputs_without_common_rows_have_no_row_form(
    shapes: tuple[tuple[int, ...], ...], words: str
) -> None:
    outputs = [
        OutputTensor(f"out{i}", "float32", shape, np.zeros(shape, np.float32))
        for i, shape in enumerate(shapes)
    ]
    with pytest.raises(RefusalError, match=words):
        predict_response(outputs, in_rows=True)
    assert predict_response(outputs, in_rows=False).status == 200


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_examples_are_refused_as_a_predict_signature_does(served: Served, method: str) -> None:
    kind = {"classify": "classification", "regress": "regression"}[method]
    path = f"/v1/models/session:{method}"
    status, body = served.post(path, {"examples": [{"x": 1.0}]})
    assert status == 400
    assert body["error"] == (
        f"Expected {kind} signature method_name to be tensorflow/serving/{method}. Was: "
        "tensorflow/serving/predict"
    )
    for asked, words in (
        ({}, "key 'examples' is expected and was not found"),
        ({"examples": 1}, "Expecting 'examples' value to be an list/array"),
        ({"examples": []}, "'examples' value is an empty array"),
        ({"examples": [{}], "signature_name": "x"}, "No signature was found with the name: x"),
    ):
        status, body = served.post(path, asked)
        assert (status, words in body["error"]) == (400, True)
    assert served.post(f"/v1/models/other:{method}", {"examples": [{}]})[0] == 404


def test_packed_bodies_go_both_ways(doubler: Served) -> None:
    body = gzip.compress(json.dumps({"instances": [[1, 2, 3]] * 200}).encode())
    headers = {"content-encoding": "gzip", "accept-encoding": "gzip"}
    response = doubler.send("POST", _DOUBLE, body, headers)
    assert len(json.loads(gzip.decompress(response.body))["predictions"]) == 200


def test_any_content_type_is_json(doubler: Served) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = b'{"instances": [[1, 2, 3]]}'
    assert doubler.send("POST", _DOUBLE, body, headers).status == 200


def test_a_failing_engine_is_a_500(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    served = Served(recommender_live(tmp_path, engine))
    engine.failing = "out of memory"
    status, answer = served.post(_PREDICT, {"instances": [_ROW]})
    assert (status, "out of memory" in answer["error"]) == (500, True)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**65) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_ROWS = st.lists(st.lists(st.integers(-1, 42) | st.text(max_size=3), max_size=5), max_size=3)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.fixed_dictionaries(
        {},
        optional={
            "instances": _ROWS | _ANYTHING,
            "inputs": _ROWS | st.dictionaries(st.just("history"), _ROWS) | _ANYTHING,
            "signature_name": st.just("serving_default") | _ANYTHING,
        },
    )
)
def test_no_json_is_answered_with_a_server_error(served: Served, document: dict[str, Any]) -> None:
    status, answer = served.post(_PREDICT, document)
    assert status in (200, 400)
    assert "error" in answer or "predictions" in answer or "outputs" in answer


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200), method=st.sampled_from(["predict", "classify", "regress"]))
def test_no_bytes_are_answered_with_a_server_error(
    served: Served, body: bytes, method: str
) -> None:
    assert served.send("POST", f"/v1/models/session:{method}", body).status in (200, 400)
