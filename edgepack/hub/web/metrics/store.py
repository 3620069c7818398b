"""What the store knows, counted when Prometheus asks and kept for a little while.

It is not aware of HTTP. Used where the application is put together.
"""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine, case, func, or_, select, text
from sqlalchemy.exc import SQLAlchemyError

from edgepack.hub.answers.health import RANKS, SILENT_AFTER_MS, Condition
from edgepack.hub.answers.trust import Standing
from edgepack.hub.store.engine import is_sqlite
from edgepack.hub.store.schema import device, release, standing

#: Prometheus usually asks every 15 or 30 seconds, and two of them may ask one after the other.
KEPT_S: Final = 15.0
#: A look at a million devices takes two seconds; it is kept so long that looking never takes more
#: than a twentieth of the time.
KEPT_LOOKS: Final = 20.0
#: Only releases that some device runs are told, the ones on most devices first.
MOST_RELEASES: Final = 100
_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class ReleaseDevices:
    """How the devices of a release are.

    Attributes:
        model: The model's name.
        version: Its version.
        target: The kind of box.
        conditions: Devices by `edgepack.hub.answers.health.Condition`.
    """

    model: str
    version: str
    target: str
    conditions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """One look at the store.

    Attributes:
        reachable: Whether it answered; where it did not, the rest is empty.
        conditions: Devices by condition, those that were revoked left out.
        releases: The same for each release that is in use.
        standings: Rows that comparisons are made of, by `edgepack.hub.answers.trust.Standing`.
        reports: Reports of all devices, also those whose rows retention has dropped.
        newest_s: When the newest report came, in seconds since 1970 UTC; None: none ever did.
        size_bytes: Size of the database.
        free_bytes: Free space where it lies; None: it is another machine's.
        look_s: How long this look took.
    """

    reachable: bool
    conditions: Mapping[str, int] = field(default_factory=dict)
    releases: tuple[ReleaseDevices, ...] = ()
    standings: Mapping[str, int] = field(default_factory=dict)
    reports: int = 0
    newest_s: float | None = None
    size_bytes: int = 0
    free_bytes: int | None = None
    look_s: float = 0.0


def look_at_store(engine: Engine, now_ms: int) -> StoreFacts:
    """Counts what is in the store; reads no report.

    Args:
        engine: The store.
        now_ms: The present moment.

    Returns:
        The facts; `look_s` is 0.

    Raises:
        SQLAlchemyError: The database does not answer.
    """
    with engine.connect() as connection:
        conditions, by_release = _devices(connection, now_ms)
        reports, newest_ms = connection.execute(
            select(func.coalesce(func.sum(device.c.reports), 0), func.max(device.c.seen_ms))
        ).one()
        trust = select(standing.c.trust, func.count().label("rows")).group_by(standing.c.trust)
        standings = dict.fromkeys(map(str, Standing), 0)
        standings |= {each.trust: each.rows for each in connection.execute(trust)}
        size_bytes, free_bytes = _size(connection, engine)
        return StoreFacts(
            reachable=True,
            conditions=conditions,
            releases=_releases(connection, by_release),
            standings=standings,
            reports=int(reports),
            newest_s=None if newest_ms is None else newest_ms / _MS_PER_S,
            size_bytes=size_bytes,
            free_bytes=free_bytes,
        )


def _devices(connection: Connection, now_ms: int) -> tuple[dict[str, int], dict[int, Counter[str]]]:
    """Returns devices by condition, and the same for each release's key."""
    seen = device.c.seen_ms
    is_silent = case((or_(seen.is_(None), seen < now_ms - SILENT_AFTER_MS), 1), else_=0)
    columns = (device.c.condition, is_silent.label("is_silent"), device.c.release_id)
    query = (
        select(*columns, func.count())
        .where(device.c.revoked_ms.is_(None))
        .group_by(device.c.condition, text("is_silent"), device.c.release_id)
    )
    conditions = dict.fromkeys(map(str, Condition), 0)
    by_release: dict[int, Counter[str]] = {}
    for condition, silent, release_id, count in connection.execute(query):
        worst = _worse(condition) if silent else condition
        conditions[worst] = conditions.get(worst, 0) + count
        if release_id is not None:
            by_release.setdefault(release_id, Counter())[worst] += count
    return conditions, by_release


def _worse(condition: str) -> str:
    """Returns what comes first for a device that is silent: its silence, or what it said last."""
    ranks = {str(each): rank for each, rank in RANKS.items()}
    silent = ranks[Condition.SILENT]
    return str(Condition.SILENT) if ranks.get(condition, silent) >= silent else condition


