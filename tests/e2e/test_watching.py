"""The files of `deploy/prometheus` and `deploy/grafana`, run: real programs read a real fleet.

Prometheus scrapes a real runner and a real hub by the shipped configuration, and every panel of
every dashboard is asked of it: none may be empty.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns.boxes import Address, Serving, serving_on
from tests.deploy.dashboards import DASHBOARDS, expressions_of, load_dashboard
from tests.deploy.manifests import DEPLOY
from tests.e2e.prometheus import Programs, Prometheus, running, unpack_prometheus
from tests.e2e.standin_nvml import compile_driver
from tests.e2e.watched import (
    ask_a_little,
    ask_enough,
    asking_on,
    deploy_prometheus,
    make_box_with_a_reference,
)
from tests.e2e.watched_hub import WatchedHub, watched_hub
from tests.hub.reports import report_bytes

_RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
_PATIENCE_S = 90.0


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return unpack_prometheus(tmp_path_factory.mktemp("prometheus"))


def _promtool(programs: Programs, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(programs.promtool), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_promtool_takes_the_configuration_and_its_rules(programs: Programs, tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    (folder / "hub-token").write_text("secret\n")
    (folder / "boxes").mkdir()
    shutil.copy(folder / "boxes.example.yml", folder / "boxes" / "example.yml")
    checked = _promtool(programs, "check", "config", "--lint-fatal", folder / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    checked = _promtool(programs, "check", "rules", "--lint-fatal", *_RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("rules", _RULES, ids=lambda path: path.stem)
def test_every_rule_does_what_its_tests_say(programs: Programs, rules: Path) -> None:
    tested = _promtool(programs, "test", "rules", rules.parent.parent / "tests" / rules.name)
    assert (tested.returncode, "SUCCESS" in tested.stdout) == (0, True), tested.stdout


def test_a_rule_that_is_wrong_is_seen(programs: Programs, tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "p")
    rules = tmp_path / "p" / "rules" / "runner.yml"
    rules.write_text(rules.read_text().replace("edgepack_gpu_fallback == 1", "vector(0) == 1"))
    tested = _promtool(programs, "test", "rules", tmp_path / "p" / "tests" / "runner.yml")
    assert tested.returncode != 0
    assert "EdgepackGpuFallback" in tested.stdout + tested.stderr


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, hub: WatchedHub) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("box")
    box = make_box_with_a_reference(folder)
    driver = compile_driver(tmp_path_factory.mktemp("driver"))
    settings = folder / "runner.toml"
    settings.write_text("[hub]\ninterval_s = 1\n")
    enrolled = box.run("enrol", f"http://127.0.0.1:{hub.port}", "--token", hub.enrol)
    assert enrolled.returncode == 0, enrolled.stderr
    log, env = folder / "runner.log", {"LD_LIBRARY_PATH": str(driver)}
    # First the benchmark: a daemon that talks to its hub every second counts as a busy one.
    measured = box.run("bench", "--duration", "quick", env=env)
    assert measured.returncode == 0, measured.stderr
    with serving_on(box, log, "--config", str(settings), env=env) as serving:
        ask_enough(serving)
        serving.process.send_signal(signal.SIGHUP)
        yield serving


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedHub]:
    with watched_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


def _send_a_little(hub: WatchedHub, numbers: Iterator[int]) -> None:
    """Sends the hub a new report, one that it has seen, and one that is none; reads a page."""
    report = report_bytes(next(numbers), device=None)
    assert [hub.send(body) for body in (report, report, b"[]")] == [201, 200, 400]
    Address(hub.port).ask("GET", "/nowhere")


@pytest.fixture(scope="module")
def prometheus(
    programs: Programs, runner: Serving, hub: WatchedHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("watching") / "prometheus"
    configuration = deploy_prometheus(folder, [runner.port], [hub.port], hub.reader)
    acts = (
        functools.partial(ask_a_little, runner),
        functools.partial(_send_a_little, hub, itertools.count()),
    )
    with running(programs, configuration) as started, asking_on(*acts):
        assert started.value('up{job="edgepack-runner"}') == 1
        assert started.value('up{job="edgepack-hub"}') == 1
        yield started


def test_promtool_finds_nothing_to_complain_about_in_the_hubs_metrics(
    programs: Programs, prometheus: Prometheus, hub: WatchedHub
) -> None:
    assert prometheus.value('up{job="edgepack-hub"}') == 1
    url = f"http://127.0.0.1:{hub.port}/metrics"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {hub.reader}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    checked = subprocess.run(
        [str(programs.promtool), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def _filled_in(expression: str, runner: Serving) -> str:
    """Puts in what a person would have chosen; a rate looks at the time since the start."""
    values = {
        "target": ".*",
        "model": ".*",
        "instance": f"127.0.0.1:{runner.port}",
        "__rate_interval": "1m",
    }
    return re.sub(r"\$(\w+)", lambda found: values[found[1]], expression)


def _values(prometheus: Prometheus, expression: str) -> list[float]:
    found = prometheus.query(expression)
    return [value for each in found if not math.isnan(value := float(each["value"][1]))]


@pytest.mark.parametrize(
    ("board", "where", "expression"),
    [
        (path.stem, where, expression)
        for path in DASHBOARDS
        for where, expression in expressions_of(load_dashboard(path))
    ],
)
def test_no_panel_is_empty(
    prometheus: Prometheus, runner: Serving, board: str, where: str, expression: str
) -> None:
    filled = _filled_in(expression, runner)
    if board == "hub":
        filled = filled.replace(f'instance=~"127.0.0.1:{runner.port}"', 'instance=~".*"')
    deadline = time.monotonic() + _PATIENCE_S
    while not _values(prometheus, filled):
        assert time.monotonic() < deadline, f"{board}, {where}: {filled} is empty"
        time.sleep(0.5)


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda path: path.stem)
def test_every_choice_a_dashboard_offers_has_something_to_choose(
    prometheus: Prometheus, board: Path
) -> None:
    for variable in load_dashboard(board)["templating"]["list"]:
        if variable["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
        assert asked is not None
        series: list[dict[str, Any]] = prometheus.ask("series", **{"match[]": asked[1]})
        assert {each.get(asked[2], "") for each in series} - {""}, variable["query"]


def test_every_rule_can_be_evaluated_and_nothing_is_wrong_with_a_fleet_that_is_well(
    prometheus: Prometheus,
) -> None:
    assert prometheus.value("instance:edgepack_answers:rate5m") > 0
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []
