"""A real Prometheus reads the runner's metrics, and its tool finds nothing to complain about."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.campaigns.boxes import Box, Serving, make_box, serving_on
from tests.e2e.prometheus import Programs, Prometheus, scraping, unpack_prometheus
from tests.e2e.real_models import ITEMS

_REQUESTS = 40


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return unpack_prometheus(tmp_path_factory.mktemp("prometheus"))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return make_box(tmp_path_factory.mktemp("box"))


@pytest.fixture(scope="module")
def served(box: Box, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving_on(box, tmp_path_factory.mktemp("log") / "runner.log") as serving:
        for i in range(_REQUESTS):
            history = [ITEMS[i % len(ITEMS)], "a-thing-nobody-sells"]
            assert serving.ask("POST", "/recommend", {"history": history})[0] == 200
        serving.ask("POST", "/recommend", {"history": []})
        serving.ask("GET", "/nowhere")
        yield serving


@pytest.fixture(scope="module")
def prometheus(
    programs: Programs, served: Serving, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    with scraping(programs, tmp_path_factory.mktemp("scraper"), served.port) as running:
        yield running


def test_promtool_finds_nothing_to_complain_about(programs: Programs, served: Serving) -> None:
    text = served.ask("GET", "/metrics")[1]
    checked = subprocess.run(
        [str(programs.promtool), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_scrape_is_up_and_the_runner_ready(prometheus: Prometheus) -> None:
    assert prometheus.value("up") == 1
    assert prometheus.value("edgepack_ready") == 1


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('edgepack_model_info{label="stable",model="tiny"}', 1),
        ("edgepack_answers_total", _REQUESTS + 1),
        ("edgepack_unknown_items_total", _REQUESTS),
        ("edgepack_history_items_total", 2 * _REQUESTS),
        ('edgepack_fallback_answers_total{reason="empty history"}', 1),
        ('edgepack_http_requests_total{route="other",code="404"}', 1),
        ("edgepack_inference_duration_seconds_count", _REQUESTS),
        ("edgepack_drift_observations{feature='unknown_items'}", 2 * _REQUESTS),
    ],
)
def test_what_happened_can_be_asked_for(
    prometheus: Prometheus, expression: str, value: float
) -> None:
    assert prometheus.value(expression) == value


def test_a_quantile_comes_out_of_the_histogram(prometheus: Prometheus) -> None:
    expression = "histogram_quantile(0.5, edgepack_inference_duration_seconds_bucket)"
    assert 0 < prometheus.value(expression) <= 1


def test_no_label_holds_an_item_a_history_or_a_name_of_the_box(
    prometheus: Prometheus, served: Serving
) -> None:
    assert prometheus.value("up") == 1
    allowed = {"__name__", "code", "feature", "instance", "job", "label", "le", "model", "outcome"}
    allowed |= {
        "precision",
        "provider",
        "reason",
        "route",
        "runtime",
        "state",
        "variant",
        "version",
    }
    for series in prometheus.query('{job="edgepack-runner"}'):
        assert set(series["metric"]) <= allowed
    text = served.ask("GET", "/metrics")[1]
    assert "a-thing-nobody-sells" not in text
    assert not any(f'"{item}"' in text for item in ITEMS)
