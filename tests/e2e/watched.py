"""What the files of `deploy/prometheus` watch: a box that shows all a runner can tell.

The files are used as they are shipped, but for the time between two scrapes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from edgepack.formats.drift import MIN_DRIFT_COUNT
from edgepack.formats.manifest import parse_manifest
from edgepack.formats.variants import RuntimeName
from tests.campaigns.boxes import Box, Serving, make_box
from tests.deploy.manifests import DEPLOY
from tests.e2e.real_models import ITEMS

_UNKNOWN = "a-thing-nobody-sells"


def make_box_with_a_reference(folder: Path) -> Box:
    """Makes a box with a bundle for a card that says what its model was trained on."""
    box = make_box(folder, RuntimeName.ONNXRUNTIME_GPU)
    path = box.release / "manifest.json"
    manifest = parse_manifest(path.read_bytes())
    reference = {
        "history_length": {"counts": [0, 50, 40, 30, 20, 10, 10]},
        "score_quantiles": {
            "top1": {"p10": 0.5, "p50": 2.0, "p90": 6.0},
            "top10": {"p10": 0.1, "p50": 1.0, "p90": 3.0},
            "spread": {"p10": 0.1, "p50": 0.5, "p90": 2.0},
        },
    }
    path.write_bytes(dataclasses.replace(manifest, reference=reference).to_bytes())
    return box


def ask_enough(serving: Serving) -> None:
    """Asks a runner until it can tell of drift, with unknown items among the others."""
    for i in range(MIN_DRIFT_COUNT + 20):
        history = [ITEMS[i % len(ITEMS)], *ITEMS[: i % 4], *([_UNKNOWN] if i % 5 == 0 else [])]
        assert serving.ask("POST", "/recommend", {"history": history})[0] == 200
    ask_a_little(serving)


def ask_a_little(serving: Serving) -> None:
    """Asks a runner a few things of every kind."""
    for i in range(5):
        serving.ask("POST", "/recommend", {"history": [ITEMS[i], _UNKNOWN]})
    serving.ask("POST", "/recommend", {"history": []})
    serving.ask("POST", "/recommend", {"history": "no list"})
    serving.ask("GET", "/nowhere")


@contextlib.contextmanager
def asking_on(*acts: Callable[[], object]) -> Iterator[None]:
    """Does something again and again, twice a second, for as long as the context lasts.

    Args:
        acts: Functions without arguments.
    """
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.5):
            for act in acts:
                act()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def deploy_prometheus(folder: Path, boxes: Sequence[int], hubs: Sequence[int], token: str) -> Path:
    """Lays the shipped files out for ports of this machine, in a hurry.

    Args:
        folder: Where; it may not exist yet.
        boxes: Ports of runners.
        hubs: Ports of the hub's processes.
        token: A reader's token of the hub.

    Returns:
        The configuration's path.
    """
    shutil.copytree(DEPLOY / "prometheus", folder)
    configuration = folder / "prometheus.yml"
    document = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    document["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for each in document["scrape_configs"]:
        each |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
    configuration.write_text(yaml.safe_dump(document), encoding="utf-8")
    (folder / "boxes").mkdir()
    _write_targets(folder / "boxes" / "here.yml", boxes, {"target": "gpu", "shop": "here"})
    _write_targets(folder / "hubs" / "hub.yml", hubs, {})
    (folder / "hub-token").write_text(f"{token}\n", encoding="utf-8")
    return configuration


def _write_targets(path: Path, ports: Sequence[int], labels: dict[str, str]) -> None:
    targets = [f"127.0.0.1:{port}" for port in ports]
    path.write_text(json.dumps([{"targets": targets, "labels": labels}]), encoding="utf-8")
