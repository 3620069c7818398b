"""How long the hub's pages take on a store with a million reports, and how the store finds them.

    python -m benchmarks.hub.pages [--store PATH|URL] [--devices 10000] [--days 100]

Without --store one is made with `edgepack hub simulate --bulk` in the benchmarks' cache, which
takes some minutes and some gigabytes the first time. Each address is asked of a real
`edgepack hub serve` over loopback, first once (the store's pages are then in the kernel's cache or
not, as it happens), then several times. Then the same questions are asked in this process, and each
statement they send is printed with its plan and the time to its first row; one that reads a
whole large table is marked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, func, select

from benchmarks.hub.mlflow import cache_folder
from benchmarks.hub.servers import hub_serving
from edgepack.hub import asking
from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.simulate.bulk import fill_store
from edgepack.hub.simulate.timeline import Plan
from edgepack.hub.store import schema
from edgepack.hub.store.engine import is_sqlite, open_engine
from edgepack.hub.store.migrating import migrate

#: Reading one of these from end to end takes longer the more reports there are.
_LARGE = ("report", "run", "document", "standing", "history")
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Question:
    """A page's address, its data's, and how the same is asked in a process."""

    name: str
    page: str
    data: str
    ask: Callable[[Connection], object]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, then prints a table or JSON."""
    options = parse_arguments(argv)
    store = options.store or str(made_store(options.devices, options.days))
    engine = open_engine(store)
    migrate(engine)
    questions = list(make_questions(engine))
    now_ms = time.time_ns() // 1_000_000
    token = Credentials(engine).make(Role.READER, now_ms, label="benchmark")
    found: dict[str, Any] = {"rows": count_rows(engine), "addresses": [], "plans": {}}
    with tempfile.TemporaryDirectory() as name, hub_serving(store, Path(name)) as hub:
        for question in questions:
            for path in (question.page, question.data):
                row = time_address(hub.port, path, token, options.times)
                found["addresses"].append({"name": question.name, "path": path, **row})
    for question in questions:
        found["plans"][question.name] = explain(engine, question.ask)
    engine.dispose()
    print(json.dumps(found, indent=2) if options.json else describe(found, options.bound_ms))
    return 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", metavar="PATH|URL", help="a filled store")
    parser.add_argument("--devices", type=int, default=10_000, help="of the store that is made")
    parser.add_argument("--days", type=float, default=101.0, help="likewise")
    parser.add_argument("--times", type=int, default=20, help="each address is asked, after once")
    parser.add_argument("--bound-ms", type=float, default=300.0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def made_store(devices: int, days: float) -> Path:
    """Returns a filled store in the cache; it is made anew where it is of another version."""
    path = cache_folder() / f"hub-{devices}-{days:g}.db"
    whole = path.with_suffix(".whole")
    if not whole.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        print(f"filling {path}", file=sys.stderr)
        engine = open_engine(path)
        migrate(engine)
        begin = time.monotonic()
        filled = fill_store(engine, Plan(1, devices, days, time.time_ns() // 1_000_000))
        engine.dispose()
        took_s = time.monotonic() - begin
        print(f"{filled.reports:,} reports in {took_s:.0f} s", file=sys.stderr)
        whole.touch()
    return path


def make_questions(engine: Engine) -> Iterator[Question]:
    """Yields what the pages ask, with values of this store that have many rows."""
    device, standing, setup, release = (
        schema.device,
        schema.standing,
        schema.setup,
        schema.release,
    )
    now_ms = time.time_ns() // 1_000_000
    with engine.connect() as connection:
        box = connection.execute(select(device.c.name).order_by(device.c.id)).first()
        largest = connection.execute(
            select(schema.context.c.digest)
            .join(standing, standing.c.context_id == schema.context.c.id)
            .group_by(schema.context.c.digest)
            .order_by(func.count().desc())
        ).first()
        bundle = connection.execute(
            select(release.c.bundle_id)
            .join(setup, setup.c.release_id == release.c.id)
            .join(standing, standing.c.setup_id == setup.c.id)
            .group_by(release.c.bundle_id)
            .order_by(func.count().desc())
        ).first()
    name, context, bundle_id = (row[0] if row else "" for row in (box, largest, bundle))
    compare = CompareQuery(context=context)
    yield Question(
        *("fleet", "/", "/api/fleet"),
        lambda connection: asking.fleet(connection, FleetQuery(), now_ms=now_ms),
    )
    yield Question(
        *("one target of the fleet", "/?target=arm64", "/api/fleet?target=arm64"),
        lambda connection: asking.fleet(connection, FleetQuery(target="arm64"), now_ms=now_ms),
    )
    yield Question(
        *("a device", f"/devices/{name}", f"/api/devices/{name}"),
        lambda connection: asking.device(connection, name, now_ms=now_ms),
    )
    yield Question(
        *("compare", f"/compare?context={context}", f"/api/compare?context={context}"),
        lambda connection: asking.compare(connection, compare),
    )
    yield Question(
        *("releases", "/releases", "/api/releases"),
        asking.releases,
    )
    yield Question(
        *("a release", f"/releases/{bundle_id}", f"/api/releases/{bundle_id}"),
        lambda connection: asking.release(connection, bundle_id),
    )
    yield Question(
        *("select", "/select?target=arm64", "/api/select?target=arm64"),
        lambda connection: asking.select(
            connection, SelectQuery(target="arm64"), now_ms=now_ms, source="benchmark"
        ),
    )


def count_rows(engine: Engine) -> dict[str, int]:
    """Counts every table's rows."""
    with engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in schema.metadata.sorted_tables
        }


def time_address(port: int, path: str, token: str, times: int) -> dict[str, Any]:
    """Asks for an address once, and then so many times more."""
    took_ms, status, size = [], 0, 0
    for _ in range(times + 1):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        begin_ns = time.perf_counter_ns()
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:  # noqa: S310 - our hub
                status, size = answer.status, len(answer.read())
        except urllib.error.HTTPError as error:
            status, size = error.code, len(error.read())
        took_ms.append((time.perf_counter_ns() - begin_ns) / 1e6)
    later = took_ms[1:] or took_ms
    return {
        "status": status,
        "bytes": size,
        "first_ms": took_ms[0],
        "median_ms": statistics.median(later),
        "longest_ms": max(later),
    }


def explain(engine: Engine, ask: Callable[[Connection], object]) -> list[dict[str, Any]]:
    """Asks in this process and explains each statement that went to the store."""
    with _overheard(engine) as statements, engine.connect() as connection:
        ask(connection)
    found = []
    with engine.connect() as connection:
        for statement, parameters, took_ms in statements:
            word = "EXPLAIN QUERY PLAN" if is_sqlite(engine) else "EXPLAIN"
            rows = connection.exec_driver_sql(f"{word} {statement}", parameters).all()
            plan = [str(row[-1]) for row in rows]
            found.append(
                {
                    "statement": " ".join(statement.split()),
                    "plan": plan,
                    "took_ms": took_ms,
                    "reads_all_of": [name for name in _LARGE if _reads_all(plan, name)],
                }
            )
    return found


@contextmanager
def _overheard(engine: Engine) -> Iterator[list[tuple[str, Any, float]]]:
    found: list[tuple[str, Any, float]] = []
    begun: list[int] = []

    def before(*_: Any) -> None:
        begun.append(time.perf_counter_ns())

    def after(
        _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
    ) -> None:
        found.append((statement, parameters, (time.perf_counter_ns() - begun.pop()) / 1e6))

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", before)
        event.remove(engine, "after_cursor_execute", after)


def _reads_all(plan: Sequence[str], table: str) -> bool:
    # SQLite says SCAN for a table or an index from end to end, PostgreSQL Seq Scan.
    return any(
        f"SCAN {table}" == line.partition(" USING ")[0].strip() or f"Seq Scan on {table}" in line
        for line in plan
    )


def describe(found: dict[str, Any], bound_ms: float) -> str:
    """Returns the result in words."""
    rows = ", ".join(f"{name} {count:,}" for name, count in found["rows"].items())
    lines = [f"rows: {rows}", ""]
    lines.append(
        f"{'':<26}{'status':>7}{'first ms':>10}{'median ms':>11}{'longest ms':>12}{'kB':>8}"
    )
    for row in found["addresses"]:
        mark = "" if row["status"] == 200 and row["longest_ms"] < bound_ms else "  <--"
        lines.append(
            f"{row['name'] + (' (data)' if row['path'].startswith('/api') else ''):<26}"
            f"{row['status']:>7}{row['first_ms']:>10,.1f}{row['median_ms']:>11,.1f}"
            f"{row['longest_ms']:>12,.1f}{row['bytes'] / 1e3:>8,.1f}{mark}"
        )
    for name, statements in found["plans"].items():
        lines += ["", name]
        for each in statements:
            lines.append(f"  {each['took_ms']:.1f} ms  {each['statement'][:240]}")
            lines += [f"      {line}" for line in each["plan"]]
            lines += [f"      READS ALL OF {table}" for table in each["reads_all_of"]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