def _releases(
    connection: Connection, by_release: Mapping[int, Counter[str]]
) -> tuple[ReleaseDevices, ...]:
    most = sorted(by_release, key=lambda key: (-by_release[key].total(), key))[:MOST_RELEASES]
    columns = (release.c.id, release.c.model, release.c.version, release.c.target)
    rows = connection.execute(select(*columns).where(release.c.id.in_(most)))
    # A version that was built twice is two bundles, and one label.
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for key, model, version, target in rows:
        counts.setdefault((model, version, target), Counter()).update(by_release[key])
    return tuple(ReleaseDevices(*names, counts[names]) for names in sorted(counts))


def _size(connection: Connection, engine: Engine) -> tuple[int, int | None]:
    """Returns the bytes the database takes, and those that are free beside it."""
    if not is_sqlite(engine):
        size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        return int(size), None
    path = Path(str(engine.url.database))
    files = (path, path.with_name(f"{path.name}-wal"))
    size = sum(file.stat().st_size for file in files if file.exists())
    return size, shutil.disk_usage(path.parent).free


class StoreCollector(Collector):
    """The store's numbers, from a look that is kept for `KEPT_S`, or longer where it took long."""

    def __init__(
        self,
        look: Callable[[], StoreFacts],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares to look.

        Args:
            look: Looks at the store; may raise SQLAlchemyError or OSError.
            clock: Tells seconds from any beginning.
        """
        self._look = look
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, StoreFacts] | None = None

    @classmethod
    def over(cls, engine: Engine, now_ms: Callable[[], int]) -> StoreCollector:
        """Returns a collector of a store."""
        return cls(lambda: look_at_store(engine, now_ms()))

    def describe(self) -> Iterator[Metric]:
        """Yields nothing: registering a collector must not open the store."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yields the families Prometheus reads; what cannot be told is left out."""
        facts = self._facts()
        yield _gauge(
            "edgepack_hub_store_reachable",
            "1 when the store answered; 0: its other figures are missing",
            int(facts.reachable),
        )
        yield _gauge(
            "edgepack_hub_store_look_seconds", "Time that counting these took", facts.look_s
        )
        if facts.reachable:
            yield from _families(facts)

    def _facts(self) -> StoreFacts:
        # Whoever comes while another looks waits and takes what that one found.
        with self._lock:
            began = self._clock()
            if self._kept is not None:
                at, facts = self._kept
                if began - at < max(KEPT_S, KEPT_LOOKS * facts.look_s):
                    return facts
            try:
                facts = self._look()
            except (SQLAlchemyError, OSError):
                facts = StoreFacts(reachable=False)
            ended = self._clock()
            facts = dataclasses.replace(facts, look_s=ended - began)
            self._kept = (ended, facts)
            return facts


def _families(facts: StoreFacts) -> Iterator[Metric]:
    devices = GaugeMetricFamily(
        "edgepack_hub_devices",
        "Devices by what is wrong with them, those that were revoked left out",
        labels=("condition",),
    )
    for condition, count in facts.conditions.items():
        devices.add_metric((condition,), count)
    yield devices
    releases = GaugeMetricFamily(
        "edgepack_hub_release_devices",
        "Devices of a release by what is wrong with them; only releases in use",
        labels=("model", "version", "target", "condition"),
    )
    for each in facts.releases:
        for condition, count in each.conditions.items():
            releases.add_metric((each.model, each.version, each.target, condition), count)
    yield releases
    standings = GaugeMetricFamily(
        "edgepack_hub_standings",
        "Newest runs of devices, which comparisons are made of",
        labels=("trust",),
    )
    for trust, count in facts.standings.items():
        standings.add_metric((trust,), count)
    yield standings
    yield _gauge(
        "edgepack_hub_reports_known", "Reports of all devices, dropped ones too", facts.reports
    )
    if facts.newest_s is not None:
        yield _gauge(
            "edgepack_hub_newest_report_timestamp_seconds",
            "When the newest report came, since 1970 UTC",
            facts.newest_s,
        )
    yield _gauge("edgepack_hub_store_size_bytes", "Size of the database", facts.size_bytes)
    if facts.free_bytes is not None:
        yield _gauge(
            "edgepack_hub_store_free_bytes",
            "Free bytes on the disk of the database",
            facts.free_bytes,
        )


def _gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, about, value=value)
