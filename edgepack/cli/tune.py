"""`edgepack tune`: which variant, runtime, threads and options, measured in turns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.cli.console import format_bytes, format_share, make_console, make_table, print_json
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
from edgepack.formats.errors import DeviceError
from edgepack.formats.report import Duration
from edgepack.formats.tuning import TunedCell, TunedMachine, Tuning
from edgepack.formats.variants import RuntimeName, parse_variant_name

if TYPE_CHECKING:
    from edgepack.build.tune.tuning import TuneResult

_MOST_ROUNDS = 200
_MOST_THREADS = 64


def _parse_threads(
    context: click.Context, option: click.Parameter, text: str | None
) -> tuple[int, ...] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and 1 <= int(word) <= _MOST_THREADS for word in words):
        raise click.BadParameter(
            f"'{text}': give whole numbers from 1 to {_MOST_THREADS}, as 1,2,4", context, option
        )
    return tuple(sorted({int(word) for word in words}))


@click.command()
@model_options
@click.option("--target", required=True, metavar="T", help="Kind of box; this host must be one.")
@click.option(
    "--duration",
    type=click.Choice([str(each) for each in Duration]),
    default=str(Duration.QUICK),
    show_default=True,
    help="2, 60 or 600 seconds for each row.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, _MOST_ROUNDS),
    metavar="N",
    help="Rounds that share this time; below 8 no interval can be told.  [default: 8, 15 or 30]",
)
@click.option(
    "--threads",
    callback=_parse_threads,
    metavar="N,N",
    help="Only these numbers of threads.  [default: 1,2,4 as far as there are cores]",
)
@click.option(
    "--runtime",
    type=click.Choice([str(name) for name in RuntimeName]),
    help="Only this runtime.",
)
@click.option("--variant", "variants", multiple=True, metavar="V", help="Only these variants.")
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="How much slower than the fastest counts as equally fast.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Measure on the workers of this Dask scheduler instead of this host.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write tune.json, tune.html, pareto.svg and pareto.png there.",
)
@click.option("--mirror", metavar="URL", help="Debian mirror for target roots.")
@recipe_option
@data_options
@jobs_option
@cache_option
@json_option
def tune(as_json: bool, out: Path | None, dask: str | None, **options: Any) -> None:
    """Measure variants, runtimes, threads and options; choose.

    Converts and judges as `build` does, then measures what passed in turns, on this host or on
    the workers of a Dask cluster, and chooses the smallest of those that are as fast as the
    fastest. What was measured is kept: the same command goes on where it was stopped.

    \b
    Examples:
      edgepack tune --target cpu
      edgepack tune --target cpu --duration standard --out tuned
      edgepack tune --target arm64 --dask tcp://10.0.0.7:8786 --out tuned
    """
    from edgepack.build.pipeline.request import check_out
    from edgepack.build.tune import run_tune
    from edgepack.build.tune.plot import check_plotting
    from edgepack.build.tune.writing import write_tuning
    from edgepack.formats.typed import to_plain

    request, cache = _request(**options)
    if out is not None:
        check_out(out)
        check_plotting()
    places = None
    if dask is not None:
        from edgepack.build.tune.cluster import cluster_places

        places = lambda releases: cluster_places(dask, releases)  # noqa: E731
    with shown_progress() as progress:
        result = run_tune(request, cache, progress, places)
    files = [] if out is None else write_tuning(result.tuning, out)
    if as_json:
        print_json(to_plain(result.tuning))
    else:
        _show(result, files)
    for name, error in result.lost.items():
        click.echo(f"warning: {name}: {error.message}", err=True)
    if not any(each.choice for each in result.tuning.machines):
        raise DeviceError(
            f"nothing could be chosen for {options['target']}: no variant could be measured",
            hint="the table says why for each",
        )


def _request(
    *,
    model: str,
    samples: Path | None,
    recipe: str | None,
    target: str,
    duration: str,
    rounds: int | None,
    threads: tuple[int, ...] | None,
    runtime: str | None,
    variants: tuple[str, ...],
    margin: float,
    mirror: str | None,
    jobs: int,
    cache_dir: Path | None,
    **data: Any,
) -> Any:
    from edgepack.build.pipeline.request import BuildRequest, ModelRequest
    from edgepack.build.tune.cells import plan_of
    from edgepack.build.tune.tuning import TuneRequest

    build = BuildRequest(
        model=ModelRequest(
            model, data_source(**data), samples, search=model_folders(), recipe=recipe
        ),
        targets=(target,),
        out=Path(),
        runtime=RuntimeName(runtime) if runtime else None,
        variants=tuple(parse_variant_name(name) for name in variants) or None,
        mirror=mirror,
        jobs=jobs,
        search=target_folders(),
    )
    plan = plan_of(Duration(duration), rounds)
    return TuneRequest(build, plan, threads, margin), open_cache(cache_dir)


def _show(result: TuneResult, files: list[Path]) -> None:
    console = make_console()
    tuning = result.tuning
    for each in tuning.machines:
        console.print(_table(tuning, each))
        choice = each.choice
        what = (
            "[bold red]nothing is chosen[/]" if choice is None else f"[bold green]{choice.label}[/]"
        )
        console.print(f"{what}\n  {each.reason}", highlight=False, soft_wrap=True)
        if each.reservations:
            console.print(
                f"  [yellow]reservations[/]: {', '.join(each.reservations)}", highlight=False
            )
    for left in tuning.left_out:
        console.print(
            f"[dim]not measured[/] {left.variant} on {left.runtime}: {left.verdict}; {left.reason}",
            highlight=False,
            soft_wrap=True,
        )
    for path in files:
        console.print(str(path), highlight=False)


def _table(tuning: Tuning, ranked: TunedMachine) -> Any:
    from edgepack.build.tune.page import machine_words, remark, times, us

    numbers = ("", "p50 µs", "p90 µs", "p99 µs", "x fastest", "model", "quality")
    table = make_table(
        f"{tuning.model} for {tuning.target} on {machine_words(ranked)}",
        "", "variant", "options", *numbers[1:], "why",
        right=numbers,
    )  # fmt: skip
    for column in table.columns[1:3]:
        # The last column may wrap; a name that is cut off tells nobody anything.
        column.no_wrap = True
    for i, cell in enumerate(ranked.cells):
        chosen = cell is ranked.choice
        latencies = (
            us(each).removesuffix(" µs") for each in (cell.p50_ns, cell.p90_ns, cell.p99_ns)
        )
        table.add_row(
            str(i + 1), _variant(cell, ranked), str(cell.options), *latencies, times(cell),
            format_bytes(cell.size_bytes), format_share(cell.quality), remark(cell, chosen=chosen),
            style="bold green" if chosen else "dim" if cell.problem else None,
        )  # fmt: skip
    return table


def _variant(cell: TunedCell, ranked: TunedMachine) -> str:
    """Names a variant, and its runtime where its own name does not tell."""
    runtimes = {each.runtime for each in ranked.cells if each.variant == cell.variant}
    return cell.variant if len(runtimes) == 1 else f"{cell.variant} ({cell.runtime})"
