"""`edgepack explain`: which layer of a variant loses the answers, and which takes the time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.cli.console import make_console, make_table, print_json
from edgepack.cli.options import (
    cache_option,
    data_options,
    data_source,
    json_option,
    model_folders,
    model_options,
    open_cache,
    recipe_option,
)
from edgepack.cli.page import replace_file
from edgepack.cli.progress import shown_progress
from edgepack.formats.variants import parse_variant_name

if TYPE_CHECKING:
    from edgepack.build.explain import Explanation
    from edgepack.build.explain.explanation import LayerRow
    from edgepack.build.explain.timing import Span

#: Float layers that take less of a call than this are left out of the table, not of the JSON.
_SHOWN_SHARE = 0.02


@click.command()
@model_options
@click.option(
    "--variant",
    "name",
    default="tflite-static-int8",
    show_default=True,
    metavar="V",
    help="Which variant.",
)
@click.option(
    "--rows",
    type=click.IntRange(2, 100_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="Held-out inputs to compare answers on.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 86_400),
    default=120,
    show_default=True,
    metavar="S",
    help="Stop quantising single layers after S seconds; the most suspicious come first.",
)
@click.option("--per-operator", is_flag=True, help="Take every operator as a layer of its own.")
@click.option("--no-latency", is_flag=True, help="Leave the timing of layers out.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page that needs nothing else.",
)
@recipe_option
@data_options
@cache_option
@json_option
def explain(
    *,
    model: str,
    samples: Path | None,
    recipe: str | None,
    name: str,
    rows: int,
    seconds: float,
    per_operator: bool,
    no_latency: bool,
    page: Path | None,
    cache_dir: Path | None,
    as_json: bool,
    **data: Any,
) -> None:
    """Show which layer of a variant loses the ranking or the time.

    Runs the variant beside the fp32 graph it was made from, on held-out inputs: what every
    tensor loses, what the answers lose when one layer alone is quantised and when all but it
    are, and what the file grows by when it stays in float. Latency is this host's and says
    nothing about a board.

    \b
    Example:
      edgepack explain --model session --variant tflite-static-int8 --html layers.html
    """
    from edgepack.build.convert import convert_variants
    from edgepack.build.explain import Settings
    from edgepack.build.explain import explain as look_into
    from edgepack.build.explain.page import write_page
    from edgepack.build.pipeline.model import obtain_model
    from edgepack.build.pipeline.request import ModelRequest

    spec = parse_variant_name(name)
    request = ModelRequest(
        model, data_source(**data), samples, search=model_folders(), recipe=recipe
    )
    cache = open_cache(cache_dir)
    settings = Settings(rows, seconds, 0.0 if no_latency else 5.0, per_operator)
    with shown_progress() as progress:
        trained = obtain_model(request, cache, progress)
        variant = convert_variants(trained, [spec], cache, jobs=1, progress=progress)[0]
        found = look_into(trained, variant, cache, settings, progress=progress)
    if page is not None:
        replace_file(page, write_page(found))
    if as_json:
        print_json(found.to_json())
    elif page is None:
        _show(found)


def _show(found: Explanation) -> None:
    ranks = found.kind == "recommender"
    lost, first = ("overlap lost", "top-1 lost") if ranks else ("mean error", "argmax lost")
    table = make_table(
        f"Layers of {found.variant} of {found.model} {found.model_version}",
        "layer", f"{lost} alone", "±", first, "all but it", "in float", "dB", "µs", "of call",
        right=(f"{lost} alone", "±", first, "all but it", "in float", "dB", "µs", "of call"),
    )  # fmt: skip
    hidden = 0
    for row in found.layers:
        if not _is_shown(row, found):
            hidden += 1
            continue
        table.add_row(*_cells(row, found))
    console = make_console()
    console.print(table)
    if hidden:
        console.print(f"{hidden} layers in float that take under 2 % of a call are not shown.")
    for sentence in found.words:
        console.print(f"- {sentence}", markup=False, highlight=False)


def _is_shown(row: LayerRow, found: Explanation) -> bool:
    if row.quantised or found.time is None or row.time is None:
        return row.quantised
    return row.time.ns >= _SHOWN_SHARE * found.time.call.ns


def _cells(row: LayerRow, found: Explanation) -> list[str]:
    from rich.markup import escape

    alone, without = row.alone, row.without
    changed = alone.first_changed if alone else None
    time = row.time
    return [
        escape(row.name),
        _share(alone.lost if alone else None),
        _share(alone.lost_error if alone else None),
        _share(changed),
        _share(without.lost if without else None),
        f"{row.growth_bytes / 1000:+.1f} kB" if row.growth_bytes is not None else "-",
        f"{row.own_sqnr_db:.1f}" if row.own_sqnr_db is not None else "-",
        *_time_cells(time, found),
    ]


def _time_cells(time: Span | None, found: Explanation) -> tuple[str, str]:
    if time is None or found.time is None:
        return "-", "-"
    # A difference that may as well be none is not given digits.
    if time.low_ns <= 0:
        return "~0", "~0"
    return f"{time.ns / 1000:.1f}", f"{time.ns / found.time.call.ns:.0%}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
