"""Reports a second of two hub processes on one PostgreSQL behind nginx, beside one process.

    python -m benchmarks.hub.scaling [--seconds 10] [--rounds 3]

PostgreSQL is a cluster of its own, with `fsync`; nginx stands before one process as it does before
two, so that only the number of processes differs. One process is also measured without nginx.
Beside the rates it says how the machine's cores were shared, so that one can see what held two
processes up. Needs Debian's packages `postgresql`, and of nginx what apt-get downloads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.hub.load import HubReport, run_load
from benchmarks.hub.mlflow import cache_folder
from benchmarks.hub.reports import enrol_boxes, make_reports
from benchmarks.hub.servers import Server, hub_serving, nginx_serving, unpack_nginx
from tests.e2e.postgresql import PostgreSQL, postgresql_programs, postgresql_running

_DIRECT, _ONE, _TWO = "one process, no nginx", "one process", "two processes"
_MISSING = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, then prints a table or JSON."""
    options = parse_arguments(argv)
    programs = postgresql_programs()
    if programs is None:
        print("benchmarks.hub.scaling did not run: postgresql is not installed")
        return _MISSING
    nginx = unpack_nginx(cache_folder())
    reports = make_reports()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name, postgresql_running(programs) as database:
        store = database.new_database()
        boxes = enrol_boxes(store, reports, options.boxes)
        for number in range(options.rounds):
            for kind in (_DIRECT, _ONE, _TWO):
                with _serving(kind, store, Path(name), nginx) as (port, hubs):
                    rows.append(_measure(kind, number, port, hubs, database, boxes, options))
    found = {"cores": os.cpu_count(), "rounds": rows, "medians": _medians(rows)}
    print(json.dumps(found, indent=2) if options.json else describe(found))
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of all of them, in turns")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--boxes", type=int, default=2000, help="that send")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


@contextmanager
def _serving(
    kind: str, store: str, folder: Path, nginx: Path
) -> Iterator[tuple[int, list[Server]]]:
    with ExitStack() as stack:
        count = 2 if kind == _TWO else 1
        hubs = [stack.enter_context(hub_serving(store, folder)) for _ in range(count)]
        if kind == _DIRECT:
            yield hubs[0].port, hubs
        else:
            ports = [hub.port for hub in hubs]
            yield stack.enter_context(nginx_serving(nginx, folder, ports)).port, hubs


def _measure(
    kind: str,
    number: int,
    port: int,
    hubs: Sequence[Server],
    database: PostgreSQL,
    boxes: Sequence[HubReport],
    options: argparse.Namespace,
) -> dict[str, Any]:
    # Warm: each process has found the tokens and the kinds of releases.
    run_load(port, boxes, options.connections, seconds=min(options.seconds, 3), warmup_s=0)
    before = [hub.cpu_s() for hub in hubs]
    database_before, begin = _cpu_of(database), time.monotonic()
    idle_before = psutil.cpu_times()
    loaded = run_load(port, boxes, options.connections, seconds=options.seconds)
    wall_s = time.monotonic() - begin
    idle_after = psutil.cpu_times()
    idle = (idle_after.idle - idle_before.idle) / wall_s
    print(f"{kind}: {loaded.per_second:,.1f}/s", file=sys.stderr, flush=True)
    return {
        "kind": kind,
        "round": number,
        **loaded.to_json(),
        "hub_cores": [
            (hub.cpu_s() - first) / wall_s for hub, first in zip(hubs, before, strict=True)
        ],
        "database_cores": (_cpu_of(database) - database_before) / wall_s,
        "idle_cores": idle,
    }


def _cpu_of(database: PostgreSQL) -> float:
    # A backend that ends takes its time with it into its parent's, which is counted too.
    first = psutil.Process(database.pid)
    found = 0.0
    for each in [first, *first.children()]:
        times = each.cpu_times()
        found += times.user + times.system + times.children_user + times.children_system
    return found


def _medians(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    found = {
        kind: statistics.median(row["per_second"] for row in rows if row["kind"] == kind)
        for kind in (_DIRECT, _ONE, _TWO)
    }
    found["two / one"] = found[_TWO] / found[_ONE] if found[_ONE] else float("nan")
    return found


def describe(found: dict[str, Any]) -> str:
    """Returns the result in words."""
    lines = [f"{found['cores']} cores", ""]
    lines.append(
        f"{'':<24}{'reports/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'hub cores':>14}"
        f"{'database':>10}{'load':>7}{'idle':>7}{'failed':>8}"
    )
    for row in found["rounds"]:
        hubs = " + ".join(f"{each:.2f}" for each in row["hub_cores"])
        lines.append(
            f"{row['kind']:<24}{row['per_second']:>11,.1f}{row['p50_ms']:>9,.1f}"
            f"{row['p99_ms']:>9,.1f}{hubs:>14}{row['database_cores']:>10.2f}"
            f"{row['own_cpu']:>7.2f}{row['idle_cores']:>7.2f}{sum(row['failed'].values()):>8}"
        )
        lines += [f"    {why}: {count}" for why, count in row["failed"].items()]
    lines.append("")
    lines += [f"{name}: {value:,.2f}" for name, value in found["medians"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
