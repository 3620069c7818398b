"""`edgepack build`: the main job, from a model to one verified bundle per target."""

from __future__ import annotations

from dataclasses import replace
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
from edgepack.cli.field import HUB_VARIABLE, fetch_evidence, token_option
from edgepack.cli.options import (
    cache_option,
    data_options,
    data_source,
    jobs_option,
    json_option,
    model_folders,
    model_options,
    open_cache,
    recipe_option,
    target_folders,
)
from edgepack.cli.progress import shown_progress
from edgepack.cli.train import comparison
from edgepack.formats.variants import RuntimeName, parse_variant_name

if TYPE_CHECKING:
    from edgepack.build.choose import VariantRow
    from edgepack.build.pipeline.request import BuildResult

_COLOURS = {"chosen": "bold green", "passed": "green", "not run": "yellow"}


@click.command()
@model_options
@click.option(
    "--target",
    "targets",
    multiple=True,
    required=True,
    metavar="T",
    help="Kind of box; repeatable, or `all`.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    metavar="DIR",
    help="Where bundles are written.",
)
@click.option(
    "--runtime",
    type=click.Choice([str(name) for name in RuntimeName]),
    help="Force this runtime instead of choosing one.",
)
@click.option("--variant", "variants", multiple=True, metavar="V", help="Only these variants.")
@click.option(
    "--candidates",
    type=click.IntRange(1, 9),
    metavar="N",
    help="Pack up to N variants of the runtime for the box to measure.",
)
@click.option(
    "--allow-unverified",
    is_flag=True,
    help="Go on where a variant cannot be run on the target here.",
)
@click.option(
    "--mirror", metavar="URL", help="Debian mirror for target roots.  [default: apt's own sources]"
)
@click.option(
    "--hub",
    metavar="URL|FILE",
    envvar=HUB_VARIABLE,
    help="Choose by what boxes reported to this hub.  [default: $EDGEPACK_HUB]",
)
@token_option
@recipe_option
@click.option(
    "--tuned",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Choose what `edgepack tune` chose: its tune.json. Takes the place of --hub.",
)
@data_options
@jobs_option
@cache_option
@json_option
def build(**options: Any) -> None:
    """Make one verified bundle per target.

    Trains or loads the model, converts it to every variant the targets allow, checks each
    against the runtime without running it, measures what it does to the ranking, runs it on
    the target's CPU with the target's own Python and wheels, chooses, and packs one file. With a
    hub it chooses by the latency that boxes of the target reported, as far as they did.

    \b
    Examples:
      edgepack build --target arm64
      edgepack build --target arm64 --hub https://hub.example
      edgepack build --target cpu --tuned tuned/tune.json
      edgepack build --target arm64 --target cpu --data clicks.csv \\
        --session session_id --item sku --order time
      edgepack build --model classifier.keras --samples samples.npz --target arm64-tiny
    """
    from edgepack.build.pipeline import run_build

    as_json = options.pop("as_json")
    request, cache = _request(**options)
    with shown_progress() as progress:
        result = run_build(request, cache, progress)
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)
    # Bundles of the other targets are written; the status still tells that one is missing.
    for error in result.failures.values():
        raise error


def _request(
    *,
    model: str,
    samples: Path | None,
    recipe: str | None,
    targets: tuple[str, ...],
    out: Path,
    runtime: str | None,
    variants: tuple[str, ...],
    candidates: int | None,
    allow_unverified: bool,
    mirror: str | None,
    hub: str | None,
    token_file: Path | None,
    tuned: Path | None,
    jobs: int,
    cache_dir: Path | None,
    **data: Any,
) -> Any:
    from edgepack.build.pipeline.build import target_names
    from edgepack.build.pipeline.model import model_name
    from edgepack.build.pipeline.request import BuildRequest, ModelRequest

    request = BuildRequest(
        model=ModelRequest(
            model, data_source(**data), samples, search=model_folders(), recipe=recipe
        ),
        targets=targets,
        out=out,
        runtime=RuntimeName(runtime) if runtime else None,
        variants=tuple(parse_variant_name(name) for name in variants) or None,
        candidates=candidates,
        allow_unverified=allow_unverified,
        mirror=mirror,
        jobs=jobs,
        search=target_folders(),
    )
    if tuned is not None:
        from edgepack.build.tune.writing import load_tuning

        return replace(request, tuned=load_tuning(tuned)), open_cache(cache_dir)
    if hub:
        # Before any work: a wrong file is known at once, and a hub that is away is said at once.
        found = fetch_evidence(
            hub, token_file, targets=target_names(request), model=model_name(request.model)
        )
        request = replace(request, evidence=found)
    return request, open_cache(cache_dir)


def _show(result: BuildResult) -> None:
    console = make_console()
    if "metrics" in result.model.facts:
        console.print(comparison(result.model))
    for target in dict.fromkeys(row.target for row in result.rows):
        console.print(_variants(target, [row for row in result.rows if row.target == target]))
    for bundle in result.bundles:
        console.print(
            f"[bold green]{bundle.path}[/]  {format_bytes(bundle.size_bytes)}  "
            f"{bundle.runtime}, {bundle.chosen}\n  sha256 {bundle.sha256}\n  {bundle.reason}",
            highlight=False,
            soft_wrap=True,
        )
    for target, error in result.failures.items():
        console.print(f"[bold red]no bundle for {target}[/]: {error.message}", highlight=False)


def _variants(target: str, rows: list[VariantRow]) -> Any:
    measured = [row.quality for row in rows if row.quality is not None]
    ranked = not measured or measured[0].overlap is not None
    names = ("NDCG@10", "overlap", "top-1") if ranked else ("max error", "same class")
    table = make_table(
        f"Variants for {target}", "runtime", "variant", "bytes", *names, "verdict", "why",
        right=("bytes", *names),
    )  # fmt: skip
    for row in rows:
        quality = row.quality
        if quality is None:
            cells = ["-"] * len(names)
        elif ranked:
            cells = [format_share(x) for x in (quality.ndcg, quality.overlap, quality.top1_same)]
        else:
            error = quality.max_abs_err
            cells = ["-" if error is None else f"{error:.2g}", format_share(quality.argmax_same)]
        colour = _COLOURS.get(str(row.verdict), "red")
        size = format_bytes(row.variant.size_bytes) if row.variant.path else "-"
        verdict = f"[{colour}]{row.verdict}[/]"
        table.add_row(str(row.runtime), row.variant.spec.name, size, *cells, verdict, row.reason)
    return table
