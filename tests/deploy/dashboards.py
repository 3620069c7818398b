"""Reads the dashboards of `deploy/grafana`, for the tests of this folder and those in e2e."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.manifests import DEPLOY

GRAFANA = DEPLOY / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))


def load_dashboard(path: Path) -> Any:
    """Returns a dashboard's document."""
    return json.loads(path.read_text(encoding="utf-8"))


def panels_of(dashboard: Any) -> Iterator[Any]:
    """Yields the panels that show something; rows only part them."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel


def expressions_of(dashboard: Any) -> Iterator[tuple[str, str]]:
    """Yields what each panel asks Prometheus, by the panel's number and title."""
    for panel in panels_of(dashboard):
        for target in panel["targets"]:
            yield f"{panel['id']} {panel['title']} {target['refId']}", target["expr"]
