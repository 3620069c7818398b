"""`edgepack doctor`: what this host lacks, and the commands that install it."""

from __future__ import annotations

import click

from edgepack.cli.console import make_console, make_table, print_json
from edgepack.cli.options import json_option, target_folders
from edgepack.formats.errors import MissingToolError


@click.command()
@click.option("--target", "names", multiple=True, metavar="T", help="Only what this one needs.")
@json_option
def doctor(names: tuple[str, ...], as_json: bool) -> None:
    """Say what this host lacks and how to install it.

    Looks for what training, converting, packing and the run on each target need. Exits with 4
    when something is missing.

    \b
    Example:
      edgepack doctor --target arm64
    """
    from edgepack.build.emulate import check_host
    from edgepack.build.targets import list_targets, load_target

    folders = target_folders()
    checks = check_host([load_target(name, folders) for name in names or list_targets(folders)])
    if as_json:
        print_json(
            {
                "ok": all(check.ok for check in checks),
                "checks": [
                    {"name": c.name, "ok": c.ok, "found": c.found, "fix": c.fix} for c in checks
                ],
            }
        )
    else:
        table = make_table("This host", "", "what", "found", "to install it")
        for check in checks:
            mark = "[green]✓[/]" if check.ok else "[red]✗[/]"
            table.add_row(mark, check.name, check.found, "" if check.ok else check.fix or "")
        make_console().print(table)
    missing = [check.name for check in checks if not check.ok]
    if missing:
        raise MissingToolError(
            f"this host lacks {', '.join(missing)}",
            hint="the commands that install them are in the table",
        )
