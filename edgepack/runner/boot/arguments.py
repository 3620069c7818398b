"""The arguments of a bundle's commands, each with help and an example.

It is not aware of what the commands do. Used by `main`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgepack.runner.boot.install import DEFAULT_KEEP
from edgepack.runner.boot.stage import DEFAULT_STATE


def build_parser(bundle: str) -> argparse.ArgumentParser:
    """Builds the parser.

    Args:
        bundle: The bundle's file name, for the examples.
    """
    start = f"python3 {bundle}"
    parser = argparse.ArgumentParser(
        prog=start,
        description="A model, its runtime and its runner: one file that installs itself.",
        epilog=f"example: {start} install --root /opt/edgepack",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, example: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example: {start} {name} {example}".rstrip(),
            allow_abbrev=False,
        )
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    verify = add("verify", "check every byte of this file", "--json")
    install = add("install", "install this file, or update an installation", "--root /opt/edgepack")
    stage = add("stage", "lay this file out for a container image", "/staged")
    run = add("run", "serve straight from this file", "--port 8080")
    bench = add("bench", "benchmark straight from this file", "--out report.json")
    doctor = add("doctor", "say whether this box can run this file", "--json")
    uninstall = add("uninstall", "remove an installation", "--root /opt/edgepack --keep-state")
    prune = add("prune", "remove an installation's old releases", "--root /opt/edgepack --keep 0")

    _add_install_options(install)
    for command in (run, bench):
        command.add_argument(
            "--cache", type=Path, metavar="DIR", help="unpack there ($XDG_CACHE_HOME/edgepack)"
        )
    for command in (install, run, bench):
        _add_fit_options(command)
    _add_stage_options(stage)
    doctor.add_argument("--root", type=Path, metavar="DIR", help="where it would be installed")
    for command in (uninstall, prune):
        _add_root(command)
    uninstall.add_argument(
        "--keep-state", action="store_true", help="keep the device id and unsent reports"
    )
    _add_keep(prune)
    for command in (verify, install, stage, doctor, uninstall, prune):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    _set_usage(run, start, "serve")
    _set_usage(bench, start, "bench")
    return parser


def _set_usage(command: argparse.ArgumentParser, start: str, verb: str) -> None:
    # Everything else is handed on to the runner, which has its own help.
    command.usage = (
        f"{start} {command.prog.split()[-1]} [--cache DIR] [--wheels DIR|URL | --fetch] "
        f"[--force] [arguments of `edgepack-runner {verb}`]"
    )


def _add_install_options(install: argparse.ArgumentParser) -> None:
    _add_root(install)
    install.add_argument(
        "--state", type=Path, metavar="DIR", help="state directory, when the root is read-only"
    )
    _add_keep(install)


def _add_stage_options(stage: argparse.ArgumentParser) -> None:
    stage.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")
    stage.add_argument(
        "--state",
        type=Path,
        default=DEFAULT_STATE,
        metavar="DIR",
        help=f"the containers' state directory ({DEFAULT_STATE})",
    )
    stage.add_argument(
        "--python",
        default="/usr/bin/python3",
        metavar="PATH",
        help="the image's Python, for the launcher's first line (/usr/bin/python3)",
    )
    _add_wheel_options(stage)


def _add_fit_options(command: argparse.ArgumentParser) -> None:
    _add_wheel_options(command)
    command.add_argument(
        "--force",
        action="store_true",
        help="even on a box that does not fit, or over another model",
    )


def _add_wheel_options(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--wheels", metavar="DIR|URL", help="take the wheels this file leaves out from there"
    )
    source.add_argument(
        "--fetch", action="store_true", help="let pip download the wheels this file leaves out"
    )


def _add_root(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="the installation's directory"
    )


def _add_keep(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--keep",
        type=_count,
        default=DEFAULT_KEEP,
        metavar="N",
        help=f"previous releases to keep beside the current one ({DEFAULT_KEEP})",
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number
