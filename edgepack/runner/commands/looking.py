"""`edgepack-runner status` and `doctor`: what is here, and what is wrong with it."""

from __future__ import annotations

import argparse
import json

from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.runner.clock import SystemClock
from edgepack.runner.commands.measuring import check_here
from edgepack.runner.commands.options import (
    Commands,
    add_command,
    add_engine_options,
    paths_of,
    port,
    settings_of,
)
from edgepack.runner.state import BoxPaths


def add_status(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `status`."""
    parser = add_command(
        commands, "status", _status, "Say what is installed here.", "status --json"
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="also ask the daemon whether it can serve; exit status 8 when it cannot",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_doctor(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `doctor`."""
    parser = add_command(
        commands,
        "doctor",
        _doctor,
        "Say what is wrong on this box and what to do about it.",
        "doctor --network https://hub.example/api/reports",
    )
    add_engine_options(parser)
    parser.add_argument("--port", type=port, help="the port that is served on")
    parser.add_argument(
        "--network",
        nargs="?",
        const="",
        metavar="URL",
        help="also try to reach the hub, there or where the settings say",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _status(options: argparse.Namespace) -> int:
    from edgepack.runner.status import read_status

    paths = paths_of(options)
    facts = read_status(paths).facts
    if options.live:
        _ask_daemon(options, paths)
    if options.json:
        print(json.dumps(facts))
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {'-' if value is None else value}")
    return 0


def _ask_daemon(options: argparse.Namespace, paths: BoxPaths) -> None:
    from edgepack.runner.reaching import ask_health
    from edgepack.runner.serving_mark import read_serving

    serve, serving = settings_of(options, paths).serve, read_serving(paths.state)
    # Without a mark, as in a state that cannot be written, the settings have the last word.
    port, tls = serve.port, serve.tls_key is not None
    if serving is not None and serving.port is not None:
        port, tls = serving.port, serving.tls
    problem = ask_health(port, tls=tls)
    if problem is not None:
        raise DeviceError(problem, hint="edgepack-runner doctor says what is wrong here")


def _doctor(options: argparse.Namespace) -> int:
    from edgepack.runner.bench.environment import kernel_clock_synced
    from edgepack.runner.boot.machine import read_machine
    from edgepack.runner.doctor import Examination, examine_box, worst_exit_code
    from edgepack.runner.reaching import ask_port, reach
    from edgepack.runner.reports.enrolling import enrolled_hub
    from edgepack.runner.serving_mark import read_serving
    from edgepack.runner.settings import Settings

    paths, settings, fault = paths_of(options), Settings(), None
    try:
        settings = settings_of(options, paths)
    except ConfigError as error:
        fault = error
    hub = options.network
    findings = examine_box(
        Examination(
            paths=paths,
            clock=SystemClock(),
            machine=read_machine(),
            check=lambda: check_here(options),
            clock_synced=kernel_clock_synced,
            serving=lambda: read_serving(paths.state),
            ask_port=ask_port,
            reach=reach,
            port=settings.serve.port if options.port is None else options.port,
            settings_fault=fault,
            hub=(enrolled_hub(settings.hub, paths.state).url or "") if hub == "" else hub,
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
