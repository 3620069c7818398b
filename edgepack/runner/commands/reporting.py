"""`edgepack-runner report`, `enrol` and `reset-id`: what leaves the box, and under which name."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgepack.formats.errors import ConfigError, HubError
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


def add_enrol(commands: Commands[argparse.ArgumentParser]) -> None:
    """Adds `enrol`."""
    parser = add_command(
        commands,
        "enrol",
        _enrol,
        "Make this box known to a hub; its reports go there from then on.",
        "enrol https://hub.example --token-file enrol.token --label 'till 7'",
    )
    parser.add_argument("hub", metavar="URL", help="the hub's address")
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token", help="an enrolment token; other users of this box can see it while this runs"
    )
    token.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token")
    parser.add_argument("--label", default="", metavar="TEXT", help="a word for people")
    parser.add_argument(
        "--ca-file",
        type=Path,
        metavar="FILE",
        help="certificates to trust, instead of the system's",
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
    from edgepack.runner.reports.enrolling import enrolled_hub
    from edgepack.runner.reports.spool import Spool

    paths = paths_of(options)
    settings = settings_of(options, paths)
    limits = settings.spool
    spool = Spool(state_of(paths) / "spool", max_bytes=limits.max_bytes, max_count=limits.max_count)
    if options.send is not None:
        hub = enrolled_hub(settings.hub, paths.state)
        return send_reports(spool, hub.typed(options.send, options.token_file))
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


def send_reports(spool: Spool, hub: HubSection) -> int:
    """Sends the reports that wait, and says what became of them.

    Args:
        spool: Where they wait.
        hub: Where they go.

    Returns:
        The exit status.

    Raises:
        HubError: At least one could not be delivered.
    """
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


def _enrol(options: argparse.Namespace) -> int:
    from edgepack.runner.reports.enrolling import enrol
    from edgepack.runner.reports.tokens import read_token
    from edgepack.runner.reports.transport import HttpTransport
    from edgepack.runner.state import ensure_device_id

    token = options.token or read_token(options.token_file)
    if token is None:
        raise ConfigError(
            "an enrolment token is needed",
            hint="--token-file FILE; edgepack hub token add --role enrol makes one",
        )
    state = state_of(paths_of(options))
    device_id = ensure_device_id(state)
    if device_id is None:
        raise ConfigError(f"{state}: the box's id cannot be kept", hint="check who may write there")

    def ask(url: str, token: str, document: bytes) -> tuple[int, bytes]:
        return HttpTransport(url, token=token, ca_file=options.ca_file).ask(document)

    url = enrol(
        options.hub,
        token,
        device_id,
        state,
        ask,
        label=options.label,
        ca_file=options.ca_file,
    )
    print(f"enrolled as {device_id}; reports go to {url}")
    return 0


def _reset_id(options: argparse.Namespace) -> int:
    from edgepack.runner.state import reset_device_id

    print(reset_device_id(state_of(paths_of(options))))
    return 0
