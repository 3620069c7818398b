"""A shop with bundles, a simulated engine and a simulated registry, that makes images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgepack.build.image import Around, ImageRequest, ImageResult, make_image
from edgepack.build.image.tools import Buildah
from edgepack.cli.image import Bundles
from tests.build.image.simulators import AMD, ARM, SimulatedEngine, SimulatedRegistry
from tests.bundles import pack, this_machine

BASE = "reg.example/python:3"
TAG = "reg.example/shop/session:1.2.0"
TARGETS = {"kiosk": "aarch64", "till": "x86_64"}


class Shop:
    """A folder with bundles for both platforms, an engine and a registry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dist = folder / "dist"
        self.dist.mkdir()
        self.registry = SimulatedRegistry()
        self.registry.publish_base("3", [ARM, AMD])
        self.engine = SimulatedEngine(self.registry)
        for target in TARGETS:
            self.pack(target)

    def pack(self, target: str, **changes: Any) -> Path:
        """Packs a bundle for one of the targets."""
        machine = replace(this_machine(), arch=TARGETS[target], python="3.11.2")
        words = {"filename": f"{target}.pyz", "program": None, **changes}
        return pack(self.dist, machine=machine, target=target, **words).path

    def make(self, *targets: str, **changes: Any) -> ImageResult:
        """Runs `edgepack image` with the base of this shop."""
        run = changes.pop("run", self.engine)
        around = Around(Buildah(), Bundles(), self.registry.open, {}, run, AMD)
        request = ImageRequest(targets=targets, dist=self.dist, base=BASE)
        return make_image(replace(request, **changes), around)


def left(shop: Shop) -> list[str]:
    """What lies in the temporary folder and beside the outputs, and drafts in the engine."""
    found = [path.name for path in (shop.folder / "temporary").iterdir()]
    found += [path.name for path in shop.folder.iterdir() if path.name.startswith(".")]
    return found + list(shop.engine.drafts)
