"""Everything of the protocol that is not inference."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgepack
from edgepack.formats.tensors import TensorSpec
from edgepack.runner.rows import CallSizes
from tests.runner.http.apps import EchoEngine, Served, recommender_live, tensor_live, versioned
from tests.runner.simulators import GRAPH_TOP_K, POPULAR

_HISTORY = {"name": "history", "datatype": "INT32", "shape": [1, 5], "data": [0, 0, 0, 3, 7]}
_INFER = "/v2/models/session/infer"
_LOAD, _UNLOAD = (f"/v2/repository/models/session/{each}" for each in ("load", "unload"))


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(recommender_live(tmp_path))


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_server_says_who_it_is_and_what_it_speaks(served: Served, path: str) -> None:
    status, body = served.get(path)
    assert (status, body["name"], body["version"]) == (
        200,
        "edgepack-runner",
        edgepack.__version__,
    )
    assert {"binary_tensor_data", "model_repository", "statistics"} <= set(body["extensions"])


def test_health_is_in_the_status(served: Served) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/session/ready"):
        assert served.get(path)[0] == 200
    assert served.get("/v2/models/session/versions/1.2.0/ready")[1] == {
        "name": "session",
        "ready": True,
    }
    assert served.get("/v2/models/other/ready")[0] == 404
    served.app.stopping = True
    assert served.get("/v2/health/live")[0] == 200
    assert served.get("/v2/health/ready")[0] == 503
    assert served.get("/v2/models/session/ready")[0] == 503


def test_metadata_declares_the_graphs_numbers_with_an_open_batch(served: Served) -> None:
    status, body = served.get("/v2/models/session")
    assert status == 200
    assert body == {
        "name": "session",
        "versions": ["1.2.0"],
        "platform": "tensorflow_tflite",
        "inputs": [{"name": "history", "datatype": "INT32", "shape": [-1, 5]}],
        "outputs": [
            {"name": "scores", "datatype": "FP32", "shape": [-1, GRAPH_TOP_K]},
            {"name": "items", "datatype": "INT32", "shape": [-1, GRAPH_TOP_K]},
        ],
    }


def test_metadata_lists_both_versions(tmp_path: Path) -> None:
    canary = versioned(recommender_live(tmp_path / "b"), "1.3.0")
    served = Served(recommender_live(tmp_path / "a"), canary)
    assert served.get("/v2/models/session")[1]["versions"] == ["1.2.0", "1.3.0"]
    assert served.get("/v2/models/session/versions/canary")[0] == 200
    assert served.get("/v2/models/session/versions/1.4.0")[0] == 404


def test_the_configuration_says_where_requests_share_calls(served: Served) -> None:
    assert "dynamic_batching" not in served.get("/v2/models/session/config")[1]
    served.live.sizes = CallSizes(8)
    body = served.get("/v2/models/session/config")[1]
    assert body["dynamic_batching"] == {"preferred_batch_size": [8]}


def test_the_configuration_has_a_batch_only_where_the_model_has(
    served: Served, tmp_path: Path
) -> None:
    body = served.get("/v2/models/session/config")[1]
    assert body["max_batch_size"] == 256
    assert body["input"] == [{"name": "history", "data_type": "TYPE_INT32", "dims": [5]}]
    fixed = EchoEngine(TensorSpec("x", "float32", (7, 2)))
    other = Served(tensor_live(tmp_path / "other", fixed))
    body = other.get("/v2/models/doubler/config")[1]
    assert (body["max_batch_size"], body["input"][0]["dims"]) == (0, [7, 2])


def test_statistics_count_requests_rows_and_calls(served: Served) -> None:
    served.post(_INFER, {"inputs": [_HISTORY]})
    served.post(_INFER, {"inputs": [{**_HISTORY, "shape": [3, 5], "data": [1] * 15}]})
    served.post(_INFER, b"{")
    for path in (
        "/v2/models/stats",
        "/v2/models/session/stats",
        "/v2/models/session/versions/1.2.0/stats",
    ):
        (stats,) = served.get(path)[1]["model_stats"]
        assert (stats["name"], stats["version"]) == ("session", "1.2.0")
        assert (stats["inference_count"], stats["execution_count"]) == (4, 4)
        assert stats["last_inference"] > 1_700_000_000_000
        inside = stats["inference_stats"]
        assert inside["success"]["count"] == inside["queue"]["count"] == 2
        assert inside["compute_infer"]["count"] == 4
        assert 0 < inside["compute_infer"]["ns"] < inside["success"]["ns"]
        assert inside["compute_input"]["ns"] > 0
        assert inside["compute_output"]["ns"] > 0
        (batch,) = stats["batch_stats"]
        assert (batch["batch_size"], batch["compute_infer"]["count"]) == (1, 4)
    assert served.get("/v2/models/other/stats")[0] == 404


def test_predictions_of_the_other_protocol_are_counted_too(served: Served) -> None:
    served.post("/v1/models/session:predict", {"instances": [[0, 0, 0, 3, 7]]})
    assert served.get("/v2/models/stats")[1]["model_stats"][0]["inference_count"] == 1


def test_the_index_lists_what_is_there_and_in_which_state(served: Served) -> None:
    entry = {"name": "session", "version": "1.2.0", "state": "READY", "reason": ""}
    assert served.post("/v2/repository/index", b"") == (200, [entry])
    assert served.post("/v2/repository/index", {"ready": True}) == (200, [entry])
    assert served.post("/v2/repository/index", {"ready": 1})[0] == 400
    served.post(_UNLOAD, b"")
    unloaded = {**entry, "state": "UNAVAILABLE", "reason": "unloaded"}
    assert served.post("/v2/repository/index", {}) == (200, [unloaded])
    assert served.post("/v2/repository/index", {"ready": True}) == (200, [])


def test_an_unloaded_model_is_not_ready_and_recommends_what_is_popular(served: Served) -> None:
    assert served.post(_UNLOAD, {"parameters": {"unload_dependents": False}})[0] == 200
    assert served.live.engine is None
    assert served.get("/v2/health/ready")[0] == 503
    assert served.get("/v2/models/session/ready")[0] == 503
    status, body = served.post(_INFER, {"inputs": [_HISTORY]})
    assert (status, "is not at ready state" in body["error"]) == (503, True)
    assert served.get("/v2/models/session")[0] == 503
    status, answer = served.post("/recommend", {"history": ["sku-3"], "k": 1})
    assert (status, answer["fallback"]) == (200, "no model")
    assert answer["items"][0]["id"] == POPULAR[0]
    assert served.post(_UNLOAD, b"")[0] == 200


def test_a_running_request_keeps_the_engine_until_it_is_answered(served: Served) -> None:
    retired: list[object] = []
    served.app.retire = retired.append
    served.live.pending = 1
    assert served.post(_UNLOAD, b"")[0] == 200
    assert retired == [served.live]
    assert served.live.engine is not None
    assert served.post(_INFER, {"inputs": [_HISTORY]})[0] == 503
    assert served.get("/v1/models/session")[1]["model_version_status"][0]["state"] == "UNLOADING"


def test_loading_takes_the_installed_release_or_says_why_not(served: Served) -> None:
    status, body = served.post(_LOAD, b"")
    assert (status, "load / unload is not allowed" in body["error"]) == (400, True)
    outcomes = ["done", "unchanged", "refused"]

    async def reload() -> str:
        return outcomes.pop(0)

    served.app.reload = reload
    assert served.post(_LOAD, b"")[0] == 200
    assert served.post(_LOAD, {"parameters": {}})[0] == 200
    status, body = served.post(_LOAD, b"")
    assert (status, "failed to load 'session': the installed" in body["error"]) == (400, True)
    status, body = served.post(_LOAD, {"parameters": {"config": "{}"}})
    assert (status, "config is not supported" in body["error"]) == (400, True)
    assert served.post("/v2/repository/models/other/load", b"")[0] == 404
    assert served.post("/v2/repository/models/other/unload", b"")[0] == 404


def test_a_bug_while_loading_is_a_500_and_not_the_end(served: Served) -> None:
    async def broken() -> str:
        raise KeyError("x")

    served.app.reload = broken
    assert served.post(_LOAD, b"") == (500, {"error": "internal error"})
    assert served.get("/v2/health/ready")[0] == 200


def test_a_web_page_does_not_control_the_repository(served: Served) -> None:
    for path in (_LOAD, _UNLOAD):
        assert served.send("POST", path, b"", {"origin": "https://shop.example"}).status == 403
    assert served.live.engine is not None


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("POST", "/v2/models/session/generate", "generating text"),
        ("POST", "/v2/models/session/versions/1/generate_stream", "generating text"),
        ("GET", "/v2/trace/setting", "tracing"),
        ("POST", "/v2/models/session/trace/setting", "tracing"),
        ("GET", "/v2/systemsharedmemory/status", "shared memory"),
        ("POST", "/v2/cudasharedmemory/region/a/register", "shared memory"),
        ("GET", "/v2/logging", "log settings"),
    ],
)
def test_extensions_that_are_not_spoken_say_so(
    served: Served, method: str, path: str, words: str
) -> None:
    response = served.send(method, path)
    assert (response.status, words.encode() in response.body) == (501, True)


def test_another_method_is_told_the_right_one(served: Served) -> None:
    response = served.send("GET", _INFER)
    assert (response.status, dict(response.headers)["Allow"]) == (405, "POST")
    assert served.send("POST", "/v2/models/session").status == 405
    assert served.send("HEAD", "/v2/health/ready").status == 200
