"""A hub is killed a hundred times under load: `python -m tests.campaigns.hub_kill`.

Boxes enrol and send reports as fast as they are answered, alone and in batches, to one process of
`edgepack hub serve`. Each round it gets a kill -9 at a point that a seeded generator chooses, often
while it is still starting, and is started again on the same store. On PostgreSQL the database's
own server is killed too, under a hub that stays. Afterwards the accounts are settled: every report
that was answered with 2xx is there, byte for byte, with all its rows, and no report is there in
part.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from edgepack.hub.access.credentials import Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.store import schema
from edgepack.hub.store.documents import unpack
from edgepack.hub.store.engine import is_sqlite, open_engine
from edgepack.hub.store.migrating import migrate
from tests.campaigns.hub_load import BOXES, Boxes, Serving
from tests.e2e.postgresql import PostgreSQL, postgresql_programs, postgresql_running

#: A hub starts in about a second, so that about half of the kills come before it listens.
_LONGEST_WAIT_S = 2.0


@dataclass(slots=True)
class HubKills:
    """How a campaign went.

    Attributes:
        kills: Of the hub.
        before_listening: Those of a hub that did not listen yet.
        database_kills: Of the database's server.
        promised: Reports that were answered with 2xx.
        kept: Reports that are in the store.
        statuses: Answers by their status; 0 is a connection that broke.
        problems: Everything that should not have been, in words.
    """

    kills: int = 0
    before_listening: int = 0
    database_kills: int = 0
    promised: int = 0
    kept: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """Returns the result as a JSON object."""
        return {
            "kills": self.kills,
            "before_listening": self.before_listening,
            "database_kills": self.database_kills,
            "promised_reports": self.promised,
            "kept_reports": self.kept,
            "answers": {str(status): count for status, count in sorted(self.statuses.items())},
            "problems": self.problems,
        }


def hub_kills(
    store: str,
    folder: Path,
    count: int,
    *,
    seed: int = 1,
    database: PostgreSQL | None = None,
    database_kills: int = 0,
) -> HubKills:
    """Runs the campaign.

    Args:
        store: A new database: a path, or PostgreSQL's address.
        folder: Where the hub's output goes.
        count: How many kills of the hub.
        seed: Of when they come.
        database: PostgreSQL's server, where it is killed too.
        database_kills: How often.
    """
    result, chance = HubKills(), random.Random(seed)
    engine = open_engine(store)
    migrate(engine)
    # One for each box, and one for each that a kill came between its enrolment and its answer.
    token = Credentials(engine).make(Role.ENROL, time.time_ns() // 1_000_000, uses=BOXES * 10)
    engine.dispose()
    serving = Serving(store, folder)
    boxes = Boxes(serving.port, token, seed)
    boxes.start()
    try:
        while result.kills < count:
            serving.start()
            _kill_sometime(serving, chance, result)
        serving.start()
        serving.wait()
        for _ in range(database_kills if database else 0):
            time.sleep(chance.uniform(0.2, 1.0))
            _kill_database(database, result)
            serving.wait()
        time.sleep(1.0)
    finally:
        boxes.stop()
        serving.kill()
    result.statuses = boxes.statuses
    result.problems += boxes.problems
    result.problems += [f"the hub said: {line}" for line in _complaints(serving.log)]
    result.promised = len(boxes.promised)
    settle(store, boxes.promised, result)
    return result


def _kill_sometime(serving: Serving, chance: random.Random, result: HubKills) -> None:
    # Half of them while it starts, the others some time after it has listened.
    while_it_starts = chance.random() < 0.5
    if not while_it_starts:
        serving.wait()
    time.sleep(chance.uniform(0, _LONGEST_WAIT_S))
    listened = serving.listens() if while_it_starts else True
    if serving.kill():
        result.kills += 1
        result.before_listening += not listened
    else:
        result.problems.append("the hub ended by itself")
    if sys.stderr.isatty():
        print(f"\r{result.kills} kills", end="", file=sys.stderr)


def _kill_database(database: PostgreSQL | None, result: HubKills) -> None:
    if database is not None:
        database.kill()
        time.sleep(0.3)
        database.start()
        result.database_kills += 1


def _complaints(log: str) -> Iterator[str]:
    # What a hub says of a database that is gone is meant to be said.
    for line in log.splitlines():
        if line.startswith("Traceback"):
            yield line


def settle(store: str, promised: dict[str, bytes], result: HubKills) -> None:
    """Looks whether all that was promised is there, and whole."""
    engine = open_engine(store)
    try:
        with engine.connect() as connection:
            if is_sqlite(engine):
                found = connection.execute(text("PRAGMA integrity_check")).scalars().all()
                result.problems += [f"SQLite: {each}" for each in found if each != "ok"]
            result.problems += _wrong_reports(connection, promised, result)
            result.problems += _wrong_counts(connection)
    finally:
        engine.dispose()


def _wrong_reports(
    connection: Connection, promised: dict[str, bytes], result: HubKills
) -> Iterator[str]:
    report, document, run = schema.report, schema.document, schema.run
    runs = {
        row.report_id: row.runs
        for row in connection.execute(
            select(run.c.report_id, func.count().label("runs")).group_by(run.c.report_id)
        )
    }
    rows = connection.execute(
        select(report.c.id, report.c.report_id, document.c.codec, document.c.body).outerjoin(
            document, document.c.report_id == report.c.id
        )
    )
    kept = set()
    for row in rows:
        kept.add(row.report_id)
        if row.body is None:
            yield f"half a report: {row.report_id} has no document"
            continue
        data = unpack(row.codec, row.body)
        if data != promised.get(row.report_id, data):
            yield f"another report than was sent: {row.report_id}"
        wanted = len(json.loads(data)["runs"])
        if runs.get(row.id, 0) != wanted:
            yield f"half a report: {row.report_id} has {runs.get(row.id, 0)} of {wanted} runs"
    result.kept = len(kept)
    for report_id in sorted(promised.keys() - kept):
        yield f"lost: {report_id} was answered with 2xx and is not there"


def _wrong_counts(connection: Connection) -> Iterator[str]:
    """A device counts its reports, and a standing its runs; a half-written one would show."""
    device, report, run, standing = schema.device, schema.report, schema.run, schema.standing
    counted = (
        select(report.c.device_id, func.count().label("reports"))
        .group_by(report.c.device_id)
        .subquery()
    )
    rows = connection.execute(
        select(device.c.name, device.c.reports, counted.c.reports.label("there"))
        .join(counted, counted.c.device_id == device.c.id)
        .where(device.c.reports != counted.c.reports)
    )
    for row in rows:
        yield f"device {row.name} counts {row.reports} reports and has {row.there}"
    stands = connection.execute(select(func.sum(standing.c.runs))).scalar_one() or 0
    there = connection.execute(select(func.count()).select_from(run)).scalar_one()
    if stands != there:
        yield f"the standings count {stands} runs of {there}"


def describe(result: HubKills) -> str:
    """Writes the result as a table."""
    answers = ", ".join(f"{count:,} x {status}" for status, count in result.statuses.most_common())
    lines = [
        f"{result.kills} kills of the hub, {result.before_listening} before it listened",
        f"{result.database_kills} kills of the database's server",
        f"answers: {answers} (0: the connection broke)",
        f"{result.promised:,} reports answered with 2xx, {result.kept:,} in the store",
    ]
    lines += [f"PROBLEM {problem}" for problem in result.problems[:50]]
    lines.append("FAILED" if result.problems else "nothing was lost, no half reports: ok")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the campaign for a person and prints what happened; 1 when it failed."""
    parser = argparse.ArgumentParser(
        description="Kill a hub at random points under load and settle the accounts.",
        epilog="example: python -m tests.campaigns.hub_kill --kills 100 --database postgresql",
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--database-kills", type=int, default=5, help="of PostgreSQL itself")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        if options.database == "sqlite":
            result = hub_kills(
                str(Path(name) / "hub.db"), Path(name), options.kills, seed=options.seed
            )
        else:
            programs = postgresql_programs()
            if programs is None:
                print("error: postgresql is not installed", file=sys.stderr)
                return 4
            with postgresql_running(programs) as server:
                result = hub_kills(
                    server.new_database(),
                    Path(name),
                    options.kills,
                    seed=options.seed,
                    database=server,
                    database_kills=options.database_kills,
                )
    print(json.dumps(result.to_json()) if options.json else describe(result))
    return 1 if result.problems else 0


if __name__ == "__main__":
    sys.exit(main())
