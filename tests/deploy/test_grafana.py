"""The dashboards: what Grafana's own schema knows, and what a person who reads them needs."""

from __future__ import annotations

import copy
import json
import re
import typing
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from edgepack.hub.web.metrics import Metrics
from edgepack.hub.web.metrics.store import StoreCollector, StoreFacts
from tests.deploy.dashboards import (
    DASHBOARDS,
    GRAFANA,
    expressions_of,
    load_dashboard,
    panels_of,
)
from tests.deploy.manifests import DEPLOY, load_document

_NAMES = [path.name for path in DASHBOARDS]
_VARIABLE = re.compile(r"\$\{?(\w+)")
#: What Grafana itself fills in.
_BUILT_IN = {"__rate_interval", "__all"}
_METRIC = re.compile(r"\b((?:\w+:)?edgepack_\w+(?::\w+)?)")


@pytest.fixture(scope="module", autouse=True)
def _panels_of_grafana() -> None:
    register_default_plugins()


@pytest.fixture(params=DASHBOARDS, ids=_NAMES)
def dashboard(request: pytest.FixtureRequest) -> Any:
    return load_dashboard(request.param)


def _as_grafana_reads_it(document: Any) -> Any:
    return json.loads(json.dumps(Dashboard.from_json(copy.deepcopy(document)), cls=JSONEncoder))


def _lost(mine: Any, theirs: Any, where: str = "") -> list[str]:
    """What is in the file and not in what Grafana's schema keeps of it."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return [
            problem
            for key, value in mine.items()
            for problem in (
                _lost(value, theirs[key], f"{where}.{key}") if key in theirs else [f"{where}.{key}"]
            )
        ]
    if isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        pairs = enumerate(zip(mine, theirs, strict=True))
        return [each for i, (a, b) in pairs for each in _lost(a, b, f"{where}[{i}]")]
    return [] if mine == theirs else [where]


def _wrong_types(value: Any, where: str = "") -> list[str]:
    """Attributes that hold something else than the schema's class says; plain values only."""
    problems = []
    if isinstance(value, list):
        return [
            each for i, item in enumerate(value) for each in _wrong_types(item, f"{where}[{i}]")
        ]
    if not type(value).__module__.startswith("grafana_foundation_sdk"):
        return []
    for name, kind in typing.get_type_hints(type(value)).items():
        held = getattr(value, name)
        plain = [each for each in (kind, *typing.get_args(kind)) if each in (bool, float, int, str)]
        if plain and isinstance(held, bool | float | int | str):
            allowed = (*plain, int) if float in plain else tuple(plain)
            if not isinstance(held, allowed) or (isinstance(held, bool) and bool not in plain):
                problems.append(f"{where}.{name}: {held!r}")
        problems += _wrong_types(held, f"{where}.{name}")
    return problems


def test_grafanas_schema_knows_every_key_and_keeps_every_value(dashboard: Any) -> None:
    assert _lost(dashboard, _as_grafana_reads_it(dashboard)) == []
    assert _wrong_types(Dashboard.from_json(copy.deepcopy(dashboard))) == []


def test_the_check_sees_a_key_and_a_type_that_are_wrong() -> None:
    wrong = load_dashboard(DASHBOARDS[0])
    panel = wrong["panels"][1]
    panel["targets"][0]["legendFromat"] = "x"
    panel["fieldConfig"]["defaults"]["unti"] = "s"
    assert len(_lost(wrong, _as_grafana_reads_it(wrong))) == 2
    panel["gridPos"]["w"] = "wide"
    assert len(_wrong_types(Dashboard.from_json(wrong))) == 1


def test_panels_have_numbers_titles_and_words_of_their_own(dashboard: Any) -> None:
    panels = dashboard["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(set(numbers)) == len(numbers)
    for panel in panels_of(dashboard):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]


def test_every_panel_asks_the_chosen_prometheus_and_says_in_what_unit(dashboard: Any) -> None:
    known = {value for name, value in vars(units).items() if name[0].isupper()}
    for panel in panels_of(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"] in known, panel["title"]
        assert panel["targets"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert all(target["expr"].strip() for target in panel["targets"])


def test_every_variable_that_is_used_is_there_and_the_other_way_round(dashboard: Any) -> None:
    names = {each["name"] for each in dashboard["templating"]["list"]}
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    used = set(_VARIABLE.findall(json.dumps(dashboard))) - _BUILT_IN
    assert used == names


def test_no_panel_lies_on_another_or_outside(dashboard: Any) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in dashboard["panels"]]
    for title, at in places:
        assert at["x"] >= 0, title
        assert at["x"] + at["w"] <= 24, title
    for (one, a), (other, b) in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart, f"{one} and {other}"


def test_a_rate_looks_as_far_back_as_the_scrapes_need(dashboard: Any) -> None:
    for where, expression in expressions_of(dashboard):
        for window in re.findall(r"\[([^\]]+)\]", expression):
            assert window in ("$__rate_interval", "5m"), where


def test_dashboards_have_addresses_of_their_own() -> None:
    addresses = [load_dashboard(path)["uid"] for path in DASHBOARDS]
    assert len(set(addresses)) == len(addresses) == 3


def test_what_the_hubs_dashboard_asks_for_is_what_the_hub_tells() -> None:
    metrics = Metrics()
    facts = StoreFacts(reachable=True, newest_s=1.0, free_bytes=1)
    metrics.add(StoreCollector(lambda: facts))
    text = metrics.exposition()[0].decode()
    told = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    recorded = {
        rule["record"]
        for name in ("hub", "runner")
        for group in load_document(DEPLOY / "prometheus" / "rules" / f"{name}.yml")["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    for where, expression in expressions_of(load_dashboard(GRAFANA / "dashboards" / "hub.json")):
        for name in _METRIC.findall(expression):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert name in recorded or name in told or base in told, f"{where}: {name}"


@pytest.mark.parametrize("kind", ["datasources", "dashboards"])
def test_grafana_is_told_where_its_files_are(kind: str) -> None:
    (path,) = (GRAFANA / "provisioning" / kind).iterdir()
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert document["apiVersion"] == 1
    if kind == "datasources":
        (source,) = document["datasources"]
        assert source["type"] == "prometheus"
        runners = load_document(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"][0]
        assert source["jsonData"]["timeInterval"] == runners["scrape_interval"]
    else:
        (provider,) = document["providers"]
        assert Path(provider["options"]["path"]).name == (GRAFANA / "dashboards").name
