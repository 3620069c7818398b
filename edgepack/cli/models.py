"""`edgepack models`: list and show model projects."""

from __future__ import annotations

import click

from edgepack.cli.console import make_console, make_table, print_json
from edgepack.cli.options import json_option, model_folders


@click.group()
def models() -> None:
    """List and show model projects.

    A model project is a folder with a model.toml: yours in ./models come before those that
    edgepack ships.
    """


@models.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the model projects.

    \b
    Example:
      edgepack models list
    """
    from edgepack.build.projects import find_projects, load_project

    folders = model_folders()
    found = [load_project(name, folders) for name in find_projects(folders)]
    if as_json:
        print_json({"models": [project.to_json() for project in found]})
        return
    table = make_table("Model projects", "name", "version", "architecture", "length", "top k")
    for project in found:
        table.add_row(
            project.name,
            project.version,
            str(project.architecture),
            str(project.sequence_length),
            str(project.top_k),
        )
    make_console().print(table)


@models.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one model project.

    \b
    Example:
      edgepack models show session
    """
    from edgepack.build.projects import load_project

    project = load_project(name, model_folders())
    if as_json:
        print_json(project.to_json())
    else:
        click.echo((project.directory / "model.toml").read_text(encoding="utf-8"))
