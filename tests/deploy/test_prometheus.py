"""The rules: each is told, tested and true of the targets; promtool itself runs in e2e."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from edgepack.build.targets import load_target
from edgepack.hub.answers.health import Condition
from edgepack.hub.web.metrics import Refusal
from edgepack.runner.recommender import Fallback
from tests.deploy.manifests import DEPLOY, load_document

_PROMETHEUS = DEPLOY / "prometheus"
_PARTS = ("runner", "hub")
_DOCS = DEPLOY.parent / "docs" / "hub-watching.md"


def _rules(part: str) -> Iterator[Any]:
    for group in load_document(_PROMETHEUS / "rules" / f"{part}.yml")["groups"]:
        yield from group["rules"]


def _alerts() -> list[Any]:
    return [rule for part in _PARTS for rule in _rules(part) if "alert" in rule]


@pytest.mark.parametrize("part", _PARTS)
def test_every_alert_is_shown_firing_and_silent(part: str) -> None:
    checks: dict[str, set[bool]] = {}
    for test in load_document(_PROMETHEUS / "tests" / f"{part}.yml")["tests"]:
        for each in test.get("alert_rule_test", ()):
            checks.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    names = {rule["alert"] for rule in _rules(part) if "alert" in rule}
    assert checks == {name: {True, False} for name in names}


@pytest.mark.parametrize("part", _PARTS)
def test_every_recorded_figure_is_read_by_a_test_an_alert_or_a_dashboard(part: str) -> None:
    read = (_PROMETHEUS / "tests" / f"{part}.yml").read_text(encoding="utf-8")
    read += "".join(rule["expr"] for rule in _rules(part))
    for path in (DEPLOY / "grafana" / "dashboards").glob("*.json"):
        read += path.read_text(encoding="utf-8")
    for rule in _rules(part):
        if "record" in rule:
            assert rule["record"] in read


@pytest.mark.parametrize("alert", _alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_how_bad_it_is_and_where_help_is(alert: Any) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    page, _, place = alert["annotations"]["runbook"].partition("#")
    assert page == "docs/hub-watching.md"
    assert place == alert["alert"].lower()
    assert f"\n### {alert['alert']}\n" in _DOCS.read_text(encoding="utf-8")


def test_no_alert_is_told_that_is_not_there() -> None:
    told = re.findall(r"^### (Edgepack\w+)$", _DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(told) == sorted(alert["alert"] for alert in _alerts())


def test_the_budgets_are_those_of_the_shipped_targets() -> None:
    (alert,) = (each for each in _alerts() if each["alert"] == "EdgepackLatencyOverBudget")
    for seconds, matches in re.findall(r'le="([\d.]+)", target(=~|!~)"cpu\|gpu"', alert["expr"]):
        names = ("cpu", "gpu") if matches == "=~" else ("arm64", "arm64-tiny")
        assert {load_target(name).p99_ms for name in names} == {float(seconds) * 1000}


def test_words_in_the_rules_are_words_of_the_programs() -> None:
    words = {
        "condition": set(map(str, Condition)),
        "reason": {*map(str, Fallback), *map(str, Refusal)},
    }
    for part in _PARTS:
        for rule in _rules(part):
            if "edgepack_gpu_throttled" in rule["expr"]:
                continue
            for label, said in re.findall(r'(\w+)=~?\s*"([^"]+)"', rule["expr"]):
                if label in words:
                    assert set(said.split("|")) <= words[label], said


def test_what_is_scraped_without_a_place_named_is_this_machine_alone() -> None:
    document = load_document(_PROMETHEUS / "prometheus.yml")
    assert {job["job_name"] for job in document["scrape_configs"]} == {
        "edgepack-runner",
        "edgepack-hub",
    }
    (group,) = load_document(_PROMETHEUS / "hubs" / "hub.yml")
    assert all(each.startswith("127.0.0.1:") for each in group["targets"])
