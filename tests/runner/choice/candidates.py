"""A release with two candidates, and engines for each that take as long as they are told."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgepack.formats.errors import DeviceError
from edgepack.formats.manifest import FileRecord, Manifest
from edgepack.formats.options import EngineOptions
from edgepack.formats.variants import Precision
from edgepack.runner.bench.device import Platform
from edgepack.runner.bench.system import SystemTree
from edgepack.runner.choice.settling import Box
from edgepack.runner.choice.trials import Trial
from edgepack.runner.engines import Engine
from edgepack.runner.engines.contract import Array
from edgepack.runner.release import Release
from tests.runner.bench.boxes import PI_PLATFORM
from tests.runner.simulators import CATALOGUE, HandClock, SimulatedEngine, write_release

FIRST, SECOND = "tflite-dynamic-int8", "tflite-fp32"


def two_candidates(directory: Path) -> Manifest:
    """Writes a release whose second candidate is another file with the same answers."""
    manifest = write_release(directory)
    first = manifest.candidates[0]
    data = b"another simulated model"
    golden = (directory / first.golden).read_bytes()
    names = {"models/tflite-fp32.tflite": data, "golden/tflite-fp32.json": golden}
    records = []
    for name, content in names.items():
        (directory / name).write_bytes(content)
        records.append(FileRecord(name, hashlib.sha256(content).hexdigest(), len(content), 0o644))
    second = replace(
        first,
        variant=SECOND,
        precision=Precision.FP32,
        file="models/tflite-fp32.tflite",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        golden="golden/tflite-fp32.json",
    )
    files = tuple(sorted((*manifest.files, *records), key=lambda each: each.path))
    manifest = replace(manifest, candidates=(first, second), files=files)
    (directory / "manifest.json").write_bytes(manifest.to_bytes())
    return manifest


def box_at(root: Path, here: Platform = PI_PLATFORM, *, version: str | None = "2.3.0") -> Box:
    """A box with an empty file tree and a LiteRT of some version."""
    site = root / f"site-{version}"
    site.mkdir(parents=True, exist_ok=True)
    if version is not None:
        (site / f"ai_edge_litert-{version}.dist-info").mkdir(exist_ok=True)
    return Box(SystemTree(root / "tree"), here, {}, ["", str(root / "nowhere"), str(site)])


class FailingCard(SimulatedEngine):
    """An engine whose card fails at the first call; the CPU answers."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        self.fallback = "out of memory"
        return super().run(inputs)


class Bench:
    """Opens simulated engines and remembers in which order."""

    def __init__(self, clock: HandClock, call_ns: dict[str, Sequence[int] | int]) -> None:
        self.clock = clock
        self.call_ns = call_ns
        self.opened: list[str] = []
        self.engines: list[SimulatedEngine] = []
        self.refused: set[str] = set()
        self.poisoned: set[str] = set()
        self.falls_back: set[str] = set()
        self.opens_with: dict[str, EngineOptions] = {}

    def open(self, release: Release, trial: Trial) -> Engine:
        """Opens a trial's engine; one of the refused is an error of the runtime."""
        self.opened.append(str(trial))
        if str(trial) in self.refused:
            raise DeviceError("no such op")
        assert release.candidate.variant == trial.variant
        # Another catalogue ranks other items: wrong answers of a model that runs.
        catalogue = 16 if str(trial) in self.poisoned else CATALOGUE
        kind = FailingCard if str(trial) in self.falls_back else SimulatedEngine
        engine = kind(clock=self.clock, call_ns=self.call_ns[str(trial)], catalogue=catalogue)
        engine.options = self.opens_with.get(str(trial), trial.options)
        self.engines.append(engine)
        return engine
