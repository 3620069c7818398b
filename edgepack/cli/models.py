"""`edgepack models`: list and show model projects."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from edgepack.cli.console import make_console, make_table, print_json
from edgepack.cli.options import json_option, model_folders

if TYPE_CHECKING:
    from edgepack.build.projects import Project


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
        print_json({"models": [_to_json(project) for project in found]})
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
        print_json(_to_json(project))
    else:
        click.echo((project.directory / "model.toml").read_text(encoding="utf-8"))


def _to_json(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "version": project.version,
        "path": str(project.directory / "model.toml"),
        "architecture": str(project.architecture),
        "hyper_parameters": dict(project.hyper_parameters),
        "sequence_length": project.sequence_length,
        "top_k": project.top_k,
        "gate": dataclasses.asdict(project.gate),
    }
