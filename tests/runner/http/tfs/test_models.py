from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runner.http.apps import Served, recommender_live, versioned
from tests.runner.simulators import GRAPH_TOP_K

_ASKED = {"instances": [[0, 0, 0, 3, 7]]}


@pytest.fixture
def served(tmp_path: Path) -> Served:
    canary = versioned(recommender_live(tmp_path / "b"), "1.3.0")
    return Served(recommender_live(tmp_path / "a"), canary)


def _version(number: str, state: str = "AVAILABLE") -> dict[str, Any]:
    return {
        "version": number,
        "state": state,
        "status": {"error_code": "OK", "error_message": ""},
    }


def test_the_status_lists_versions_as_whole_numbers_newest_first(served: Served) -> None:
    assert served.get("/v1/models/session") == (
        200,
        {"model_version_status": [_version("1003000"), _version("1002000")]},
    )


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/v1/models/session/versions/1002000", "1002000"),
        ("/v1/models/session/versions/1003000", "1003000"),
        ("/v1/models/session/labels/stable", "1002000"),
        ("/v1/models/session/labels/canary", "1003000"),
        ("/V1/Models/session/Labels/canary", "1003000"),
    ],
)
def test_a_version_or_label_has_its_own_status(served: Served, path: str, number: str) -> None:
    assert served.get(path) == (200, {"model_version_status": [_version(number)]})
    assert served.post(f"{path}:predict", _ASKED)[0] == 200
    metadata = served.get(f"{path}/metadata")[1]
    assert metadata["model_spec"]["version"] == number


def test_an_unloaded_version_has_ended(served: Served) -> None:
    served.post("/v2/repository/models/session/unload", b"")
    states = served.get("/v1/models/session")[1]["model_version_status"]
    assert states == [_version("1003000", "END"), _version("1002000", "END")]
    status, body = served.post("/v1/models/session:predict", _ASKED)
    assert (status, body["error"]) == (404, "Servable not found for request: Latest(session)")


def test_the_metadata_nests_its_signature_twice(served: Served) -> None:
    status, body = served.get("/v1/models/session/metadata")
    assert status == 200
    assert body["model_spec"] == {"name": "session", "signature_name": "", "version": "1002000"}
    signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"] == {
        "history": {
            "dtype": "DT_INT32",
            "tensor_shape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "5", "name": ""}],
                "unknown_rank": False,
            },
            "name": "history:0",
        }
    }
    scores = signature["outputs"]["scores"]
    assert scores["dtype"] == "DT_FLOAT"
    assert scores["tensor_shape"]["dim"][1]["size"] == str(GRAPH_TOP_K)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("POST", "/v1/models", 400, "Malformed request: POST /v1/models"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/metadata/metadata", 404, "Servable not found for request: "),
        ("GET", "/v1/models/foo:predict", 400, "Malformed request: GET /v1/models/foo:predict"),
        ("DELETE", "/v1/models/session", 400, "Malformed request: DELETE"),
        ("POST", "/v1/models/foo/version/50:predict", 400, "Malformed request"),
        ("POST", "/v1/models/foo/versions/HELLO:regress", 400, "Malformed request"),
        (
            "POST",
            "/v1/models/session/versions/18446744073709551615:predict",
            400,
            "Failed to convert version: 18446744073709551615 to numeric.",
        ),
        ("GET", f"/v1/models/session/versions/{'9' * 5000}", 400, "Failed to convert version: 9"),
        ("GET", "/v1/models/foo", 404, "Could not find any versions of model foo"),
        ("GET", "/v1/models/session/versions/9", 404, "Could not find version 9 of model session"),
        ("GET", "/v1/models/session/labels/x", 400, "Unrecognized servable version label: x"),
        ("GET", "/v1/models/foo/labels/stable", 400, "Unrecognized servable version label: stable"),
        ("GET", "/v1/models/foo/metadata", 404, "Servable not found for request: Latest(foo)"),
    ],
)
def test_errors_have_the_original_words_and_codes(
    served: Served, method: str, path: str, status: int, message: str
) -> None:
    response = served.send(method, path)
    assert response.status == status
    assert response.content_type == "application/json"
    assert message in response.body.decode()


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/foo:predict", 404, "Servable not found for request: Latest(foo)"),
        (
            "/v1/models/session/versions/99:predict",
            404,
            "Servable not found for request: Specific(session, 99)",
        ),
        ("/v1/models/session/labels/x:predict", 400, "Unrecognized servable version label: x"),
        ("/v1/models/x%2Fy:predict", 404, "Servable not found for request: Latest(x/y)"),
    ],
)
def test_a_prediction_of_what_is_not_there(
    served: Served, path: str, status: int, message: str
) -> None:
    found, body = served.post(path, _ASKED)
    assert (found, body["error"]) == (status, message)
    # What was sent is read before the model is looked for.
    found, body = served.post(path, b"{")
    assert (found, body["error"].startswith("JSON Parse error")) == (400, True)


def test_two_releases_of_one_version_are_one_version_and_two_labels(tmp_path: Path) -> None:
    served = Served(recommender_live(tmp_path / "a"), recommender_live(tmp_path / "b"))
    assert len(served.get("/v1/models/session")[1]["model_version_status"]) == 1
    assert served.get("/v1/models/session/labels/canary")[0] == 200
