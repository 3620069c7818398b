"""The clients of other servers, unchanged, against the runner."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edgepack.formats.golden import GoldenSet
from edgepack.formats.variants import RuntimeName
from edgepack.formats.vocabulary import Vocabulary
from tests.e2e.real_models import (
    CATALOGUE,
    GRAPH_TOP_K,
    ITEMS,
    LENGTH,
    make_onnx,
    make_tflite,
    write_real_release,
)
from tests.e2e.runners import Served, serving

_HISTORY = ("sku-3", "sku-77", "sku-150")


@pytest.fixture(scope="module", params=[RuntimeName.LITERT, RuntimeName.ONNXRUNTIME])
def releases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The release in service, and the one on trial."""
    make = make_tflite if request.param is RuntimeName.LITERT else make_onnx
    model = make(tmp_path_factory.mktemp("model"))
    stable, canary = (tmp_path_factory.mktemp(name) for name in ("stable", "canary"))
    write_real_release(stable, model, request.param)
    write_real_release(canary, model, request.param, "1.1.0")
    return stable, canary


@pytest.fixture(scope="module")
def served(releases: tuple[Path, Path]) -> Iterator[Served]:
    with serving(releases[0], "--trial", str(releases[1])) as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as found:
        yield found


def _indices(*histories: tuple[str, ...]) -> Any:
    rows = [Vocabulary(ITEMS).encode(each, LENGTH)[0] for each in histories]
    return np.array(rows, np.int32)


