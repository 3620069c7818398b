from __future__ import annotations

import asyncio
import email.utils
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepack.formats.errors import QualityError
from edgepack.formats.variants import RuntimeName
from edgepack.runner.http.app import App
from edgepack.runner.http.jobs import Job, Later
from edgepack.runner.http.messages import Response
from edgepack.runner.http.server import date_line
from edgepack.runner.http.serving import make_app
from edgepack.runner.http.wire import Request
from edgepack.runner.live.models import LiveModels
from edgepack.runner.live.opening import open_live_model
from edgepack.runner.log import Log
from edgepack.runner.release import Release, load_release
from tests.runner.simulators import (
    POPULAR,
    TOP_K,
    HandClock,
    SimulatedEngine,
    SimulatedTensorEngine,
    simulated_release,
    write_release,
)

_JSON = {"content-type": "application/json"}


def request_of(method: str, path: str, headers: dict[str, str], body: bytes) -> Request:
    return Request(method, path, headers, body, keep_alive=True, http_1_0=False)


def ask(app: App, request: Request) -> Response:
    """Answers a request as the server does with a job that is short."""
    answer = app.answer(request)
    if isinstance(answer, Later):
        return asyncio.run(app.finish(answer))
    if isinstance(answer, Job):
        job, answer = answer, app.run(answer)
        app.count(job, answer)
    return answer


class Shop:
    """An app over the simulated engine, and what it logged."""

    def __init__(self, directory: Path, call_ns: int = 50_000) -> None:
        self.clock = HandClock()
        self.engine = SimulatedEngine(clock=self.clock, call_ns=call_ns)
        self.log = io.StringIO()
        log = Log(self.log, self.clock)
        release = simulated_release(directory)
        self.live = open_live_model(release, lambda _: self.engine, self.clock, log)
        self.app = make_app(LiveModels(self.live), self.clock, log)

    def post(self, body: object, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = ask(self.app, request_of("POST", "/recommend", headers or _JSON, data))
        return response.status, json.loads(response.body)

    def get(self, path: str) -> Response:
        return ask(self.app, request_of("GET", path, {}, b""))

    def job(self, body: object) -> Job:
        """The work a recommendation leaves for the model."""
        data = json.dumps(body).encode()
        answer = self.app.answer(request_of("POST", "/recommend", _JSON, data))
        assert isinstance(answer, Job)
        return answer


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[]", "a list, expected an object"),
        (b'{"history": [], "history": []}', "twice"),
        (b'{"history": [NaN]}', "NaN"),
        (b'{"history": ' + b"[" * 100_000, "not valid JSON"),
        (b"{}", "history is missing"),
        (b'{"history": "sku-1"}', "history is a string"),
        (b'{"history": ["sku-1", 7]}', "history[1] is a number"),
        (b'{"historys": []}', "did you mean 'history'"),
        (b'{"histories": []}', "histories has 0 entries, expected 1 to 256"),
        (b'{"histories": {}}', "histories is an object"),
        (b'{"histories": [["sku-1"], "sku-2"]}', "histories[1] is a string"),
        (b'{"history": [], "histories": []}', "both history and histories"),
        (b'{"history": [], "exclude": [1]}', "exclude[0] is a number"),
        (b'{"history": [], "deadline_ms": 0}', "expected more than 0"),
        (b'{"history": [], "deadline_ms": "5"}', "deadline_ms is a string"),
        (b'{"history": [], "k": 0}', "expected 1 to 10"),
        (b'{"history": [], "k": 11}', "expected 1 to 10"),
        (b'{"history": [], "k": 1e9}', "k is a number, expected a whole number"),
        (b'{"history": [], "k": true}', "k is true or false"),
        (b'{"history": [], "exclude_seen": "no"}', "exclude_seen is a string"),
    ],
)
def test_a_bad_body_is_refused_with_the_field_and_what_was_expected(
    shop: Shop, body: bytes, words: str
) -> None:
    status, answer = shop.post(body)
    assert status == 400
    assert words in answer["error"]


