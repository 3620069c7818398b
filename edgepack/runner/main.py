"""The runner's commands, from `serve` to `reset-id`.

The one boundary where errors become text and exit statuses. Beside `commands` and `predict` it
is the only place of the runner that prints. Started by the launcher of an installed bundle, or by
the `edgepack-runner` script.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from edgepack import __version__
from edgepack.formats.errors import EdgepackError
from edgepack.runner.clock import SystemClock
from edgepack.runner.commands.looking import add_doctor, add_status
from edgepack.runner.commands.measuring import add_bench, add_check
from edgepack.runner.commands.reporting import add_enrol, add_report, add_reset_id
from edgepack.runner.commands.serving import add_serve

_INTERRUPTED = 130
#: The program's first line, as far as a program can tell: cold start is counted up to here.
_STARTED_NS = SystemClock().monotonic_ns()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit status: 0, the error class's, or 130 on Ctrl-C.
    """
    options = _parser().parse_args(argv)
    options.started_ns = _STARTED_NS
    options.arguments = sys.argv[1:] if argv is None else list(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except EdgepackError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone, as in `… | head`; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgepack-runner",
        description="Serve the installed model, measure this box, report.",
        epilog="example: edgepack-runner serve --port 8080",
    )
    parser.add_argument("--version", action="version", version=f"edgepack-runner {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_serve(commands)
    add_bench(commands)
    add_report(commands)
    add_enrol(commands)
    add_check(commands)
    add_status(commands)
    add_doctor(commands)
    add_reset_id(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
