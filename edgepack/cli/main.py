"""The `edgepack` command: finds sub-commands, and turns every error into a sentence.

Sub-commands are imported when they run, so that `edgepack --help` starts at once. This is the
one boundary where errors become messages and exit codes.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Final, cast

import click

from edgepack import __version__
from edgepack.formats.errors import EdgepackError, did_you_mean

#: Sub-command → where it is defined, and its line in `edgepack --help`.
COMMANDS: Final = {
    "build": ("edgepack.cli.build:build", "Make one verified bundle per target."),
    "tune": (
        "edgepack.cli.tune:tune",
        "Measure variants, runtimes, threads and options; choose.",
    ),
    "train": ("edgepack.cli.train:train", "Train a model project and show it beside baselines."),
    "convert": ("edgepack.cli.convert:convert", "Convert a model to its variants."),
    "explain": (
        "edgepack.cli.explain:explain",
        "Show which layer of a variant loses the ranking or the time.",
    ),
    "targets": ("edgepack.cli.targets:targets", "List, show and lock kinds of boxes."),
    "models": ("edgepack.cli.models:models", "List and show model projects."),
    "inspect": ("edgepack.cli.bundle:inspect", "Show what is in a bundle."),
    "verify": ("edgepack.cli.bundle:verify", "Check every byte of a bundle."),
    "image": ("edgepack.cli.image:image", "Make a container image from a bundle."),
    "select": (
        "edgepack.cli.select:select",
        "Rank a target's variants by the latency its boxes reported.",
    ),
    "report": ("edgepack.cli.report:report", "Show what boxes reported."),
    "hub": ("edgepack.cli.hub:hub", "Take the reports of a fleet, keep them and show them."),
    "doctor": ("edgepack.cli.doctor:doctor", "Say what this host lacks and how to install it."),
}

_BUG_REPORT = "this is a bug in edgepack; please report it with the traceback above and the command"
_INTERRUPTED = 130


class _LazyGroup(click.Group):
    """A group whose commands are imported only when one of them is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order of the road, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return cast("click.Command", getattr(importlib.import_module(module), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an unknown one gets a suggestion."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"no command '{args[0]}'{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgepack")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Turn a recommender into one verified file per kind of edge box.

    \b
    Example:
      edgepack build --target arm64
    """
    # `main` looks at --debug itself: an error may come before any command runs.
    del debug


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with the status of its class.

    Args:
        argv: The arguments; those of the process by default.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_run(arguments))


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    try:
        status = cli.main(arguments, prog_name="edgepack", standalone_mode=False)
    except EdgepackError as error:
        if debug:
            traceback.print_exc()
        _say("error", error.message)
        if error.hint:
            _say("hint", error.hint)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted", "nothing half-written was left behind")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does; there is nobody to tell.
        sys.stderr.close()
        return 0
    except Exception:  # noqa: BLE001  the boundary: anything else is a bug and says so
        traceback.print_exc()
        _say("error", _BUG_REPORT)
        return 1
    return status if isinstance(status, int) else 0


def _say(label: str, text: str) -> None:
    colour = {"error": "red", "hint": "cyan"}.get(label, "yellow")
    click.echo(f"{click.style(label + ':', fg=colour, bold=True)} {text}", err=True)


if __name__ == "__main__":
    main()
