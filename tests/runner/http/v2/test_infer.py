from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.formats.tensors import TensorSpec
from edgepack.runner.http.jobs import INLINE_LIMIT_NS, Job
from edgepack.runner.http.wire import Request
from tests.runner.http.apps import (
    EchoEngine,
    Served,
    recommender_live,
    tensor_live,
    versioned,
)
from tests.runner.simulators import GRAPH_TOP_K, SimulatedEngine

_PATH = "/v2/models/session/infer"
_HISTORY = {"name": "history", "datatype": "INT32", "shape": [1, 5], "data": [0, 0, 0, 3, 7]}


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(recommender_live(tmp_path))


def _echo(directory: Path, *specs: TensorSpec) -> Served:
    return Served(tensor_live(directory, EchoEngine(*specs)))


def _outputs(body: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each for each in body["outputs"]}


def test_a_recommender_answers_scores_and_items(served: Served) -> None:
    status, body = served.post(_PATH, {"id": "42", "inputs": [_HISTORY]})
    assert status == 200
    assert (body["model_name"], body["model_version"], body["id"]) == ("session", "1.2.0", "42")
    assert [each["name"] for each in body["outputs"]] == ["scores", "items"]
    found = _outputs(body)
    assert found["items"]["datatype"] == "INT32"
    assert found["items"]["shape"] == [1, GRAPH_TOP_K]
    assert found["items"]["data"][0] == 7
    assert found["scores"]["data"] == sorted(found["scores"]["data"], reverse=True)


def test_rows_are_answered_as_each_alone(served: Served) -> None:
    rows = [[0, 0, 0, 3, 7], [0, 0, 0, 0, 20], [1, 2, 3, 4, 5]]
    single = [
        _outputs(served.post(_PATH, {"inputs": [{**_HISTORY, "data": row}]})[1]) for row in rows
    ]
    _, body = served.post(_PATH, {"inputs": [{**_HISTORY, "shape": [3, 5], "data": rows}]})
    for name, output in _outputs(body).items():
        assert output["shape"] == [3, GRAPH_TOP_K]
        assert output["data"] == [value for each in single for value in each[name]["data"]]


def test_an_id_that_was_not_given_is_not_answered(served: Served) -> None:
    _, body = served.post(_PATH, {"inputs": [_HISTORY], "model_name": "session", "extra": 1})
    assert "id" not in body


def test_only_the_outputs_that_are_asked_for_come_back_in_their_order(served: Served) -> None:
    asked = {"inputs": [_HISTORY], "outputs": [{"name": "items"}, {"name": "scores"}]}
    assert [o["name"] for o in served.post(_PATH, asked)[1]["outputs"]] == ["items", "scores"]
    asked = {"inputs": [_HISTORY], "outputs": [{"name": "items", "parameters": {}}]}
    assert [o["name"] for o in served.post(_PATH, asked)[1]["outputs"]] == ["items"]


def test_item_ids_go_in_and_come_out_as_bytes(served: Served) -> None:
    _, numbers = served.post(_PATH, {"inputs": [{**_HISTORY, "data": [0, 0, 0, 3, 20]}]})
    data = [["sku-3", "sku-20", ""], ["never-seen", "", "sku-20"]]
    texts = {"name": "history", "datatype": "BYTES", "shape": [2, 3], "data": data}
    status, body = served.post(_PATH, {"inputs": [texts]})
    assert status == 200
    items = _outputs(body)["items"]
    assert (items["datatype"], items["shape"]) == ("BYTES", [2, GRAPH_TOP_K])
    expected = [f"sku-{index}" for index in _outputs(numbers)["items"]["data"]]
    assert items["data"][:GRAPH_TOP_K] == expected
    assert items["data"][GRAPH_TOP_K] == "sku-20"


