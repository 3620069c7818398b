"""`edgepack-runner bench` and `check`: how fast this box is, and whether it is right."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.runner.clock import SystemClock
from edgepack.runner.commands.options import (
    Commands,
    add_batch_options,
    add_command,
    add_engine_options,
    paths_of,
    settings_of,
)

if TYPE_CHECKING:
    from edgepack.runner.checking import CheckOutcome


def add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `bench`."""
    parser = add_command(
        commands,
        "bench",
        _bench,
        "Measure this box and write a benchmark report.",
        "bench --duration standard --out report.json",
    )
    add_engine_options(parser)
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
    add_batch_options(parser)
    parser.add_argument(
        "--choose", action="store_true", help="measure the candidates anew and choose among them"
    )
    parser.add_argument(
        "--while-serving", action="store_true", help="measure although the daemon is busy"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report here as well")
    parser.add_argument("--json", action="store_true", help="print the report itself")
    parser.add_argument(
        "--send", action="store_true", help="send what waits to the hub where the box is enrolled"
    )


def add_check(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `check`."""
    parser = add_command(
        commands,
        "check",
        _check,
        "Load the release here and replay its golden answers.",
        "check --release DIR --json",
    )
    add_engine_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _bench(options: argparse.Namespace) -> int:
    from edgepack.runner.bench.command import run_bench
    from edgepack.runner.bench.command import settings_of as bench_settings_of

    paths = paths_of(options)
    asked = bench_settings_of(options, settings_of(options, paths))
    outcome = run_bench(paths, asked, SystemClock(), options.started_ns)
    if options.json:
        sys.stdout.buffer.write(outcome.data + b"\n")
    else:
        for line in outcome.lines:
            print(line)
    for warning in outcome.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return _send(options) if options.send else 0


def _send(options: argparse.Namespace) -> int:
    from edgepack.runner.commands.options import state_of
    from edgepack.runner.commands.reporting import send_reports
    from edgepack.runner.reports.enrolling import enrolled_hub
    from edgepack.runner.reports.spool import Spool

    paths = paths_of(options)
    settings = settings_of(options, paths)
    limits = settings.spool
    spool = Spool(state_of(paths) / "spool", max_bytes=limits.max_bytes, max_count=limits.max_count)
    return send_reports(spool, enrolled_hub(settings.hub, paths.state))


def check_here(options: argparse.Namespace) -> CheckOutcome:
    """Checks the release on this box, with the options that were typed."""
    from edgepack.runner.bench.device import this_platform
    from edgepack.runner.bench.system import SystemTree
    from edgepack.runner.checking import check_release

    return check_release(
        paths_of(options).release,
        options.candidate,
        threads=options.threads or 1,
        clock=SystemClock(),
        system=SystemTree(),
        here=this_platform(),
        environment=os.environ,
    )


def _check(options: argparse.Namespace) -> int:
    outcome = check_here(options)
    if options.json:
        print(json.dumps(outcome.to_json()), flush=True)
        return outcome.exit_code
    for problem in outcome.problems:
        print(f"error: {problem}", file=sys.stderr)
    if not outcome.problems:
        print(f"{outcome.variant}: {outcome.sequences} golden answers agree")
        if outcome.fallback is not None:
            print(f"warning: {outcome.fallback}", file=sys.stderr)
    return outcome.exit_code