def test_another_content_type_is_refused_with_the_header_to_send(shop: Shop) -> None:
    status, answer = shop.post({"history": []}, {"content-type": "text/plain"})
    assert status == 415
    assert "Content-Type: application/json" in answer["error"]


def test_a_compressed_body_is_refused(shop: Shop) -> None:
    status, _ = shop.post({"history": []}, {**_JSON, "content-encoding": "gzip"})
    assert status == 415


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_is_json_however_it_is_written(shop: Shop, content_type: str) -> None:
    assert shop.post({"history": []}, {"content-type": content_type})[0] == 200


def test_an_unknown_path_names_the_known_ones(shop: Shop) -> None:
    response = shop.get("/recommendd")
    assert response.status == 404
    assert b"/recommend" in response.body


def test_another_method_names_the_allowed_ones(shop: Shop) -> None:
    response = ask(shop.app, request_of("DELETE", "/healthz", {}, b""))
    assert response.status == 405
    assert ("Allow", "GET, HEAD") in response.headers


def test_a_bug_in_a_handler_is_a_500_and_not_the_end(shop: Shop) -> None:
    def broken(*_: object) -> Response:
        raise KeyError("sku-secret")

    shop.app.metrics.exposition = broken  # type: ignore[method-assign,assignment]
    response = shop.get("/metrics")
    assert (response.status, json.loads(response.body)) == (500, {"error": "internal error"})
    assert shop.post({"history": ["sku-3"]})[0] == 200


def test_a_failing_model_answers_popular_items_and_logs_it_once_a_minute(shop: Shop) -> None:
    shop.engine.failing = "out of memory"
    for _ in range(5):
        status, answer = shop.post({"history": ["sku-3"], "k": 2})
        assert (status, answer["fallback"]) == (200, "engine failure")
        assert [each["id"] for each in answer["items"]] == list(POPULAR[:2])
    events = [json.loads(line)["event"] for line in shop.log.getvalue().splitlines()]
    assert events.count("inference failed") == 1


def test_a_recommendation_has_the_shape_that_others_rely_on(shop: Shop) -> None:
    status, answer = shop.post({"history": ["gone", "sku-20"], "k": 2})
    assert status == 200
    assert set(answer) == {"items", "model", "unknown", "fallback"}
    assert [each["id"] for each in answer["items"]] == ["sku-20", "sku-19"]
    assert all(isinstance(each["score"], float) for each in answer["items"])
    assert answer["model"] == {
        "name": "session",
        "version": "1.2.0",
        "variant": "tflite-dynamic-int8",
    }
    assert (answer["unknown"], answer["fallback"]) == (1, None)


def test_without_k_there_are_ten_items(shop: Shop) -> None:
    assert len(shop.post({"history": ["sku-3"]})[1]["items"]) == TOP_K


def test_seen_items_are_left_out_when_asked(shop: Shop) -> None:
    _, answer = shop.post({"history": ["sku-20"], "k": 10, "exclude_seen": True})
    assert "sku-20" not in [each["id"] for each in answer["items"]]


def test_health_says_when_the_server_is_on_its_way_out(shop: Shop) -> None:
    assert shop.get("/healthz").status == 200
    shop.app.stopping = True
    assert shop.get("/healthz").status == 503


def test_a_tensor_model_says_why_it_recommends_nothing(tmp_path: Path) -> None:
    clock = HandClock()
    log = Log(io.StringIO(), clock)
    release = simulated_release(tmp_path, kind_tensor=True)
    live = open_live_model(release, lambda _: SimulatedTensorEngine(), clock, log)
    app = make_app(LiveModels(live), clock, log)
    response = ask(app, request_of("POST", "/recommend", _JSON, b'{"history": []}'))
    assert response.status == 404
    assert b"doubler 1.2.0 is a tensor model" in response.body