@pytest.mark.parametrize(
    ("dtype", "name", "values"),
    [
        ("bool", "BOOL", [True, False, True]),
        ("uint8", "UINT8", [0, 1, 255]),
        ("uint16", "UINT16", [0, 1, 65535]),
        ("uint32", "UINT32", [0, 1, 2**32 - 1]),
        ("uint64", "UINT64", [0, 1, 2**64 - 1]),
        ("int8", "INT8", [-128, 0, 127]),
        ("int16", "INT16", [-32768, 0, 32767]),
        ("int32", "INT32", [-(2**31), 0, 2**31 - 1]),
        ("int64", "INT64", [-(2**63), 0, 2**63 - 1]),
        ("float16", "FP16", [-1.5, 0, 65504.0]),
        ("float32", "FP32", [-1.5, 0.1, 1e30]),
        ("float64", "FP64", [-1.5, 0.1, 1e300]),
    ],
)
def test_every_datatype_goes_there_and_back(
    tmp_path: Path, dtype: str, name: str, values: list[Any]
) -> None:
    served = _echo(tmp_path, TensorSpec("x", dtype, (1, 3)))
    tensor = {"name": "x", "datatype": name, "shape": [1, 3], "data": values}
    status, body = served.post("/v2/models/doubler/infer", {"inputs": [tensor]})
    assert status == 200
    assert body["outputs"][0]["datatype"] == name
    expected = np.array(values, dtype=dtype).tolist()
    assert body["outputs"][0]["data"] == expected


def test_several_inputs_are_taken_in_any_order(tmp_path: Path) -> None:
    served = _echo(tmp_path, TensorSpec("a", "float32", (-1, 2)), TensorSpec("b", "int64", (-1,)))
    a = {"name": "a", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}
    b = {"name": "b", "datatype": "INT64", "shape": [2], "data": [5, 6]}
    status, body = served.post("/v2/models/doubler/infer", {"inputs": [b, a]})
    assert status == 200
    assert [each["data"] for each in body["outputs"]] == [[1, 2, 3, 4], [5, 6]]
    b = {**b, "shape": [1], "data": [5]}
    status, body = served.post("/v2/models/doubler/infer", {"inputs": [a, b]})
    assert (status, "differ in their first extent" in body["error"]) == (400, True)


