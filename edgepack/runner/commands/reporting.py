"""`edgepack-runner report` and `reset-id`: what leaves the box, and under which name."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.formats.errors import HubError
from edgepack.runner.commands.options import (
    Commands,
    add_command,
    paths_of,
    settings_of,
    state_of,
)

if TYPE_CHECKING:
    from edgepack.runner.reports.spool import Spool
    from edgepack.runner.settings import HubSection


def add_report(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `report`."""
    parser = add_command(
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


def add_reset_id(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `reset-id`."""
    add_command(
        commands,
        "reset-id",
        _reset_id,
        "Give this box a new random id, as when it moves to another shop.",
        "reset-id",
    )


def _report(options: argparse.Namespace) -> int:
    from edgepack.runner.reports.spool import Spool

    paths = paths_of(options)
    settings = settings_of(options, paths)
    limits = settings.spool
    spool = Spool(state_of(paths) / "spool", max_bytes=limits.max_bytes, max_count=limits.max_count)
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


def _reset_id(options: argparse.Namespace) -> int:
    from edgepack.runner.state import reset_device_id

    print(reset_device_id(state_of(paths_of(options))))
    return 0
