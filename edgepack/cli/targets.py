"""`edgepack targets`: list, show and lock kinds of boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.cli.console import make_console, make_table, print_json
from edgepack.cli.options import cache_option, json_option, open_cache, target_folders
from edgepack.formats.errors import ConfigError

if TYPE_CHECKING:
    from edgepack.build.targets import Target


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

    folders = target_folders()
    found = [load_target(name, folders) for name in list_targets(folders)]
    if as_json:
        print_json({"targets": [_to_json(target) for target in found]})
        return
    table = make_table("Targets", "name", "box", "CPU", "runtimes", "limit", right=("limit",))
    for target in found:
        table.add_row(
            target.name,
            target.description,
            f"{target.arch} {target.qemu_model}",
            ", ".join(each.label for each in target.runtimes),
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
    lock = load_lock(target)
    wheels = {
        str(runtime): [f"{wheel.name} {wheel.version}" for wheel in locked.wheels]
        for runtime, locked in (lock.runtimes.items() if lock else ())
    }
    if as_json:
        print_json({**_to_json(target), "lock": wheels})
        return
    click.echo(target.path.read_text(encoding="utf-8"))
    for label, names in wheels.items():
        click.echo(f"# locked for {label}: {', '.join(names)}")


@targets.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--check", is_flag=True, help="Write nothing; fail where a lock is out of date.")
@cache_option
def lock(names: tuple[str, ...], check: bool, cache_dir: Path | None) -> None:
    """Pin a target's wheels by version and hash, without index addresses.

    `all` stands for every target.

    \b
    Example:
      edgepack targets lock arm64
    """
    from edgepack.build.targets import check_lock, list_targets, load_lock, load_target
    from edgepack.build.targets.lock import make_lock, write_lock

    folders = target_folders()
    cache = open_cache(cache_dir)
    for name in list_targets(folders) if names == ("all",) else names:
        target = load_target(name, folders)
        if not check:
            write_lock(target, make_lock(target, cache))
            click.echo(f"{name}: wrote {target.lock_path.name}")
        elif problems := check_lock(target, load_lock(target)):
            raise ConfigError.from_problems(
                str(target.lock_path), problems, hint=f"edgepack targets lock {name}"
            )
        else:
            click.echo(f"{name}: the lock fits")


def _to_json(target: Target) -> dict[str, Any]:
    return {"description": target.description, "path": str(target.path), **target.definition()}
