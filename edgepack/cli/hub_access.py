"""`edgepack hub token` and `edgepack hub device`: who may read, and who may send."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from edgepack.cli.console import make_console, make_table, print_json
from edgepack.cli.hub_store import migrated, now_ms, store_option
from edgepack.cli.options import json_option
from edgepack.formats.errors import ConfigError

_DAY_MS = 86_400_000


@click.group()
def token() -> None:
    """Make, list and revoke tokens of people, programs and enrolment."""


@token.command()
@store_option
@click.option(
    "--role",
    type=click.Choice(["reader", "admin", "enrol"]),
    default="reader",
    show_default=True,
    help="What its bearer may do.",
)
@click.option("--label", default="", metavar="TEXT", help="A word for people.")
@click.option("--days", type=click.FloatRange(0.01), metavar="D", help="It ends after so long.")
@click.option(
    "--uses",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Boxes an enrolment token is good for.  [default: 1]",
)
def add(store: str, role: str, label: str, days: float | None, uses: int | None) -> None:
    """Make a token and print it, this once."""
    from edgepack.hub.access.credentials import Credentials
    from edgepack.hub.access.roles import Role

    wanted = Role(role)
    if uses is not None and wanted is not Role.ENROL:
        raise ConfigError("--uses is of --role enrol only")
    engine = migrated(store)
    now = now_ms()
    try:
        made = Credentials(engine).make(
            wanted,
            now,
            label=label,
            expires_ms=None if days is None else now + int(days * _DAY_MS),
            uses=(uses or 1) if wanted is Role.ENROL else None,
        )
    finally:
        engine.dispose()
    click.echo(made)


@token.command(name="list")
@store_option
@json_option
def list_tokens(store: str, as_json: bool) -> None:
    """List tokens, without the tokens themselves."""
    from edgepack.hub.access.credentials import Credentials

    engine = migrated(store)
    try:
        found = Credentials(engine).list_tokens()
    finally:
        engine.dispose()
    if as_json:
        print_json([dict(each) for each in found])
        return
    table = make_table("Tokens", "number", "role", "label", "made", "ends", "uses left")
    for each in found:
        table.add_row(
            str(each["id"]),
            each["role"],
            each["label"],
            _moment(each["created_ms"]),
            f"revoked {_moment(each['revoked_ms'])}"
            if each["revoked_ms"]
            else _moment(each["expires_ms"]),
            "" if each["uses_left"] is None else str(each["uses_left"]),
        )
    make_console().print(table)


@token.command()
@store_option
@click.argument("number", type=click.IntRange(1))
def revoke(store: str, number: int) -> None:
    """End the token of that NUMBER; running hubs know within five seconds."""
    from edgepack.hub.access.credentials import Credentials

    engine = migrated(store)
    try:
        Credentials(engine).revoke(number, now_ms())
    finally:
        engine.dispose()
    click.echo(f"token {number} is revoked")


@click.group()
def device() -> None:
    """Revoke devices, and give one a new token."""


@device.command(name="revoke")
@store_option
@click.argument("name")
def revoke_device(store: str, name: str) -> None:
    """Take nothing more from the device NAME; its reports stay."""
    from edgepack.hub.access.credentials import Credentials

    engine = migrated(store)
    try:
        Credentials(engine).revoke_device(name, now_ms())
    finally:
        engine.dispose()
    click.echo(f"device {name} is revoked")


@device.command()
@store_option
@click.argument("name")
def reissue(store: str, name: str) -> None:
    """Print a new token for the device NAME; its old ones end."""
    from edgepack.hub.access.credentials import Credentials

    engine = migrated(store)
    try:
        made = Credentials(engine).reissue(name, now_ms())
    finally:
        engine.dispose()
    click.echo(made)


def _moment(moment_ms: Any) -> str:
    if moment_ms is None:
        return ""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