def _changed(**changes: Any) -> dict[str, Any]:
    tensor = {**_HISTORY, **changes}
    return {"inputs": [{k: v for k, v in tensor.items() if v is not None}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "expected an object"),
        (b"{}", "inputs is expected to be a list of tensors; session takes history"),
        (b'{"inputs": []}', "input 'history' is missing"),
        (b'{"inputs": [1]}', "expected to be an object with a name"),
        (_changed(name="x"), "unexpected input 'x'; session takes history"),
        ({"inputs": [_HISTORY, _HISTORY]}, "is there twice"),
        (_changed(datatype="FP32"), "has the datatype FP32; the model takes INT32"),
        (_changed(datatype="FLOAT"), "FLOAT, which is no datatype"),
        (_changed(datatype=None), "None, which is no datatype"),
        (_changed(datatype=["INT32"]), "which is no datatype"),
        (_changed(shape=None), "shape is expected to be a list"),
        (_changed(shape=[1, -5]), "shape is expected to be a list"),
        (_changed(shape=[1, True]), "shape is expected to be a list"),
        (_changed(shape=[5]), "has the shape [5]; the model takes [-1, 5]"),
        (_changed(shape=[0, 5], data=[]), "which is empty"),
        (_changed(shape=[10**30, 5]), "data is [5]; its shape says"),
        (_changed(data=None), "data is expected to be a list"),
        (_changed(data=[1, 2, 3]), "data is [3]; its shape says [1, 5]"),
        (_changed(data=[[1], [2], [3], [4], [5]]), "data is [5, 1]; its shape says [1, 5]"),
        (_changed(data=[[1, 2, 3, 4, 5], [1]]), "not a regular tensor at depth 1"),
        (_changed(data=[1, 2, 3, 4, "5"]), "has the value '5', which is no INT32"),
        (_changed(data=[1, 2, 3, 4, 5.0]), "has the value 5.0, which is no INT32"),
        (_changed(data=[1, 2, 3, 4, 2**31]), "has the value 2147483648, which is no INT32"),
        (_changed(data=[1, 2, 3, 4, 41]), "an item index outside 0 to 40"),
        (_changed(data=[1, 2, 3, 4, -1]), "an item index outside 0 to 40"),
        (_changed(shape=[257, 5], data=[0] * 1285), "the batch is 257, expected 1 to 256"),
        (_changed(datatype="BYTES", shape=[5]), "item ids come as [histories, items]"),
        (_changed(datatype="BYTES"), "has the value 0, expected an item id as a string"),
        (_changed(datatype="BYTES", shape=[10**9, 0], data=[]), "expected 1 to 256"),
        (_changed(parameters=[]), "the parameters of input 'history'"),
        (_changed(parameters={"shared_memory_region": "a"}), "shared memory is not supported"),
        ({"inputs": [_HISTORY], "id": 7}, "id is expected to be a string"),
        ({"inputs": [_HISTORY], "parameters": 7}, "expected to be an object"),
        ({"inputs": [_HISTORY], "parameters": {"timeout": -1}}, "timeout is expected"),
        ({"inputs": [_HISTORY], "parameters": {"sequence_id": 4}}, "a sequence of requests is not"),
        (
            {"inputs": [_HISTORY], "parameters": {"binary_data_output": 1}},
            "binary_data_output of the request is expected to be true or false",
        ),
        ({"inputs": [_HISTORY], "outputs": {}}, "outputs is expected to be a list"),
        ({"inputs": [_HISTORY], "outputs": ["items"]}, "an object with a name"),
        ({"inputs": [_HISTORY], "outputs": [{"name": "x"}]}, "session gives scores, items"),
        ({"inputs": [_HISTORY], "outputs": [{"name": "items"}] * 2}, "'items' is there twice"),
        (
            {
                "inputs": [_HISTORY],
                "outputs": [{"name": "items", "parameters": {"classification": 3}}],
            },
            "classification is not supported",
        ),
    ],
)
def test_a_bad_request_is_told_what_was_there_and_what_was_expected(
    served: Served, body: object, words: str
) -> None:
    status, answer = served.post(_PATH, body)
    assert status == 400
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/other/infer", "Request for unknown model: 'other' is not found"),
        ("/v2/models/session/versions/9/infer", "'session' version 9 is not found"),
    ],
)
def test_another_model_or_version_is_not_found(served: Served, path: str, words: str) -> None:
    status, answer = served.post(path, {"inputs": [_HISTORY]})
    assert (status, words in answer["error"]) == (404, True)


def test_versions_and_labels_find_their_release(tmp_path: Path) -> None:
    stable = recommender_live(tmp_path / "a")
    canary = versioned(recommender_live(tmp_path / "b"), "1.3.0")
    served = Served(stable, canary)
    for version, answered in (
        ("1.2.0", "1.2.0"),
        ("1002000", "1.2.0"),
        ("1.3.0", "1.3.0"),
        ("canary", "1.3.0"),
        ("stable", "1.2.0"),
    ):
        path = f"/v2/models/session/versions/{version}/infer"
        status, body = served.post(path, {"inputs": [_HISTORY]})
        assert (status, body["model_version"]) == (200, answered)


def test_a_number_that_json_has_not_is_refused_with_the_way_to_get_it(tmp_path: Path) -> None:
    served = _echo(tmp_path, TensorSpec("x", "float32", (1, 2)))
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, NaN]}]}'
    status, answer = served.post("/v2/models/doubler/infer", body)
    assert status == 400
    assert "binary_data" in answer["error"]


