"""`edgepack hub simulate`: a made-up fleet, sent to a hub or written into a store."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.cli.console import print_json
from edgepack.cli.options import json_option
from edgepack.cli.progress import shown_progress
from edgepack.formats.errors import ConfigError

if TYPE_CHECKING:
    from edgepack.hub.simulate.timeline import Plan


@click.command()
@click.option(
    "--devices",
    type=click.IntRange(1, 1_000_000),
    default=40,
    show_default=True,
    metavar="N",
    help="Boxes of the fleet; from 12 on some of them are in trouble.",
)
@click.option(
    "--days",
    type=click.FloatRange(0.1, 3650),
    default=14.0,
    show_default=True,
    metavar="D",
    help="Days that pass; they end now.",
)
@click.option(
    "--reports-per-day",
    type=click.FloatRange(0.01, 1000),
    default=1.0,
    show_default=True,
    metavar="X",
    help="How often a box measures itself.",
)
@click.option("--seed", type=int, default=1, show_default=True, metavar="N", help="Of everything.")
@click.option("--hub", "hub_url", metavar="URL", help="Send to this hub, as boxes do.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Holds an enrolment token that is good for all boxes.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.01),
    metavar="X",
    help="Send at most X reports a second.  [default: as fast as the hub takes them]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    metavar="N",
    help="Requests on their way at a time.",
)
@click.option(
    "--store",
    metavar="PATH|URL",
    help="With --bulk: write into this store, past the API.",
)
@click.option("--bulk", is_flag=True, help="Fill a store: a million reports in minutes.")
@click.option(
    "--archetypes",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="With --bulk: boxes that are simulated; the others are copies of them.",
)
@click.option(
    "--without-documents",
    is_flag=True,
    help="With --bulk: copies have no raw report, which makes a store small.",
)
@json_option
def simulate(
    *,
    devices: int,
    days: float,
    reports_per_day: float,
    seed: int,
    hub_url: str | None,
    token_file: Path | None,
    rate: float | None,
    concurrency: int,
    store: str | None,
    bulk: bool,
    archetypes: int,
    without_documents: bool,
    as_json: bool,
) -> None:
    """Make up a fleet and its reports.

    Boxes of seven kinds measure themselves while releases come and go; some heat up, lie, lose
    their network or their clock. Nothing of it is real: do not send it to a hub that has a fleet.

    \b
    Example:
      edgepack hub simulate --devices 40 --hub http://127.0.0.1:8300 --token-file enrol.token
      edgepack hub simulate --bulk --store big.db --devices 10000 --days 100
    """
    from edgepack.hub.simulate.timeline import Plan

    plan = Plan(seed, devices, days, time.time_ns() // 1_000_000, reports_per_day)
    if bulk:
        if store is None or hub_url is not None:
            raise ConfigError("--bulk writes into a store, not to a hub", hint="give --store PATH")
        found = _fill(plan, store, archetypes, documents=not without_documents)
    else:
        if hub_url is None or token_file is None or store is not None:
            raise ConfigError(
                "nothing says where the reports go",
                hint="give --hub URL and --token-file FILE, or --bulk and --store PATH",
            )
        found = _send(plan, hub_url, _read_token(token_file), concurrency, rate)
    if as_json:
        print_json(found)
        return
    _show(found)


def _fill(plan: Plan, store: str, archetypes: int, *, documents: bool) -> dict[str, Any]:
    from edgepack.hub.simulate.bulk import fill_store
    from edgepack.hub.store.engine import open_engine
    from edgepack.hub.store.migrating import migrate

    engine = open_engine(store)
    try:
        migrate(engine)
        with _following("reports") as follow:
            filled = fill_store(
                engine, plan, archetypes=archetypes, documents=documents, progress=follow
            )
    finally:
        engine.dispose()
    return dataclasses.asdict(filled)


def _send(
    plan: Plan, hub_url: str, token: str, concurrency: int, rate: float | None
) -> dict[str, Any]:
    import httpx

    from edgepack.hub.simulate.sending import Sender, Sent, send_fleet

    async def run() -> Sent:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        async with httpx.AsyncClient(base_url=hub_url, limits=limits, timeout=60) as client:
            with _following("deliveries") as follow:
                return await send_fleet(
                    plan,
                    Sender(client, token),
                    concurrency=concurrency,
                    rate=rate,
                    progress=follow,
                )

    return asyncio.run(run()).to_json()


@contextlib.contextmanager
def _following(task: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function that shows how many of how many are done."""
    with shown_progress() as progress:
        before = -1

        def follow(done: int, total: int) -> None:
            nonlocal before
            if before < 0:
                progress.start(task, total)
                before = 0
            progress.advance(task, done - before)
            before = done

        yield follow
        progress.finish(task)


def _read_token(path: Path) -> str:
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", hint="edgepack hub token prints one to put there"
        ) from error
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError(f"{path}: holds no token")
    return token


def _show(found: Mapping[str, Any]) -> None:
    for name, value in found.items():
        shown = ", ".join(f"{k}: {v:,}" for k, v in value.items()) if name == "by_status" else value
        if isinstance(shown, list):
            for line in shown:
                click.echo(f"refused     {line}")
        else:
            click.echo(f"{name.replace('_', ' '):<12}{shown}")
