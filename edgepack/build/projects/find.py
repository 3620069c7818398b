"""Finds model projects by name or folder.

Not aware of what a project says. May be imported by `edgepack.build` and `edgepack.cli`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgepack.build.projects.parse import parse_project
from edgepack.build.projects.project import Project
from edgepack.formats.errors import ConfigError, did_you_mean

FILE_NAME = "model.toml"
# 50x the longest project seen; nobody writes more settings than this by hand.
_MAX_BYTES = 1 << 20


def find_projects(search: Sequence[Path]) -> dict[str, Path]:
    """Every project that can be named, by its folder's name.

    Args:
        search: Folders of projects; the first one that has a name wins.

    Returns:
        Folder of each project, names in alphabetical order.
    """
    found: dict[str, Path] = {}
    for folder in search:
        if folder.is_dir():
            for file in folder.glob(f"*/{FILE_NAME}"):
                found.setdefault(file.parent.name, file.parent)
    return dict(sorted(found.items()))


def load_project(name_or_dir: str, search: Sequence[Path], recipe: str | None = None) -> Project:
    """Loads a project by name, by folder or by the path of its model.toml.

    Args:
        name_or_dir: A name is looked up; anything with a slash, and any folder that holds a
            model.toml, is a path.
        search: Folders of projects, the user's own first.
        recipe: Which of its recipes to follow; None for none.

    Raises:
        ConfigError: There is no such project or recipe (with a suggestion and the list), or its
            file has problems (all of them).
    """
    file = _find_file(name_or_dir, search)
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8 text (byte {error.start})") from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{file}: larger than {_MAX_BYTES} bytes, so no model project")
    return parse_project(text, file, recipe)


def _find_file(name_or_dir: str, search: Sequence[Path]) -> Path:
    projects = find_projects(search)
    if name_or_dir in projects:
        return projects[name_or_dir] / FILE_NAME
    path = Path(name_or_dir)
    if path.name == FILE_NAME and path.is_file():
        return path
    if (path / FILE_NAME).is_file():
        return path / FILE_NAME
    known = ", ".join(projects) or "none"
    if path.is_dir():
        raise ConfigError(
            f"'{name_or_dir}' is a folder without a {FILE_NAME}",
            hint=f"model projects there are: {known}",
        )
    raise ConfigError(
        f"there is no model project '{name_or_dir}'{did_you_mean(name_or_dir, projects)}",
        hint=f"model projects there are: {known}; `edgepack models` describes them",
    )
