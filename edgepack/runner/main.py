"""The runner's commands: `serve`, `bench`, `report`, `check`, `status`, `doctor`, `reset-id`.

The one boundary where errors become text and exit statuses, and the only place of the runner
that prints, beside `predict`. Runtimes and numpy are imported by the command that needs them.
Started by the launcher of an installed bundle, or by the `edgepack-runner` script.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack import __version__
from edgepack.formats.errors import ConfigError, EdgepackError, HubError
from edgepack.runner.clock import SystemClock
from edgepack.runner.state import BoxPaths, find_paths

if TYPE_CHECKING:
    from edgepack.runner.checking import CheckOutcome
    from edgepack.runner.reports.spool import Spool
    from edgepack.runner.settings import HubSection, Settings

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
    _add_serve(commands)
    _add_bench(commands)
    _add_report(commands)
    _add_check(commands)
    _add_status(commands)
    _add_doctor(commands)
    _add_reset_id(commands)
    return parser


_Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse gives this type no public name


def _add(
    commands: _Commands[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    purpose: str,
    example: str,
) -> argparse.ArgumentParser:
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


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--candidate",
        metavar="VARIANT",
        help="which variant of the bundle; default: the one chosen on this box, else its first",
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        metavar="N",
        help="threads inside one call; default: as chosen on this box, else 1",
    )


def _add_serve(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands, "serve", _serve, "Verify the release and serve it over HTTP.", "serve --port 8080"
    )
    _add_engine_options(parser)
    parser.add_argument("--host", help="address to bind; default: loopback")
    parser.add_argument(
        "--port", type=_port, help="port to bind; 0 takes a free one; default: 8080"
    )
    parser.add_argument(
        "--trial",
        type=Path,
        metavar="DIR",
        help="a release folder to serve as canary; default: ROOT/trial, if any",
    )


def _add_bench(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "bench",
        _bench,
        "Measure this box and write a benchmark report.",
        "bench --duration standard --out report.json",
    )
    _add_engine_options(parser)
    parser.add_argument(
        "--duration",
        choices=("quick", "standard", "mlperf"),
        default="quick",
        help="a few seconds, a minute or MLPerf's ten minutes for each scenario",
    )
    parser.add_argument(
        "--scenario",
        action="append",
        choices=("single_stream", "offline", "server"),
        help="repeatable; default: all three",
    )
    parser.add_argument(
        "--choose", action="store_true", help="measure the candidates anew and choose among them"
    )
    parser.add_argument(
        "--while-serving", action="store_true", help="measure although the daemon is busy"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report here as well")
    parser.add_argument("--json", action="store_true", help="print the report itself")


def _add_report(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "report",
        _report,
        "Show or send the reports that wait.",
        "report --send https://hub.example/api/reports",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--show", action="store_true", help="print what would leave the box")
    what.add_argument(
        "--send",
        metavar="URL",
        nargs="?",
        const="",
        help="POST every waiting report to URL; default: hub.url of the settings",
    )
    what.add_argument("--spool", action="store_true", help="list the reports that wait")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a bearer token to send along; default, without URL: hub.token_file of the settings",
    )


def _add_check(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "check",
        _check,
        "Load the release here and replay its golden answers.",
        "check --release DIR --json",
    )
    _add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_status(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(commands, "status", _status, "Say what is installed here.", "status --json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_doctor(commands: _Commands[argparse.ArgumentParser]) -> None:
    parser = _add(
        commands,
        "doctor",
        _doctor,
        "Say what is wrong on this box and what to do about it.",
        "doctor --network https://hub.example/api/reports",
    )
    _add_engine_options(parser)
    parser.add_argument("--port", type=_port, help="the port that is served on")
    parser.add_argument(
        "--network",
        nargs="?",
        const="",
        metavar="URL",
        help="also try to reach the hub, there or where the settings say",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_reset_id(commands: _Commands[argparse.ArgumentParser]) -> None:
    _add(
        commands,
        "reset-id",
        _reset_id,
        "Give this box a new random id, as when it moves to another shop.",
        "reset-id",
    )


def _serve(options: argparse.Namespace) -> int:
    from dataclasses import replace

    from edgepack.runner.daemon.around import Around
    from edgepack.runner.daemon.serve import serve
    from edgepack.runner.log import open_log
    from edgepack.runner.notify import open_supervisor
    from edgepack.runner.settings import override

    paths, clock = _paths(options), SystemClock()
    settings = _settings(options, paths)
    section = override(
        settings.serve,
        host=options.host,
        port=options.port,
        variant=options.candidate,
        threads=options.threads,
        trial=options.trial,
    )
    return serve(
        Around(
            paths=paths,
            settings=replace(settings, serve=section),
            clock=clock,
            log=open_log(sys.stdout, clock),
            supervisor=open_supervisor(os.environ),
            environment=os.environ,
            arguments=options.arguments,
        )
    )


def _bench(options: argparse.Namespace) -> int:
    from edgepack.runner.bench.command import run_bench, settings_of

    outcome = run_bench(_paths(options), settings_of(options), SystemClock(), _STARTED_NS)
    if options.json:
        sys.stdout.buffer.write(outcome.data + b"\n")
    else:
        for line in outcome.lines:
            print(line)
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def _report(options: argparse.Namespace) -> int:
    from edgepack.runner.reports.spool import Spool

    paths = _paths(options)
    settings = _settings(options, paths)
    limits = settings.spool
    spool = Spool(
        _state_of(paths) / "spool", max_bytes=limits.max_bytes, max_count=limits.max_count
    )
    if options.send is not None:
        return _send(spool, settings.hub.typed(options.send, options.token_file))
    waiting = spool.waiting()
    for each in waiting:
        data = spool.read(each) if options.show else None
        if data is not None:
            print(json.dumps(json.loads(data), indent=2, ensure_ascii=False))
        elif options.spool:
            print(f"{each.report_id}  {each.size_bytes} bytes")
    if not waiting:
        print("no report waits; edgepack-runner bench makes one", file=sys.stderr)
    return 0


def _send(spool: Spool, hub: HubSection) -> int:
    from edgepack.runner.reports.sender import connect_to_hub
    from edgepack.runner.reports.sending import send_waiting

    outcome = send_waiting(spool, connect_to_hub(hub), hub.batch_limit)
    print(
        f"{outcome.accepted} accepted, {outcome.refused} refused, {outcome.waiting} still waiting"
    )
    if outcome.trouble is not None:
        hint = "the reports that wait are sent by the next try"
        if outcome.retry_after_s is not None:
            hint = f"the hub asks not to be tried again for {outcome.retry_after_s:.0f} s"
        raise HubError(f"{hub.url}: {outcome.trouble}", hint=hint)
    return 0


def _check_release(options: argparse.Namespace) -> CheckOutcome:
    from edgepack.runner.bench.device import this_platform
    from edgepack.runner.bench.system import SystemTree
    from edgepack.runner.checking import check_release

    return check_release(
        _paths(options).release,
        options.candidate,
        threads=options.threads or 1,
        clock=SystemClock(),
        system=SystemTree(),
        here=this_platform(),
        environment=os.environ,
    )


def _check(options: argparse.Namespace) -> int:
    outcome = _check_release(options)
    if options.json:
        print(json.dumps(outcome.to_json()), flush=True)
        return outcome.exit_code
    for problem in outcome.problems:
        print(f"error: {problem}", file=sys.stderr)
    if not outcome.problems:
        print(f"{outcome.variant}: {outcome.sequences} golden answers agree")
    return outcome.exit_code


def _status(options: argparse.Namespace) -> int:
    from edgepack.runner.status import read_status

    facts = read_status(_paths(options)).facts
    if options.json:
        print(json.dumps(facts))
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {'-' if value is None else value}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from edgepack.runner.bench.environment import kernel_clock_synced
    from edgepack.runner.boot.machine import read_machine
    from edgepack.runner.doctor import Examination, examine_box, worst_exit_code
    from edgepack.runner.reaching import ask_port, reach
    from edgepack.runner.serving_mark import read_serving
    from edgepack.runner.settings import Settings

    paths, settings, fault = _paths(options), Settings(), None
    try:
        settings = _settings(options, paths)
    except ConfigError as error:
        fault = error
    hub = options.network
    findings = examine_box(
        Examination(
            paths=paths,
            clock=SystemClock(),
            machine=read_machine(),
            check=lambda: _check_release(options),
            clock_synced=kernel_clock_synced,
            serving=lambda: read_serving(paths.state),
            ask_port=ask_port,
            reach=reach,
            port=settings.serve.port if options.port is None else options.port,
            settings_fault=fault,
            hub=(settings.hub.url or "") if hub == "" else hub,
        )
    )
    code = worst_exit_code(findings)
    if options.json:
        print(json.dumps({"ok": code == 0, "checks": [each.to_json() for each in findings]}))
        return code
    for each in findings:
        print(f"{each.status:<5} {each.name:<8} {each.found}")
        if each.hint is not None and each.status != "ok":
            print(f"      hint: {each.hint}")
    return code


def _reset_id(options: argparse.Namespace) -> int:
    from edgepack.runner.state import reset_device_id

    print(reset_device_id(_state_of(_paths(options))))
    return 0


def _paths(options: argparse.Namespace) -> BoxPaths:
    return find_paths(os.environ, release=options.release, state=options.state)


def _settings(options: argparse.Namespace, paths: BoxPaths) -> Settings:
    from edgepack.runner.settings import load_settings

    settings = load_settings(options.config, paths.state)
    for warning in settings.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return settings


def _state_of(paths: BoxPaths) -> Path:
    if paths.state is None:
        raise ConfigError("no state folder is known", hint="name it with --state DIR")
    return paths.state


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:  # noqa: PLR2004 - the last TCP port
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 65535")
    return value


if __name__ == "__main__":
    sys.exit(main())