def test_a_failing_engine_is_a_500_that_is_logged_and_counted(tmp_path: Path) -> None:
    engine = SimulatedEngine()
    served = Served(recommender_live(tmp_path, engine))
    engine.failing = "out of memory"
    status, answer = served.post(_PATH, {"inputs": [_HISTORY]})
    assert (status, "could not compute this: out of memory" in answer["error"]) == (500, True)
    assert served.log.getvalue().count("inference failed") == 1
    stats = served.get("/v2/models/session/stats")[1]["model_stats"][0]
    assert stats["inference_stats"]["fail"]["count"] == 1
    assert stats["inference_stats"]["success"]["count"] == 0


def test_a_timeout_is_a_deadline(served: Served) -> None:
    asked = {"inputs": [_HISTORY], "parameters": {"timeout": 500}}
    request = Request(
        "POST", _PATH, {}, json.dumps(asked).encode(), keep_alive=True, http_1_0=False
    )
    job = served.app.answer(request)
    assert isinstance(job, Job)
    served.clock.now_ns += 500_000
    answer = served.app.run(job)
    assert (answer.status, json.loads(answer.body)) == (504, {"error": "the deadline passed"})


def test_the_servers_own_deadline_holds_for_who_names_none(served: Served) -> None:
    served.app.default_deadline_ns = 500_000
    request = Request(
        "POST",
        _PATH,
        {},
        json.dumps({"inputs": [_HISTORY]}).encode(),
        keep_alive=True,
        http_1_0=False,
    )
    job = served.app.answer(request)
    assert isinstance(job, Job)
    served.clock.now_ns += 500_000
    assert served.app.run(job).status == 504


def test_a_job_knows_how_often_it_calls_the_engine(served: Served) -> None:
    asked = {"inputs": [{**_HISTORY, "shape": [2, 5], "data": [0] * 10}]}
    request = Request(
        "POST", _PATH, {}, json.dumps(asked).encode(), keep_alive=True, http_1_0=False
    )
    job = served.app.answer(request)
    assert isinstance(job, Job)
    assert (job.calls, job.label) == (2, "/v2/models/{model}/infer")


def test_a_large_body_is_read_where_the_model_runs(served: Served) -> None:
    asked = {"inputs": [{**_HISTORY, "shape": [200, 5], "data": [[0, 0, 0, 3, 7]] * 200}]}
    for extra, status in (("", 200), ("{", 400)):
        data = json.dumps(asked).encode() + b" " * 20_000 + extra.encode()
        request = Request("POST", _PATH, {}, data, keep_alive=True, http_1_0=False)
        job = served.app.answer(request)
        assert isinstance(job, Job)
        assert job.expected_ns > INLINE_LIMIT_NS
        assert served.app.run(job).status == status
    timed = {**asked, "parameters": {"timeout": 1}}
    data = json.dumps(timed).encode() + b" " * 20_000
    job = served.app.answer(Request("POST", _PATH, {}, data, keep_alive=True, http_1_0=False))
    assert isinstance(job, Job)
    assert served.app.run(job).status == 504


def test_a_large_answer_counts_as_work_of_its_own(tmp_path: Path) -> None:
    served = _echo(tmp_path, TensorSpec("x", "float32", (-1, 2000)))
    served.live.median_ns = 0
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2000], "data": [0] * 2000}
    data = json.dumps({"inputs": [tensor]}).encode()
    path = "/v2/models/doubler/infer"
    job = served.app.answer(Request("POST", path, {}, data, keep_alive=True, http_1_0=False))
    assert isinstance(job, Job)
    assert job.expected_ns > INLINE_LIMIT_NS


def test_inference_is_in_the_metrics_of_the_model(served: Served) -> None:
    served.post(_PATH, {"inputs": [{**_HISTORY, "shape": [2, 5], "data": [0] * 10}]})
    text = served.send("GET", "/metrics").body.decode()
    labels = 'model="session",precision="dynamic-int8",runtime="litert",version="1.2.0"'
    assert f"edgepack_inference_duration_seconds_count{{{labels}}} 2.0" in text
    assert f"edgepack_request_duration_seconds_count{{{labels}}} 1.0" in text
    assert 'edgepack_http_requests_total{code="200",route="/v2/models/{model}/infer"} 1.0' in text
