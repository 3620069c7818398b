"""`edgepack targets`: list, show and lock kinds of boxes."""

from __future__ import annotations

from pathlib import Path

import click

from edgepack.cli.console import make_console, make_table, print_json
from edgepack.cli.options import json_option, target_folders


@click.group()
def targets() -> None:
    """List, show and lock kinds of boxes.

    A target is one TOML file: yours in ./targets come before those that edgepack ships.
    """


@targets.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the targets.

    \b
    Example:
      edgepack targets list
    """
    from edgepack.build.targets import list_targets, load_target

    found = [load_target(name, target_folders()) for name in list_targets(target_folders())]
    if as_json:
        print_json({"targets": [target.to_json() for target in found]})
        return
    table = make_table("Targets", "name", "box", "CPU", "runtimes", "limit", right=("limit",))
    for target in found:
        runtimes = ", ".join(f"{each.name} {each.version}" for each in target.runtimes)
        table.add_row(
            target.name,
            target.description,
            f"{target.arch} {target.cpu.qemu_model}",
            runtimes,
            f"{target.bundle_limit_mb:g} MB",
        )
    make_console().print(table)


@targets.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one target with its locked wheels.

    \b
    Example:
      edgepack targets show arm64
    """
    from edgepack.build.targets import load_lock, load_target

    target = load_target(name, target_folders())
    wheels = {str(runtime): lines for runtime, lines in load_lock(target).items()}
    if as_json:
        print_json({**target.to_json(), "lock": wheels})
        return
    click.echo(target.path.read_text(encoding="utf-8"))
    for runtime, lines in wheels.items():
        click.echo(f"# locked for {runtime}: {', '.join(line.split()[0] for line in lines)}")


@targets.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--check", is_flag=True, help="Write nothing; fail where a lock is out of date.")
def lock(names: tuple[str, ...], check: bool) -> None:
    """Pin a target's wheels by version and hash, without index addresses.

    `all` stands for every target.

    \b
    Example:
      edgepack targets lock arm64
    """
    from edgepack.build.targets import check_lock, list_targets, load_target, write_lock

    folders = target_folders()
    for name in list_targets(folders) if names == ("all",) else names:
        target = load_target(name, folders)
        if check:
            check_lock(target)
            click.echo(f"{name}: the lock fits")
        else:
            path: Path = write_lock(target)
            click.echo(f"{name}: wrote {path.name}")