def test_a_release_that_answers_wrongly_is_not_served(tmp_path: Path) -> None:
    release = simulated_release(tmp_path)
    engine = SimulatedEngine()
    engine.poison = 5.0

    def open_poisoned(_: Release) -> SimulatedEngine:
        return engine

    with pytest.raises(QualityError, match="answers wrongly on this box"):
        open_live_model(release, open_poisoned, HandClock(), Log(io.StringIO(), HandClock()))
    assert engine.closed


def test_a_job_knows_how_long_it_will_take(tmp_path: Path) -> None:
    shop = Shop(tmp_path, call_ns=2_000_000)
    assert shop.job({"history": ["sku-3"]}).expected_ns == 2_000_000
    batch = shop.job({"histories": [["sku-3"], [], ["sku-4"], ["gone"]]})
    assert batch.expected_ns == 4_000_000


def test_what_needs_no_model_leaves_no_job(shop: Shop) -> None:
    calls = shop.engine.calls
    body = json.dumps({"histories": [[], ["gone"]]}).encode()
    answer = shop.app.answer(request_of("POST", "/recommend", _JSON, body))
    assert isinstance(answer, Response)
    assert shop.engine.calls == calls


def test_a_batch_is_answered_in_its_order(shop: Shop) -> None:
    single = shop.post({"history": ["sku-20"], "k": 2})[1]
    status, answer = shop.post({"histories": [["sku-20"], [], ["gone", "sku-3"]], "k": 2})
    assert (status, set(answer)) == (200, {"answers", "model"})
    first, second, third = answer["answers"]
    assert first["items"] == single["items"]
    assert second["fallback"] == "empty history"
    assert (third["unknown"], third["fallback"]) == (1, None)


def test_excluded_items_are_left_out_also_of_the_popular_ones(shop: Shop) -> None:
    for history in (["sku-20"], []):
        best = [each["id"] for each in shop.post({"history": history, "k": 3})[1]["items"]]
        asked = {"history": history, "k": 3, "exclude": best[:2]}
        left = [each["id"] for each in shop.post(asked)[1]["items"]]
        assert left[0] == best[2]
        assert len(left) == 3
        assert not set(left) & set(best[:2])


def test_a_passed_deadline_is_answered_with_popular_items_and_says_so(shop: Shop) -> None:
    job = shop.job({"history": ["sku-3", "gone"], "k": 2, "deadline_ms": 5})
    calls = shop.engine.calls
    shop.clock.now_ns += 5_000_000
    answer = json.loads(shop.app.run(job).body)
    assert (answer["fallback"], answer["unknown"]) == ("deadline passed", 1)
    assert [each["id"] for each in answer["items"]] == list(POPULAR[:2])
    assert shop.engine.calls == calls


def test_an_unloaded_model_is_answered_with_popular_items(shop: Shop) -> None:
    shop.live.unload()
    status, answer = shop.post({"history": ["sku-3"], "k": 1})
    assert (status, answer["fallback"]) == (200, "no model")
    assert shop.engine.closed
    assert json.loads(shop.get("/healthz").body)["loaded"] is False


def test_metrics_count_what_happened_without_any_item_id(shop: Shop) -> None:
    shop.post({"history": ["sku-3", "sku-gone"]})
    shop.post({"history": []})
    shop.post(b"{")
    shop.get("/sku-17")
    text = shop.get("/metrics").body.decode()
    labels = 'model="session",precision="dynamic-int8",runtime="litert",version="1.2.0"'
    assert f"edgepack_unknown_items_total{{{labels}}} 1.0" in text
    assert f"edgepack_history_items_total{{{labels}}} 2.0" in text
    assert f"edgepack_inference_duration_seconds_count{{{labels}}} 1.0" in text
    assert 'reason="empty history",runtime="litert",version="1.2.0"} 1.0' in text
    assert 'edgepack_http_requests_total{code="400",route="/recommend"} 1.0' in text
    assert 'edgepack_http_requests_total{code="404",route="other"} 1.0' in text
    assert "edgepack_ready 1.0" in text
    assert "sku-" not in text


