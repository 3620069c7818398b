"""A user's folder with a tiny model project, for builds of seconds."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = """
name = "tiny"
version = "0.1.0"
kind = "recommender"
sequence_length = 6
top_k = 5

[architecture]
name = "gru4rec"
units = 8
dropout = 0.0

[data]
source = "clicks.csv"
session = "who"
item = "what"
order = "when"

[training]
epochs = 1
seed = 7

[calibration]
samples = 20

[gate]
ndcg_ratio = 0.5
overlap = 0.5
top1_same = 0.5
"""


@dataclass(frozen=True, slots=True)
class Workshop:
    """A user's folder with a tiny model project, and how `edgepack` is run in it."""

    folder: Path
    repository: Path

    def command(self, *arguments: str, target: str = "cpu") -> list[str]:
        """The build every test here runs: two variants for one target."""
        variants = ["--variant", "tflite-fp32", "--variant", "tflite-dynamic-int8"]
        build = ["build", "--model", "tiny", "--target", target, *variants, "--json"]
        return [sys.executable, "-m", "edgepack.cli.main", *build, *arguments]

    def environment(self, cache: Path, **changes: str) -> dict[str, str]:
        """The environment of a run, with a cache of its own."""
        return {
            **os.environ,
            "EDGEPACK_CACHE": str(cache),
            "PYTHONPATH": str(self.repository),
            **changes,
        }

    def run(
        self, cache: Path, *arguments: str, target: str = "cpu", **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the build to its end."""
        return subprocess.run(
            self.command(*arguments, target=target),
            cwd=self.folder,
            env=self.environment(cache, **changes),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )


def make_workshop(folder: Path, repository: Path) -> Workshop:
    """Writes `models/tiny` and a log of 300 visits to 30 items into a folder."""
    project = folder / "models" / "tiny"
    project.mkdir(parents=True)
    (project / "model.toml").write_text(PROJECT)
    chance = random.Random(5)
    with (project / "clicks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "what", "when"])
        for visit in range(300):
            item = chance.randrange(30)
            for step in range(chance.randrange(3, 9)):
                writer.writerow([visit, f"sku-{item}", step])
                item = (item + chance.choice([1, 1, 1, 7])) % 30
    return Workshop(folder, repository)
