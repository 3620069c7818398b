"""What the recipes of `session` reach and how long they take.

    python -m benchmarks.recipes quality --data ../shared/data [--recipe NAME] [--set NAME]
    python -m benchmarks.recipes time [--shape ml-1m] [--epochs 2]

`quality` writes the real shops' logs as the plain files that public benchmarks are handed on as,
and trains from those. `time` makes up logs of the shapes of MovieLens-1M and Amazon Beauty, whose
items say nothing: only the seconds count. It trains for a few passes and works out the most that
a whole training can take, as every pass takes as long.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.training import source_of
from edgepack.build.artifacts import SilentProgress
from edgepack.build.cache import Cache
from edgepack.build.data.interactions import DataSource
from edgepack.build.data.plain import Layout
from edgepack.build.projects import Project, load_project
from edgepack.build.shipped import search_path
from edgepack.build.training.train import load_sequences, train

SETS = ("eshop_clothing", "online_retail")


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a public data set is.

    Attributes:
        users: With at least `fewest` events.
        items: Different ones.
        events: A user, on average.
        fewest: A user has.
        recipe: What it is made for.

    Source: Kang and McAuley 2018, arXiv:1808.09781, table 2; Klenitskiy and Vasilev 2023,
    arXiv:2309.07602, table 1.
    """

    users: int
    items: int
    events: float
    fewest: int
    recipe: str


SHAPES = {
    "ml-1m": Shape(6_040, 3_416, 165.5, 20, "histories"),
    "beauty": Shape(22_363, 12_101, 8.9, 5, "sparse"),
}


def write_plain(source: DataSource, path: Path, layout: Layout) -> None:
    """Writes a log as `user item` or `user item item …`, oldest first.

    Args:
        source: The log.
        path: Where to.
        layout: Which of the two.
    """
    _, sequences = load_sequences(source)
    names = [item.replace(" ", "_") for item in sequences.vocabulary.items]
    with path.open("w", encoding="utf-8") as stream:
        for user in range(len(sequences)):
            found = sequences.items[sequences.offsets[user] : sequences.offsets[user + 1]]
            items = [names[item - 1] for item in found]
            if layout is Layout.PAIRS:
                stream.writelines(f"u{user} {item}\n" for item in items)
            else:
                stream.write(f"u{user} {' '.join(items)}\n")


def write_shape(shape: Shape, path: Path) -> None:
    """Writes a made-up log, one pair a line, in which item and next item go together."""
    random = np.random.default_rng(0)
    extra = random.lognormal(0.0, 1.0, shape.users)
    lengths = shape.fewest + np.round(extra * (shape.events - shape.fewest) / extra.mean()).astype(
        int
    )
    weights = 1.0 / np.arange(1, shape.items + 1)
    weights /= weights.sum()
    with path.open("w", encoding="utf-8") as stream:
        for user, length in enumerate(lengths):
            steps = random.choice(shape.items, size=length, p=weights)
            follows = random.random(length) < 0.5
            for place in range(1, length):
                if follows[place]:
                    steps[place] = (steps[place - 1] * 7 + 1) % shape.items
            stream.writelines(f"u{user} i{item}\n" for item in steps)


def trained_facts(project: Project, path: Path, layout: Layout) -> tuple[Mapping[str, Any], float]:
    """What training says, and its seconds."""
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        source = DataSource(path, layout=layout)
        facts = train(project, source, Cache(Path(cache)), SilentProgress()).facts
        return facts, time.perf_counter() - start


def quality(options: argparse.Namespace) -> None:
    """Prints a row for each shop and recipe, and one for each baseline."""
    print("| data | layout | ranked by | HR@10 | NDCG@10 | best epoch | seconds |")
    print("|---|---|---|---|---|---|---|")
    for number, name in enumerate(options.sets or SETS):
        layout = (Layout.PAIRS, Layout.SEQUENCES)[number % 2]
        source = source_of(name, options.data)
        if source is None:
            raise AssertionError(f"{name} is a log")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.txt"
            write_plain(source, path, layout)
            for place, recipe in enumerate(options.recipe or ("none", "histories", "sparse")):
                facts, seconds = trained_facts(_project(recipe), path, layout)
                epochs = facts["epochs"]
                took = f"{epochs['best']} of {epochs['run']} | {seconds:.0f}"
                for who, metrics in facts["metrics"].items():
                    own = who == "model"
                    # The baselines are the same for every recipe; once is enough.
                    if own or place == 0:
                        shown = f"{metrics['hr']:.4f} | {metrics['ndcg']:.4f}"
                        ranked_by = recipe if own else who
                        ended = took if own else " | "
                        print(
                            f"| {name} | {layout} | {ranked_by} | {shown} | {ended} |", flush=True
                        )


def _project(recipe: str) -> Project:
    folders = search_path("models", Path.cwd())
    return load_project("session", folders, None if recipe == "none" else recipe)


def timing(options: argparse.Namespace) -> None:
    """Prints the seconds of a pass and of the longest training."""
    print("| shape | users | events | items | recipe | seconds a pass | the most, minutes |")
    print("|---|---|---|---|---|---|---|")
    for name in options.shape or SHAPES:
        shape = SHAPES[name]
        project = _project(shape.recipe)
        seconds = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.txt"
            write_shape(shape, path)
            for epochs in (1, 1 + options.epochs):
                settings = dataclasses.replace(
                    project.training, epochs=epochs, refit_epochs=0, patience=epochs
                )
                short = dataclasses.replace(project, training=settings)
                seconds.append(trained_facts(short, path, Layout.PAIRS)[1])
            events = path.read_text(encoding="utf-8").count("\n")
        each = (seconds[1] - seconds[0]) / options.epochs
        passes = project.training.epochs + project.training.refit_epochs
        most = (seconds[0] + each * (passes - 1)) / 60
        print(
            f"| {name} | {shape.users:,} | {events:,} | {shape.items:,} | {shape.recipe} "
            f"| {each:.0f} | {most:.0f} |",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked = parser.add_subparsers(required=True)
    found = asked.add_parser("quality")
    found.add_argument("--data", type=Path, default=Path("../shared/data"))
    found.add_argument("--recipe", choices=("none", "histories", "sparse"), action="append")
    found.add_argument("--set", dest="sets", choices=SETS, action="append")
    found.set_defaults(run=quality)
    taken = asked.add_parser("time")
    taken.add_argument("--shape", choices=SHAPES, action="append")
    taken.add_argument("--epochs", type=int, default=2, help="passes that are timed")
    taken.set_defaults(run=timing)
    options = parser.parse_args(argv)
    options.run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
