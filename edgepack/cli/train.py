"""`edgepack train`: a model project, trained, beside its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.cli.console import (
    format_bytes,
    format_share,
    make_console,
    make_table,
    print_json,
)
from edgepack.cli.options import (
    cache_option,
    data_options,
    data_source,
    json_option,
    model_folders,
    open_cache,
    recipe_option,
)
from edgepack.cli.progress import shown_progress

if TYPE_CHECKING:
    from edgepack.build.artifacts import TrainedModel
    from edgepack.build.pipeline.steps import StepCost

#: How the rows of the comparison are called, in their order.
_LEARNERS = {"popularity": "popularity", "markov": "first-order Markov", "model": ""}


@click.command()
@click.option("--model", default="session", show_default=True, help="Model project, or its folder.")
@recipe_option
@data_options
@cache_option
@json_option
def train(
    model: str, recipe: str | None, cache_dir: Path | None, as_json: bool, **data: Any
) -> None:
    """Train a model project and show it beside baselines.

    Without --data the project's own source is used: for the shipped projects a generated
    sample shop. The last event of each session is held out and ranked against the whole
    catalogue; popularity and a first-order Markov chain are always measured in the same run.

    \b
    Example:
      edgepack train --model session --data clicks.csv.gz \\
        --session session_id --item sku --order time
    """
    from edgepack.build.pipeline.model import obtain_model
    from edgepack.build.pipeline.request import ModelRequest
    from edgepack.build.pipeline.steps import cost_of_steps
    from edgepack.build.projects import load_project

    request = ModelRequest(model, data_source(**data), search=model_folders(), recipe=recipe)
    cache = open_cache(cache_dir)
    with shown_progress() as progress:
        trained = obtain_model(request, cache, progress)
        steps = cost_of_steps(trained, cache, progress)
    if as_json:
        print_json(
            {
                "name": trained.name,
                "version": trained.version,
                "path": str(trained.directory),
                "sha256": trained.sha256,
                **trained.facts,
                **({"steps": [step.to_json() for step in steps]} if steps else {}),
            }
        )
        return
    make_console().print(comparison(trained))
    if steps:
        make_console().print(costs(trained, steps))
    click.echo(f"the trained model is in {trained.directory}")
    if recipe is None and request.source is not None:
        for name, purpose in load_project(model, request.search).recipes.items():
            click.echo(f"for {purpose}: --recipe {name}")


def comparison(trained: TrainedModel) -> Any:
    """Returns the table of a model beside its baselines."""
    metrics = trained.facts.get("metrics", {})
    questions = metrics.get("model", {}).get("questions", 0)
    table = make_table(
        f"{trained.name} {trained.version} on {questions} held-out events, full ranking",
        "ranked by", "HR@10", "NDCG@10", "MRR", right=("HR@10", "NDCG@10", "MRR"),
    )  # fmt: skip
    for key, label in _LEARNERS.items():
        found = metrics.get(key, {})
        table.add_row(
            label or f"{trained.name} ({trained.architecture})",
            *(format_share(found.get(metric)) for metric in ("hr", "ndcg", "mrr")),
        )
    return table


def costs(trained: TrainedModel, steps: Sequence[StepCost]) -> Any:
    """Returns the table of what each step of `[optimise]` kept and saved."""
    figures = ("items", "parameters", "HR@10", "NDCG@10", "file", "one call")
    table = make_table(
        f"{trained.name} {trained.version} after each step, as tflite-dynamic-int8, one thread",
        "step", *figures, right=figures,
    )  # fmt: skip
    for step in steps:
        facts = step.facts
        table.add_row(
            facts["step"],
            f"{facts['items']:,}",
            f"{facts['parameters']:,}",
            format_share(facts["hr"]),
            format_share(facts["ndcg"]),
            "-" if step.size_bytes is None else format_bytes(step.size_bytes),
            step.failure if step.call_ns is None else f"{step.call_ns / 1000:.1f} us",
        )
    return table
