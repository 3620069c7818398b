"""Trains model projects on given data and prints metrics beside the baselines, and seconds.

Run it in the checkout: `python benchmarks/training.py --data ../shared/data`. Nothing is cached,
so that the seconds are those of a training.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edgepack.build.artifacts import SilentProgress
from edgepack.build.cache import Cache
from edgepack.build.data.conditions import parse_condition
from edgepack.build.data.interactions import DataSource
from edgepack.build.projects import load_project
from edgepack.build.shipped import search_path
from edgepack.build.training.train import train

MODELS = ("session", "gru4rec", "bilstm")
DATA = ("synthetic", "eshop_clothing", "online_retail")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    data: str
    name: str
    hr: float
    ndcg: float
    mrr: float
    epochs: str
    seconds: str

    def __str__(self) -> str:
        metrics = f"{self.hr:.4f} | {self.ndcg:.4f} | {self.mrr:.4f}"
        return f"| {self.data} | {self.name} | {metrics} | {self.epochs} | {self.seconds} |"


def source_of(data: str, folder: Path) -> DataSource | None:
    """How each data set is read; None for the synthetic shop."""
    if data == "eshop_clothing":
        return DataSource(
            folder / data / "e-shop-clothing-2008.zip",
            session="session ID",
            item="page 2 (clothing model)",
            order="order",
        )
    if data == "online_retail":
        return DataSource(
            folder / data / "online_retail.csv.xz",
            session="CustomerID",
            item="StockCode",
            order="InvoiceDate",
            conditions=(parse_condition("CustomerID != ''"), parse_condition("Quantity > 0")),
        )
    return None


def measure(model: str, data: str, folder: Path) -> list[Row]:
    """Trains one project on one data set: its row, then the baselines'."""
    project = load_project(model, search_path("models", Path.cwd()))
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        trained = train(project, source_of(data, folder), Cache(Path(cache)), SilentProgress())
        seconds = f"{time.perf_counter() - start:.0f}"
    facts = trained.facts
    epochs = f"{facts['epochs']['best']} of {facts['epochs']['run']}"
    rows = []
    for name, metrics in facts["metrics"].items():
        own = name == "model"
        rows.append(
            Row(
                data,
                model if own else name,
                metrics["hr"],
                metrics["ndcg"],
                metrics["mrr"],
                epochs if own else "",
                seconds if own else "",
            )
        )
    return sorted(rows, key=lambda row: row.name != model)


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", choices=MODELS, action="append")
    parser.add_argument("--set", dest="sets", choices=DATA, action="append")
    options = parser.parse_args(argv)
    print("| data | ranks by | HR@10 | NDCG@10 | MRR | best epoch | seconds |")
    print("|---|---|---|---|---|---|---|")
    for data in options.sets or DATA:
        for number, model in enumerate(options.model or MODELS):
            # The baselines are the same for every model; once is enough.
            for row in measure(model, data, options.data)[: None if number == 0 else 1]:
                print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