def _input(array: Any, datatype: str = "INT32", *, binary: bool) -> Any:
    tensor = triton.InferInput("history", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def _golden(release: Path) -> GoldenSet:
    (path,) = (release / "golden").iterdir()
    return GoldenSet.from_bytes(path.read_bytes())


def test_a_triton_client_finds_the_server_and_its_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1.1.0")
    assert not client.is_model_ready("tiny", "9")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("tiny")
    assert metadata["versions"] == ["1.0.0", "1.1.0"]
    assert metadata["inputs"] == [{"name": "history", "datatype": "INT32", "shape": [-1, LENGTH]}]
    assert [each["name"] for each in metadata["outputs"]] == ["scores", "items"]
    assert client.get_model_config("tiny")["max_batch_size"] == 256
    index = client.get_model_repository_index()
    assert [(each["name"], each["version"], each["state"]) for each in index] == [
        ("tiny", "1.0.0", "READY"),
        ("tiny", "1.1.0", "READY"),
    ]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_a_triton_client_gets_the_golden_answers(
    client: Any, releases: tuple[Path, Path], binary: bool, packed: str | None
) -> None:
    golden = _golden(releases[0])
    rows = _indices(*(sequence.history for sequence in golden.sequences))
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("items", "scores")]
    result = client.infer(
        "tiny",
        [_input(rows, binary=binary)],
        outputs=wanted,
        request_id="row-1",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    assert result.get_response()["id"] == "row-1"
    items, scores = result.as_numpy("items"), result.as_numpy("scores")
    assert items.shape == scores.shape == (len(golden.sequences), GRAPH_TOP_K)
    assert (items.dtype, scores.dtype) == (np.int32, np.float32)
    for sequence, ranked, scored in zip(golden.sequences, items, scores, strict=True):
        count = len(sequence.items)
        assert [ITEMS[index - 1] for index in ranked[:count]] == list(sequence.items)
        # The golden answers' own tolerance.
        np.testing.assert_allclose(scored[:count], sequence.scores, atol=1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_a_triton_client_sends_item_ids_and_gets_item_ids(client: Any, binary: bool) -> None:
    texts = np.array([["sku-3", "sku-77", "sku-150"], ["no-such-item", "sku-9", ""]], object)
    outputs = [triton.InferRequestedOutput("items", binary_data=binary)]
    result = client.infer("tiny", [_input(texts, "BYTES", binary=binary)], outputs=outputs)
    ids = result.as_numpy("items")
    ids = np.vectorize(lambda each: each.decode() if isinstance(each, bytes) else each)(ids)
    numbers = client.infer("tiny", [_input(_indices(_HISTORY, ("sku-9",)), binary=True)])
    assert ids.tolist() == [
        [ITEMS[index - 1] for index in row] for row in numbers.as_numpy("items")
    ]


def test_a_triton_client_reads_an_error_and_the_statistics(client: Any) -> None:
    before = client.get_inference_statistics("tiny", "1.1.0")["model_stats"][0]
    for _ in range(3):
        client.infer("tiny", [_input(_indices(_HISTORY, _HISTORY), binary=True)], "1.1.0")
    with pytest.raises(InferenceServerException, match="outside 0 to 200") as caught:
        client.infer("tiny", [_input(_indices(_HISTORY) + CATALOGUE, binary=True)], "1.1.0")
    assert caught.value.status() == "400"
    after = client.get_inference_statistics("tiny", "1.1.0")["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 6
    assert after["inference_stats"]["success"]["count"] == (
        before["inference_stats"]["success"]["count"] + 3
    )
    assert after["inference_stats"]["compute_infer"]["ns"] > 0


def test_many_triton_requests_run_at_once(served: Served) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}", concurrency=8) as client:
        waiting = [
            client.async_infer("tiny", [_input(_indices((item,)), binary=True)])
            for item in ITEMS[:100]
        ]
        ranked = [each.get_result().as_numpy("items") for each in waiting]
    assert all(row.shape == (1, GRAPH_TOP_K) for row in ranked)


def test_a_triton_client_unloads_and_loads(releases: tuple[Path, Path], tmp_path: Path) -> None:
    stable = tmp_path / "stable"
    shutil.copytree(releases[0], stable)
    rows = [_input(_indices(_HISTORY), binary=True)]
    with (
        serving(stable) as running,
        triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client,
    ):
        before = client.infer("tiny", rows).as_numpy("items").tolist()
        client.unload_model("tiny")
        assert not client.is_model_ready("tiny")
        assert not client.is_server_ready()
        with pytest.raises(InferenceServerException, match="not at ready state"):
            client.infer("tiny", rows)
        _, answer = running.ask("POST", "/recommend", {"history": ["sku-1"], "k": 3})
        assert answer["fallback"] == "no model"
        client.load_model("tiny")
        assert client.is_model_ready("tiny")
        assert client.infer("tiny", rows).as_numpy("items").tolist() == before
        _, answer = running.ask("POST", "/recommend", {"history": ["sku-1"], "k": 3})
        assert answer["fallback"] is None


def test_a_tensorflow_serving_client_gets_the_golden_answers(
    served: Served, releases: tuple[Path, Path]
) -> None:
    golden = _golden(releases[0])
    rows = _indices(*(sequence.history for sequence in golden.sequences)).tolist()
    data = json.dumps({"signature_name": "serving_default", "instances": rows})
    response = requests.post(
        f"http://127.0.0.1:{served.port}/v1/models/tiny:predict",
        data=data,
        headers={"content-type": "application/json"},
        timeout=20,
    )
    response.raise_for_status()
    predictions = response.json()["predictions"]
    for sequence, row in zip(golden.sequences, predictions, strict=True):
        count = len(sequence.items)
        assert [ITEMS[index - 1] for index in row["items"][:count]] == list(sequence.items)
        # The golden answers' own tolerance.
        assert row["scores"][:count] == pytest.approx(sequence.scores, abs=1e-4)


def test_curl_as_tensorflow_servings_pages_show_it(served: Served) -> None:
    url = f"http://127.0.0.1:{served.port}/v1/models/tiny"
    body = json.dumps({"instances": [list(_HISTORY), ["sku-9"]]})
    # No content type is given: curl calls it a form.
    answer = json.loads(_curl("-d", body, "-X", "POST", f"{url}:predict"))
    assert [len(row["items"]) for row in answer["predictions"]] == [GRAPH_TOP_K] * 2
    assert set(answer["predictions"][0]["items"]) <= set(ITEMS)
    assert json.loads(_curl(url))["model_version_status"][0] == {
        "version": "1001000",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    metadata = json.loads(_curl(f"{url}/versions/1000000/metadata"))
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert list(signatures) == ["serving_default"]
    labelled = json.loads(_curl("-d", body, f"{url}/labels/canary:predict"))
    assert labelled == answer
    assert json.loads(_curl("-d", body, f"{url}/versions/9:predict")) == {
        "error": "Servable not found for request: Specific(tiny, 9)"
    }


def _curl(*arguments: str) -> str:
    return subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "20", *arguments],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_packed_answers_over_curl(served: Served) -> None:
    body = json.dumps({"instances": [["sku-1"]] * 100})
    url = f"http://127.0.0.1:{served.port}/v1/models/tiny:predict"
    plain = _curl("-d", body, url)
    assert _curl("--compressed", "-d", body, url) == plain
    head = _curl("--compressed", "-d", body, "-D", "-", "-o", "/dev/null", url).lower()
    assert "content-encoding: gzip" in head


def test_a_bomb_is_refused_and_the_server_lives(served: Served, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    bomb.write_bytes(gzip.compress(b" " * 200_000_000))
    for path in ("/v1/models/tiny:predict", "/v2/models/tiny/infer"):
        status = _curl(
            "-H", "Content-Encoding: gzip", "--data-binary", f"@{bomb}",
            "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{served.port}{path}",
        )  # fmt: skip
        assert status == "413"
    assert served.ask("GET", "/v2/health/ready")[0] == 200
