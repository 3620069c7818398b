"""`edgepack report`: the fleet, one box, a comparison and releases, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgepack.cli.console import print_json
from edgepack.cli.field import opened, show_sheet, source_options
from edgepack.cli.page import write_page

if TYPE_CHECKING:
    from edgepack.hub.answers.sheet import Answer, Sheet
    from edgepack.hub.sources.source import Source
    from edgepack.hub.sources.store import StoreSource

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def report() -> None:
    """Show what boxes reported.

    Reads a hub (with a reader's token), a hub's store, or a file of reports. Every table also
    comes as CSV and JSON, with all columns.
    """


def _output_options(command: _Command) -> _Command:
    """Adds where answers come from and how they are printed."""
    options = [
        source_options,
        click.option("--csv", "as_csv", is_flag=True, help="Print the first table as CSV."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
        click.option(
            "--html",
            "page",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Write a page that needs nothing else, with charts.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _answer(
    ask: Callable[[Source], Sheet],
    ask_store: Callable[[StoreSource], Answer],
    options: dict[str, Any],
) -> None:
    """Asks, and prints or writes the answer; a hub draws only what a page shows."""
    page: Path | None = options["page"]
    with opened(options["where"], options["token_file"], charts=page is not None) as source:
        if page is not None:
            write_page(page, source, ask, ask_store)
            return
        sheet = ask(source)
    if options["as_csv"]:
        # Its lines end as CSV's do, on every system.
        sys.stdout.buffer.write(sheet.tables[0].to_csv().encode("utf-8"))
        sys.stdout.buffer.flush()
    elif options["as_json"]:
        print_json(sheet.to_json())
    else:
        show_sheet(sheet)


@report.command()
@click.option("--target", metavar="T", help="Only boxes with a release for this target.")
@click.option("--release", metavar="ID", help="Only boxes on this release.")
@click.option("--condition", metavar="C", help="Only boxes in this condition, such as throttled.")
@click.option("--grade", metavar="G", help="Only boxes whose last report has this grade.")
@click.option("--box", metavar="BOX", help="Only this kind of box, in its words.")
@click.option("--text", metavar="TEXT", help="Only boxes with this in their name or label.")
@click.option("--offset", metavar="N", help="Skip the first N.")
@click.option("--limit", metavar="N", help="Show at most N.  [default: 50]")
@_output_options
def fleet(**options: Any) -> None:
    """Show the boxes, those that need attention first.

    \b
    Example:
      edgepack report fleet --from https://hub.example --condition silent
    """
    from edgepack.hub.answers.params import fleet_query

    names = ("target", "release", "condition", "grade", "box", "text", "offset", "limit")
    query = fleet_query(_params(options, names))
    _answer(
        lambda source: source.fleet(query),
        lambda store: store.fleet_answer(query),
        options,
    )


@report.command()
@click.argument("name")
@click.option("--days", metavar="N", help="Look back N days only.")
@click.option("--raw", metavar="REPORT", help="Print this report as the box sent it.")
@_output_options
def device(name: str, raw: str | None, **options: Any) -> None:
    """Show one box over time.

    \b
    Example:
      edgepack report device kiosk-17 --from hub.sqlite --days 30
    """
    from edgepack.hub.answers.params import device_days

    days = device_days(_params(options, ("days",)))
    if raw is not None:
        with opened(options["where"], options["token_file"]) as source:
            document = source.document(name, raw)
        sys.stdout.buffer.write(document + b"\n")
        sys.stdout.buffer.flush()
        return
    _answer(
        lambda source: source.device(name, days=days),
        lambda store: store.device_answer(name, days=days),
        options,
    )


@report.command()
@click.option("--model", metavar="NAME", help="The model.")
@click.option("--scenario", metavar="S", help="single_stream, offline or server.")
@click.option("--box", metavar="BOX", help="The kind of box, by its key or a part of its words.")
@click.option("--context", metavar="DIGEST", help="Exactly this context.")
@click.option(
    "--fact", "facts", multiple=True, metavar="PATH=VALUE", help="A fact of it; repeatable."
)
@click.option("--target", metavar="T", help="Only rows for this target.")
@click.option("--runtime", metavar="R", help="Only rows of this runtime.")
@click.option("--precision", metavar="P", help="Only rows of this precision.")
@click.option("--release", metavar="ID", help="Only rows of this release.")
@click.option("--per", metavar="variant|release", help="What one row is.  [default: variant]")
@_output_options
def compare(facts: tuple[str, ...], **options: Any) -> None:
    """Compare targets, runtimes and precisions on one kind of box.

    Only what was measured alike is compared; otherwise it says what differs and how to narrow
    the selection.

    \b
    Example:
      edgepack report compare --from hub.sqlite --scenario single_stream --box 'Pi 4'
    """
    from edgepack.hub.answers.params import compare_query

    names = (
        *("model", "scenario", "box", "context"),
        *("target", "runtime", "precision", "release", "per"),
    )
    params = [*_params(options, names), *(("fact", each) for each in facts)]
    query = compare_query(params)
    _answer(
        lambda source: source.compare(query),
        lambda store: store.compare_answer(query),
        options,
    )


@report.command()
@click.option("--model", metavar="NAME", help="Only of this model.")
@click.option("--target", metavar="T", help="Only for this target.")
@_output_options
def releases(model: str | None, target: str | None, **options: Any) -> None:
    """List the releases that boxes reported.

    \b
    Example:
      edgepack report releases --from hub.sqlite --target arm64
    """
    _answer(
        lambda source: source.releases(model=model, target=target),
        lambda store: store.releases_answer(model=model, target=target),
        options,
    )


@report.command()
@click.argument("bundle")
@click.option(
    "--before",
    metavar="ID",
    help="The release it is held against.  [default: the one that most of its boxes had]",
)
@_output_options
def release(bundle: str, before: str | None, **options: Any) -> None:
    """Compare a release with an earlier one on the same boxes.

    BUNDLE is a release's id or its first eight digits or more.

    \b
    Example:
      edgepack report release 3f9c2a1b --from hub.sqlite
    """
    _answer(
        lambda source: source.release(bundle, before=before),
        lambda store: store.release_answer(bundle, before=before),
        options,
    )


def _params(options: dict[str, Any], names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Takes the options that are a question's parameters out of those of the command."""
    values = ((name, options.pop(name)) for name in names)
    return [(name, str(value)) for name, value in values if value is not None]
