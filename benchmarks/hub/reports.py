"""Boxes that a hub knows, and reports of theirs that are ready to be sent but for their ids."""

from __future__ import annotations

import itertools
import time

from benchmarks.hub.load import HubReport
from edgepack.formats.report import Report
from edgepack.hub.access.credentials import Bearer, Credentials
from edgepack.hub.access.roles import Role
from edgepack.hub.simulate.timeline import Plan, benchmarks_of, make_fleet, report_of
from edgepack.hub.store.engine import open_engine
from edgepack.hub.store.migrating import migrate

#: So many different reports are made; boxes share them.
_DIFFERENT = 120


def make_reports(seed: int = 1, count: int = _DIFFERENT) -> list[Report]:
    """Makes reports of a mixed fleet, of now, so that no clock of theirs is off."""
    plan = Plan(seed, count, 1, time.time_ns() // 1_000_000)
    return [
        report_of(plan, planned)
        for box in make_fleet(plan)
        for planned in itertools.islice(benchmarks_of(plan, box), 1)
    ]


def enrol_boxes(store: str, reports: list[Report], boxes: int) -> list[HubReport]:
    """Brings a store to today's tables, makes boxes in it, and gives each a report.

    Args:
        store: A path or an address.
        reports: What they send; each box has one of them, in its own name.
        boxes: How many.

    Returns:
        One report for each box, with its token.
    """
    engine = open_engine(store)
    now_ms = time.time_ns() // 1_000_000
    try:
        migrate(engine)
        credentials = Credentials(engine)
        found = credentials.find(credentials.make(Role.ENROL, now_ms, uses=boxes), now_ms)
        if found is None:
            raise SystemExit("error: the store does not know the token that it made")
        return [_enrol(credentials, found, reports[i % len(reports)], i) for i in range(boxes)]
    finally:
        engine.dispose()


def _enrol(credentials: Credentials, bearer: Bearer, report: Report, number: int) -> HubReport:
    name = f"box-{number:06d}"
    token = credentials.enrol(bearer, name, f"box {number}", time.time_ns() // 1_000_000)
    data = report.to_bytes().replace(str(report.device_id).encode(), name.encode())
    head, _, tail = data.partition(report.report_id.encode())
    return HubReport(token, head, tail)
