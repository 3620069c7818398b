"""`edgepack select`: which variant for a target, by what its boxes reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from edgepack.cli.console import print_json
from edgepack.cli.field import opened, show_sheet, source_options
from edgepack.cli.options import json_option, target_folders
from edgepack.formats.evidence import Evidence
from edgepack.formats.variants import runtime_format


@click.command()
@click.option("--target", required=True, metavar="T", help="Kind of box.")
@source_options
@click.option("--model", metavar="NAME", help="The model, where the target has several.")
@click.option(
    "--box", metavar="BOX", help="Only this kind of box, by its key or a part of its words."
)
@click.option("--scenario", metavar="S", help="Whose latency counts.  [default: single_stream]")
@click.option("--max-p99-ms", metavar="MS", help="The p99 that nine boxes in ten must keep.")
@click.option("--max-size-mb", metavar="MB", help="The largest model file.")
@click.option("--min-quality", metavar="Q", help="The lowest quality, as a share of fp32's.")
@json_option
def select(
    target: str, where: str | None, token_file: Path | None, as_json: bool, **options: str | None
) -> None:
    """Rank a target's variants by the latency its boxes reported.

    Only reports that can be trusted count, and each box counts once. Where they are too few, or
    cannot tell two variants apart, it says so and which runs would settle it.

    \b
    Example:
      edgepack select --target arm64 --from https://hub.example --max-p99-ms 20
    """
    from edgepack.formats.typed import to_plain
    from edgepack.hub.answers.params import select_query
    from edgepack.hub.answers.selecting import tables_of
    from edgepack.hub.answers.sheet import sheet_of

    asked = [("target", target), *((name, text) for name, text in options.items() if text)]
    query = select_query([(name, str(text)) for name, text in asked])
    with opened(where, token_file) as source:
        evidence = source.select(query)
    if as_json:
        print_json(to_plain(evidence))
        return
    sheet = sheet_of(tables_of(query, evidence))
    if unknown := never_reported(evidence):
        line = f"allowed for {target}, and in no report: {', '.join(unknown)}"
        sheet = replace(sheet, lines=(*sheet.lines, line))
    show_sheet(sheet)


def never_reported(evidence: Evidence) -> list[str]:
    """Returns what the target's own file allows and no box has reported.

    Args:
        evidence: What the field says of the target.

    Returns:
        Such as `onnx-fp16 on onnxruntime`; nothing where there is no such target here.
    """
    try:
        from edgepack.build.targets import list_targets, load_target
    except ModuleNotFoundError:
        # A host that only asks need not have what builds.
        return []
    folders = target_folders()
    if not evidence.kinds or evidence.target not in list_targets(folders):
        return []
    target = load_target(evidence.target, folders)
    known = {(each.runtime, each.variant) for kind in evidence.kinds for each in kind.candidates}
    return [
        f"{spec.name} on {runtime.name}"
        for runtime in target.runtimes
        for spec in target.variants
        if spec.format is runtime_format(runtime.name)
        and (str(runtime.name), spec.name) not in known
    ]
