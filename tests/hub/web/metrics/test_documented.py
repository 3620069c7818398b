from __future__ import annotations

import re
from pathlib import Path

from edgepack.hub.web.metrics import Metrics, Refusal, Taken
from edgepack.hub.web.metrics.store import StoreCollector, StoreFacts
from tests.runner.http.apps import Served, recommender_live


def _families(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))


def _told(repository: Path) -> str:
    return (repository / "docs" / "hub-watching.md").read_text(encoding="utf-8")


def test_every_metric_of_the_hub_is_on_the_page(repository: Path) -> None:
    metrics = Metrics()
    facts = StoreFacts(reachable=True, newest_s=1.0, free_bytes=1)
    metrics.add(StoreCollector(lambda: facts))
    told = _told(repository)
    for name in _families(metrics.exposition()[0].decode()):
        if not name.startswith("process_"):
            assert f"`{name}" in told, name
    for word in (*Taken, *Refusal):
        assert f"`{word}`" in told, word


def test_every_metric_of_the_runner_is_on_the_page(repository: Path, tmp_path: Path) -> None:
    text = Served(recommender_live(tmp_path)).send("GET", "/metrics").body.decode()
    told = _told(repository)
    assert len(_families(text)) > 15
    for name in _families(text):
        if not name.startswith("process_"):
            assert f"`{name}" in told, name
