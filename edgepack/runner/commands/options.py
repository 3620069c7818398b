"""What the runner's commands share: how they are added, where the box's folders are.

Used by the modules beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.formats.errors import ConfigError
from edgepack.runner.state import BoxPaths, find_paths

if TYPE_CHECKING:
    from edgepack.runner.settings import Settings

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives this type no public name


def add_command(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
    example: str,
) -> argparse.ArgumentParser:
    """Adds a command with the options that every command has.

    Args:
        commands: Where it is added.
        name: What is typed.
        run: What it does; returns the exit status.
        purpose: One sentence.
        example: How it is typed, without the program's name.

    Returns:
        Its parser, for more options.
    """
    parser = commands.add_parser(
        name, help=purpose, description=purpose, epilog=f"example: edgepack-runner {example}"
    )
    parser.set_defaults(command=run)
    parser.add_argument(
        "--release", type=Path, metavar="DIR", help="a release folder; default: ROOT/current"
    )
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="the state folder; default: ROOT/state"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="settings; default: runner.toml there, if any"
    )
    return parser


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a model is opened."""
    parser.add_argument(
        "--candidate",
        metavar="VARIANT",
        help="which variant of the bundle; default: the one chosen on this box, else its first",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads inside one call; default: as chosen on this box, else 1",
    )


def add_batch_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how requests share calls."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="the most rows of one call; 1: one at a time; default: as the model was built for",
    )
    parser.add_argument(
        "--batch-delay-us",
        type=_delay_us,
        metavar="US",
        help="how long a request may wait for others to share its call; default: 0",
    )


def paths_of(options: argparse.Namespace) -> BoxPaths:
    """Returns the box's folders, as typed or as the launcher says."""
    return find_paths(os.environ, release=options.release, state=options.state)


def settings_of(options: argparse.Namespace, paths: BoxPaths) -> Settings:
    """Reads the settings and prints what is worth a warning."""
    from edgepack.runner.settings import load_settings

    settings = load_settings(options.config, paths.state)
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return settings


def state_of(paths: BoxPaths) -> Path:
    """Returns the state folder.

    Raises:
        ConfigError: None is known.
    """
    if paths.state is None:
        raise ConfigError("no state folder is known", hint="name it with --state DIR")
    return paths.state


def positive(text: str) -> int:
    """Reads a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _delay_us(text: str) -> int:
    """Reads a delay of at most a second, in microseconds."""
    value = int(text)
    if not 0 <= value <= 1_000_000:  # noqa: PLR2004 - as `[serve] batch_delay_us`
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1000000")
    return value


def port(text: str) -> int:
    """Reads a TCP port."""
    value = int(text)
    if not 0 <= value <= 65535:  # noqa: PLR2004 - the last TCP port
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 65535")
    return value
