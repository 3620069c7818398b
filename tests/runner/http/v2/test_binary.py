"""The binary tensor extension, header by header and byte by byte."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepack.formats.tensors import TensorSpec
from edgepack.runner.http.messages import Response
from edgepack.runner.http.tensors.binary import texts_from_bytes, texts_to_bytes
from tests.runner.http.apps import EchoEngine, Served, numbers, recommender_live, tensor_live
from tests.runner.simulators import GRAPH_TOP_K

_PATH = "/v2/models/session/infer"
_ROW = np.array([[0, 0, 0, 3, 7]], dtype="<i4")


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(recommender_live(tmp_path))


def _tensor(size: int, **changes: Any) -> dict[str, Any]:
    return {
        "name": "history",
        "datatype": "INT32",
        "shape": [1, 5],
        "parameters": {"binary_data_size": size},
        **changes,
    }


def _packed(document: object, *blobs: bytes) -> tuple[bytes, dict[str, str]]:
    head = json.dumps(document).encode()
    headers = {
        "content-type": "application/octet-stream",
        "inference-header-content-length": str(len(head)),
    }
    return b"".join([head, *blobs]), headers


def _unpacked(response: Response) -> tuple[dict[str, Any], dict[str, bytes]]:
    length = int(dict(response.headers)["Inference-Header-Content-Length"])
    assert response.content_type == "application/octet-stream"
    document = json.loads(response.body[:length])
    blobs, at = {}, length
    for output in document["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            assert "data" not in output
            blobs[output["name"]] = response.body[at : at + size]
            at += size
    assert at == len(response.body)
    return document, blobs


def test_bytes_in_and_bytes_out(served: Served) -> None:
    asked = {"inputs": [_tensor(20)], "parameters": {"binary_data_output": True}}
    response = served.send("POST", _PATH, *_packed(asked, _ROW.tobytes()))
    document, blobs = _unpacked(response)
    assert document["outputs"][0]["shape"] == [1, GRAPH_TOP_K]
    json_answer = served.post(
        _PATH, {"inputs": [{**_tensor(0), "parameters": {}, "data": _ROW.ravel().tolist()}]}
    )[1]
    assert np.frombuffer(blobs["scores"], "<f4").tolist() == json_answer["outputs"][0]["data"]
    assert np.frombuffer(blobs["items"], "<i4").tolist() == json_answer["outputs"][1]["data"]


def test_an_output_overrides_what_the_request_says(served: Served) -> None:
    asked = {
        "inputs": [_tensor(20)],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "items", "parameters": {"binary_data": False}}, {"name": "scores"}],
    }
    response = served.send("POST", _PATH, *_packed(asked, _ROW.tobytes()))
    document, blobs = _unpacked(response)
    assert list(blobs) == ["scores"]
    assert len(document["outputs"][0]["data"]) == GRAPH_TOP_K


def test_bytes_in_and_json_out_needs_no_header(served: Served) -> None:
    response = served.send("POST", _PATH, *_packed({"inputs": [_tensor(20)]}, _ROW.tobytes()))
    assert response.content_type == "application/json"
    assert "Inference-Header-Content-Length" not in dict(response.headers)


def test_json_in_and_bytes_out(served: Served) -> None:
    asked = {
        "inputs": [{**_tensor(0), "parameters": None, "data": [[0, 0, 0, 3, 7]]}],
        "outputs": [{"name": "items", "parameters": {"binary_data": True}}],
    }
    _, blobs = _unpacked(served.send("POST", _PATH, json.dumps(asked).encode()))
    assert np.frombuffer(blobs["items"], "<i4")[0] == 7


def test_item_ids_as_length_and_bytes(served: Served) -> None:
    blob = texts_to_bytes([b"sku-3", b"sku-20", b"sku-20", b""])
    tensor = _tensor(len(blob), datatype="BYTES", shape=[2, 2])
    asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    document, blobs = _unpacked(served.send("POST", _PATH, *_packed(asked, blob)))
    items = texts_from_bytes(memoryview(blobs["items"]))
    assert (len(items), items[0], items[GRAPH_TOP_K]) == (2 * GRAPH_TOP_K, b"sku-20", b"sku-20")
    assert document["outputs"][1]["datatype"] == "BYTES"


def test_a_raw_request_is_one_row_and_answers_bytes(served: Served) -> None:
    headers = {"inference-header-content-length": "0"}
    document, blobs = _unpacked(served.send("POST", _PATH, _ROW.tobytes(), headers))
    assert set(blobs) == {"scores", "items"}
    assert document["outputs"][1]["shape"] == [1, GRAPH_TOP_K]
    assert np.frombuffer(blobs["items"], "<i4")[0] == 7
    short = served.send("POST", _PATH, _ROW.tobytes()[:-1], headers)
    assert (short.status, b"has 20 bytes, got 19" in short.body) == (400, True)


def test_a_raw_request_tells_one_variable_extent_by_its_bytes(tmp_path: Path) -> None:
    served = Served(tensor_live(tmp_path, EchoEngine(TensorSpec("x", "float16", (-1, -1, 2)))))
    headers = {"inference-header-content-length": "0"}
    path = "/v2/models/doubler/infer"
    document, _ = _unpacked(served.send("POST", path, numbers("<f2", 6).tobytes(), headers))
    assert document["outputs"][0]["shape"] == [1, 3, 2]
    assert served.send("POST", path, b"12345", headers).status == 400
    assert served.send("POST", path, b"", headers).status in (200, 400)


def test_a_raw_request_needs_a_model_with_one_input(tmp_path: Path) -> None:
    specs = (TensorSpec("a", "int8", (1, 2)), TensorSpec("b", "int8", (1, 2)))
    served = Served(tensor_live(tmp_path, EchoEngine(*specs)))
    headers = {"inference-header-content-length": "0"}
    answer = served.send("POST", "/v2/models/doubler/infer", b"1234", headers)
    assert (answer.status, b"one input" in answer.body) == (400, True)


@pytest.mark.parametrize("dtype", ["bool", "float16", "int8", "uint64", "float64"])
def test_every_width_goes_there_and_back(tmp_path: Path, dtype: str) -> None:
    names = {"bool": "BOOL", "float16": "FP16", "int8": "INT8", "uint64": "UINT64"}
    served = Served(tensor_live(tmp_path, EchoEngine(TensorSpec("x", dtype, (-1, 3)))))
    blob = numbers(dtype, 6).tobytes()
    tensor = {
        "name": "x",
        "datatype": names.get(dtype, "FP64"),
        "shape": [2, 3],
        "parameters": {"binary_data_size": len(blob)},
    }
    asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    response = served.send("POST", "/v2/models/doubler/infer", *_packed(asked, blob))
    assert _unpacked(response)[1] == {"same_x": blob}


def test_infinities_come_out_as_bytes(tmp_path: Path) -> None:
    served = Served(tensor_live(tmp_path, EchoEngine(TensorSpec("x", "float32", (1, 2)))))
    blob = np.array([np.nan, np.inf], "<f4").tobytes()
    headers = {"inference-header-content-length": "0"}
    response = served.send("POST", "/v2/models/doubler/infer", blob, headers)
    assert _unpacked(response)[1] == {"same_x": blob}


@pytest.mark.parametrize(
    ("tensor", "tail", "words"),
    [
        (_tensor(24), b"x" * 20, b"20 bytes are left"),
        (_tensor(20), b"x" * 24, b"4 bytes at the end of the body"),
        (_tensor(16), b"x" * 16, b"INT32 [1, 5] has 20"),
        (_tensor(-1), b"", b"expected a byte count"),
        (_tensor(0, parameters={"binary_data_size": "20"}), b"", b"expected a byte count"),
        (_tensor(20, data=[1, 2, 3, 4, 5]), b"x" * 20, b"both data and binary_data_size"),
        (_tensor(20, shape=[0, 5]), b"x" * 20, b"which is empty"),
        (_tensor(20), b"\xff" * 20, b"an item index outside"),
        (_tensor(4, datatype="BYTES", shape=[1, 1]), b"\xff" * 4, b"is not valid BYTES"),
        (_tensor(8, datatype="BYTES", shape=[1, 1]), b"\0" * 8, b"has 2 elements, its shape 1"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(
    served: Served, tensor: dict[str, Any], tail: bytes, words: bytes
) -> None:
    response = served.send("POST", _PATH, *_packed({"inputs": [tensor]}, tail))
    assert response.status == 400
    assert words in response.body


@pytest.mark.parametrize("length", ["-1", "1e3", "99999", "9" * 5000, " 5", "", "²"])
def test_a_header_length_that_cannot_be_is_refused(served: Served, length: str) -> None:
    headers = {"inference-header-content-length": length}
    response = served.send("POST", _PATH, b"{}", headers)
    assert response.status == 400
    assert b"Inference-Header-Content-Length" in response.body


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_requests_count_their_bytes_unpacked(served: Served, coding: str) -> None:
    asked = {"inputs": [_tensor(20)], "parameters": {"binary_data_output": True}}
    body, headers = _packed(asked, _ROW.tobytes())
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    response = served.send("POST", _PATH, packed, {**headers, "content-encoding": coding})
    assert set(_unpacked(response)[1]) == {"scores", "items"}


def test_a_large_answer_is_packed_when_asked(tmp_path: Path) -> None:
    served = Served(tensor_live(tmp_path, EchoEngine(TensorSpec("x", "float32", (-1, 100)))))
    blob = np.zeros((20, 100), "<f4").tobytes()
    tensor = {
        "name": "x",
        "datatype": "FP32",
        "shape": [20, 100],
        "parameters": {"binary_data_size": len(blob)},
    }
    asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    body, headers = _packed(asked, blob)
    path = "/v2/models/doubler/infer"
    plain = served.send("POST", path, body, headers)
    packed = served.send("POST", path, body, {**headers, "accept-encoding": "gzip"})
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 10
    assert dict(packed.headers)["Content-Encoding"] == "gzip"


def test_a_bomb_is_answered_413(served: Served) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert served.send("POST", _PATH, bomb, {"content-encoding": "gzip"}).status == 413


_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "inference-header-content-length": st.integers(-5, 300).map(str) | st.text(max_size=5),
        "content-encoding": st.sampled_from(["gzip", "deflate", "br", ""]),
        "accept-encoding": st.text(max_size=20),
    },
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), headers=_HEADERS)
def test_no_bytes_are_answered_with_a_server_error(
    served: Served, body: bytes, headers: dict[str, str]
) -> None:
    assert served.send("POST", _PATH, body, headers).status in (200, 400, 413, 415)


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**65) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tensor=st.fixed_dictionaries(
        {"name": st.just("history") | _ANYTHING},
        optional={
            "datatype": st.sampled_from(["INT32", "BYTES", "FP32"]) | _ANYTHING,
            "shape": st.lists(st.integers(0, 6), max_size=3) | st.just([1, 5]) | _ANYTHING,
            "data": st.lists(st.integers(0, 41), max_size=6) | _ANYTHING,
            "parameters": st.dictionaries(st.just("binary_data_size"), _ANYTHING) | _ANYTHING,
        },
    ),
    more=st.dictionaries(st.sampled_from(["id", "outputs", "parameters", "inputs"]), _ANYTHING),
    tail=st.binary(max_size=30),
)
def test_no_json_is_answered_with_a_server_error(
    served: Served, tensor: dict[str, Any], more: dict[str, Any], tail: bytes
) -> None:
    body, headers = _packed({"inputs": [tensor], **more}, tail)
    assert served.send("POST", _PATH, body, headers).status in (200, 400)
