"""`edgepack hub`: serves a hub and looks after its store."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgepack.cli.hub_access import device, token
from edgepack.cli.hub_simulate import simulate
from edgepack.cli.hub_store import (
    migrated,
    now_ms,
    refuse_unused_retention,
    retention_of,
    retention_options,
    store_option,
)
from edgepack.formats.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PATH = click.Path(path_type=Path)
_FIRST_BOXES = 10
_FIRST_DAYS = 7
_DAY_MS = 86_400_000


@click.group()
def hub() -> None:
    """Take the reports of a fleet, keep them and show them."""


@hub.command()
@store_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=8090,
    show_default=True,
    metavar="N",
    help="Port to listen on.",
)
@click.option("--tls-certificate", type=_PATH, metavar="FILE", help="Certificate and chain, PEM.")
@click.option("--tls-key", type=_PATH, metavar="FILE", help="Its key, PEM.")
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="A proxy whose X-Forwarded headers are believed; may be repeated.",
)
@click.option(
    "--reports-per-minute",
    type=click.FloatRange(0.1, 1e9),
    default=60.0,
    show_default=True,
    metavar="X",
    help="What each device may send, in the long run.",
)
@click.option(
    "--burst",
    type=click.IntRange(1, 1_000_000_000),
    default=600,
    show_default=True,
    metavar="N",
    help="What a device that was away may send at once.",
)
@click.option(
    "--prune-every",
    "prune_every_h",
    type=click.FloatRange(0.001, 1e5),
    metavar="HOURS",
    help="Drop what is old so often, such as 24; see below for what stays.  [default: never]",
)
@retention_options
def serve(
    store: str,
    host: str,
    port: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    proxies: tuple[str, ...],
    reports_per_minute: float,
    burst: int,
    prune_every_h: float | None,
    **days: int,
) -> None:
    """Serve a hub; on an empty store it says how to sign in and to enrol the first boxes."""
    import uvicorn

    from edgepack.hub.web.app import create_app
    from edgepack.hub.web.settings import HubSettings

    if (tls_certificate is None) != (tls_key is None):
        raise ConfigError("--tls-certificate and --tls-key go together")
    for path in (tls_certificate, tls_key):
        if path is not None and not path.is_file():
            raise ConfigError(f"{path}: there is no such file")
    if prune_every_h is None:
        refuse_unused_retention()
    settings = HubSettings(
        reports_per_minute=reports_per_minute,
        burst=burst,
        secure_cookie=tls_certificate is not None or bool(proxies),
        prune_every_s=None if prune_every_h is None else prune_every_h * 3600,
        retention=retention_of(**days),
    )
    # First of all: who cannot listen shows no tokens that nobody would see again.
    listening = _listen(host, port)
    engine = migrated(store)
    address = f"{'https' if tls_certificate else 'http'}://{_shown(host)}:{port}"
    _greet(engine, address)
    try:
        config = uvicorn.Config(
            create_app(engine, settings),
            log_level="warning",
            access_log=False,
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            server_header=False,
            ssl_certfile=tls_certificate,
            ssl_keyfile=tls_key,
            # A box that is slow to take its answer does not keep the hub from ending.
            timeout_graceful_shutdown=10,
        )
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        engine.dispose()
        listening.close()


@hub.command()
@store_option
def migrate(store: str) -> None:
    """Bring a store to this version's tables; `serve` does so by itself."""
    from edgepack.hub.store.migrating import newest_revision

    migrated(store).dispose()
    click.echo(f"the store is at revision {newest_revision()}")


@hub.command()
@store_option
@click.argument("target", type=_PATH)
def backup(store: str, target: Path) -> None:
    """Copy a SQLite store to TARGET while it is in use."""
    from edgepack.hub.store.backup import back_up

    size = back_up(store, target)
    click.echo(f"{target}: {size} bytes")


@hub.command()
@store_option
@click.argument("source", type=_PATH)
@click.option("--replace", is_flag=True, help="Take the place of a store that is there.")
def restore(store: str, source: Path, replace: bool) -> None:
    """Put a backup back; no hub may run on the store."""
    from edgepack.hub.store.backup import restore as put_back

    put_back(source, store, replace=replace)
    click.echo(f"restored from {source}")


@hub.command()
@store_option
@retention_options
def prune(store: str, **days: int) -> None:
    """Drop what is old; it may be run while the hub serves, say once a day."""
    from edgepack.hub.store.keeping import prune as drop

    retention = retention_of(**days)
    engine = migrated(store)
    try:
        found = drop(engine, retention, now_ms())
    finally:
        engine.dispose()
    if found is None:
        click.echo("another process is dropping what is old: nothing to do")
        return
    click.echo(
        f"dropped {found.documents} documents, {found.reports} reports, {found.days} days, "
        f"{found.standings} standings"
    )


hub.add_command(token)
hub.add_command(device)
hub.add_command(simulate)


def _greet(engine: Engine, address: str) -> None:
    from edgepack.hub.access.credentials import Credentials
    from edgepack.hub.access.roles import Role

    credentials = Credentials(engine)
    click.echo(f"hub: {address}  (store: {engine.url.render_as_string(hide_password=True)})")
    if credentials.any_reader():
        click.echo("a token to sign in with: edgepack hub token add --role reader")
        return
    now = now_ms()
    admin = credentials.make(Role.ADMIN, now, label="first start")
    enrol = credentials.make(
        Role.ENROL,
        now,
        label="first start",
        expires_ms=now + _FIRST_DAYS * _DAY_MS,
        uses=_FIRST_BOXES,
    )
    click.echo(f"sign in (this link is shown once):  {address}/login#{admin}")
    click.echo(f"enrol up to {_FIRST_BOXES} boxes within {_FIRST_DAYS} days, on each:")
    click.echo(f"  edgepack-runner enrol {address} --token {enrol}")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{host}:{port} cannot be listened on: {reason}",
            hint="name another address with --host and --port",
        ) from error


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - it is compared, not bound
        return os.uname().nodename
    return f"[{host}]" if ":" in host else host
