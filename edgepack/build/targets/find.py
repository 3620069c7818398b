"""Finds targets by name: the user's own folder first, then those that come with edgepack.

It is not aware of what a target is for. Used by the pipeline and the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgepack.build.shipped import search_path
from edgepack.build.targets.parse import parse_target
from edgepack.build.targets.target import Target
from edgepack.formats.errors import ConfigError, did_you_mean


def list_targets(search: Sequence[Path] | None = None) -> dict[str, Path]:
    """Lists the targets there are.

    Args:
        search: Folders, the first one wins; by default `./targets`, then the shipped ones.

    Returns:
        The file of each target by name, in alphabetical order.
    """
    found: dict[str, Path] = {}
    for folder in _folders(search):
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def load_target(name: str, search: Sequence[Path] | None = None) -> Target:
    """Loads a target by its name, or from a path that ends in `.toml`.

    Args:
        name: Such as `arm64` or `boxes/kiosk.toml`.
        search: As in `list_targets`.

    Returns:
        The target.

    Raises:
        ConfigError: There is no such target, or its file is wrong.
    """
    if name.endswith(".toml"):
        path = Path(name)
    else:
        known = list_targets(search)
        if name not in known:
            raise ConfigError(
                f"no target is called '{name}'{did_you_mean(name, known)}",
                hint=f"targets: {', '.join(known) or 'none was found'}",
            )
        path = known[name]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    return parse_target(data, path)


def _folders(search: Sequence[Path] | None) -> Sequence[Path]:
    return search_path("targets", Path.cwd()) if search is None else search