def test_the_histogram_resolves_what_the_engine_took(shop: Shop) -> None:
    shop.post({"history": ["sku-3"]})
    text = shop.get("/metrics").body.decode()
    bucket = next(
        line for line in text.splitlines() if 'inference_duration_seconds_bucket{le="5e-05"' in line
    )
    assert bucket.endswith(" 1.0")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_bytes_are_answered_with_a_server_error(shop: Shop, body: bytes) -> None:
    request = request_of("POST", "/recommend", _JSON, body)
    assert ask(shop.app, request).status in (200, 400)


_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.fixed_dictionaries(
        {"history": st.lists(st.text() | st.just("sku-3")) | _JSON_VALUES},
        optional={"k": st.integers() | _JSON_VALUES, "exclude_seen": _JSON_VALUES},
    )
)
def test_no_json_is_answered_with_a_server_error(shop: Shop, body: dict[str, Any]) -> None:
    status, answer = shop.post(body)
    assert status in (200, 400)
    assert "error" in answer or len(answer["items"]) <= TOP_K


@pytest.mark.parametrize("moment_s", [0, 784_111_777, 1_795_575_890.9, 4_102_444_800])
def test_the_date_line_is_as_email_writes_it(moment_s: float) -> None:
    expected = email.utils.formatdate(int(moment_s), usegmt=True)
    assert date_line(moment_s) == f"Date: {expected}\r\n".encode()


def test_what_computes_and_why_it_is_not_the_gpu_is_seen_in_health_and_metrics(shop: Shop) -> None:
    health = json.loads(shop.get("/healthz").body)
    assert health["provider"] == "simulator"
    assert "fallback" not in health
    assert "edgepack_gpu" not in shop.get("/metrics").body.decode()
    labels = 'label="stable",model="session",provider="simulator",version="1.2.0"'
    assert f"edgepack_engine_info{{{labels}}} 1.0" in shop.get("/metrics").body.decode()


def test_a_gpu_that_is_not_used_is_seen_and_still_healthy(tmp_path: Path) -> None:
    clock = HandClock()
    log = Log(io.StringIO(), clock)
    write_release(tmp_path, runtime=RuntimeName.ONNXRUNTIME_GPU)
    engine = SimulatedEngine()
    engine.provider, engine.fallback = "CPUExecutionProvider", "no driver"
    live = open_live_model(load_release(tmp_path), lambda _: engine, clock, log)
    app = make_app(LiveModels(live), clock, log)
    response = ask(app, request_of("GET", "/healthz", {}, b""))
    assert response.status == 200
    health = json.loads(response.body)
    assert (health["provider"], health["fallback"]) == ("CPUExecutionProvider", "no driver")
    text = ask(app, request_of("GET", "/metrics", {}, b"")).body.decode()
    assert 'edgepack_gpu_fallback{label="stable",model="session",version="1.2.0"} 1.0' in text
    engine.fallback = None
    text = ask(app, request_of("GET", "/metrics", {}, b"")).body.decode()
    assert 'edgepack_gpu_fallback{label="stable",model="session",version="1.2.0"} 0.0' in text


def test_a_canary_of_the_same_version_has_series_of_its_own(tmp_path: Path) -> None:
    clock = HandClock()
    log = Log(io.StringIO(), clock)
    write_release(tmp_path, runtime=RuntimeName.ONNXRUNTIME_GPU)
    stable, canary = (
        open_live_model(load_release(tmp_path), lambda _: SimulatedEngine(), clock, log)
        for _ in range(2)
    )
    app = make_app(LiveModels(stable, canary), clock, log)
    text = ask(app, request_of("GET", "/metrics", {}, b"")).body.decode()
    for name in ("edgepack_engine_info", "edgepack_gpu_fallback"):
        series = [each.split(" ")[0] for each in text.splitlines() if each.startswith(name)]
        assert len(series) == len(set(series)) == 2
        assert {"stable", "canary"} == {each.partition('label="')[2][:6] for each in series}
