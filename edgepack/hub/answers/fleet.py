"""The fleet at a glance: which boxes there are, and which need attention first.

It is not aware of the store. Used by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgepack.hub.answers.health import RANKS, WORDS, Condition
from edgepack.hub.answers.rows import DeviceRow, ReleaseRow
from edgepack.hub.answers.table import Cell, Column, Table, Unit, make_table

#: Devices on one page.
PAGE_SIZE: Final = 50
#: The most that may be asked for at once; CSV and JSON page as well.
MAX_PAGE_SIZE: Final = 10_000


@dataclass(frozen=True, slots=True)
class FleetQuery:
    """Which devices; None or empty: all.

    Attributes:
        target: A target's name.
        release: A bundle's id.
        condition: A `edgepack.hub.answers.health.Condition`.
        grade: A report's grade of trust.
        box: The kind of box in words, exactly.
        text: Part of a device's name or label, in any case.
        offset: How many to skip.
        limit: How many to return, up to `MAX_PAGE_SIZE`.
    """

    target: str | None = None
    release: str | None = None
    condition: str | None = None
    grade: str | None = None
    box: str | None = None
    text: str = ""
    offset: int = 0
    limit: int = PAGE_SIZE


@dataclass(frozen=True, slots=True)
class DeviceCount:
    """How many devices are alike in everything a filter asks for."""

    condition: Condition
    grade: str | None
    release_id: int | None
    box: str | None
    devices: int


@dataclass(frozen=True, slots=True)
class FacetChoice:
    """One value a filter may have, and how many devices would be left.

    `value` is what goes into the address, `title` what people read.
    """

    value: str
    title: str
    devices: int
    chosen: bool


@dataclass(frozen=True, slots=True)
class Facet:
    """A filter with its choices, the most devices first (conditions: the worst first).

    `key` is the field of `FleetQuery`: condition, target, release, grade, box. The counts are
    of the devices that every other filter leaves.
    """

    key: str
    title: str
    choices: tuple[FacetChoice, ...]


@dataclass(frozen=True, slots=True)
class FleetAnswer:
    """A page of the fleet, what needs attention first on top.

    Attributes:
        query: What was asked.
        now_ms: When it was answered; silence is judged by it.
        total: Devices that the query's text leaves; revoked ones never count.
        matching: Devices that all filters leave.
        facets: The filters with their counts.
        devices: This page of them.
        table: The same as a table.
    """

    query: FleetQuery
    now_ms: int
    total: int
    matching: int
    facets: tuple[Facet, ...]
    devices: tuple[DeviceRow, ...]
    table: Table


#: The filters in the order they are shown.
_FACETS: Final = {
    "condition": "Condition",
    "target": "Target",
    "release": "Release",
    "grade": "Grade",
    "box": "Box",
}
_COLUMNS: Final = (
    Column("device", "Device"),
    Column("label", "Label", detail=True),
    Column("condition", "Condition", help="The worst that is true of its last report"),
    Column("target", "Target"),
    Column("model", "Model", detail=True),
    Column("version", "Version"),
    Column("setup", "Runs", help="Runtime and variant"),
    Column("box", "Box"),
    Column("grade", "Grade", help="How far its last times can be trusted"),
    Column("p50_ns", "p50", Unit.NS),
    Column("p99_ns", "p99", Unit.NS),
    Column("temperature_mc", "Temperature", Unit.TEMPERATURE_MC, detail=True),
    Column("reports", "Reports", Unit.COUNT, detail=True),
    Column("seen_ms", "Last seen", Unit.MOMENT_MS),
    Column("release", "Release id", detail=True),
)


def fleet_answer(
    query: FleetQuery,
    counts: Sequence[DeviceCount],
    devices: Sequence[DeviceRow],
    releases: Mapping[int, ReleaseRow],
    *,
    now_ms: int,
) -> FleetAnswer:
    """Puts a page of the fleet together.

    Args:
        query: What was asked.
        counts: Every device that the query's text leaves, by what filters ask for.
        devices: The page.
        releases: The releases that `counts` names, by row id.
        now_ms: When it was read.

    Returns:
        The answer.
    """
    facets = tuple(_facet(key, title, query, counts, releases) for key, title in _FACETS.items())
    matching = sum(each.devices for each in counts if _fits(each, query, releases))
    return FleetAnswer(
        query=query,
        now_ms=now_ms,
        total=sum(each.devices for each in counts),
        matching=matching,
        facets=facets,
        devices=tuple(devices),
        table=make_table("fleet", "Fleet", _COLUMNS, [device_record(each) for each in devices]),
    )


def device_record(device: DeviceRow) -> dict[str, Cell]:
    """Returns a device as a row of the fleet's table."""
    release, setup = device.release, device.setup
    return {
        "device": device.name,
        "label": device.label,
        "condition": str(device.condition),
        "target": release.target if release else None,
        "model": release.model if release else None,
        "version": release.version if release else None,
        "setup": f"{setup.runtime}, {setup.variant}" if setup else None,
        "box": device.box,
        "grade": device.grade,
        "p50_ns": device.p50_ns,
        "p99_ns": device.p99_ns,
        "temperature_mc": device.temperature_mc,
        "reports": device.reports,
        "seen_ms": device.seen_ms,
        "release": release.bundle_id if release else None,
    }


def _facet(
    key: str,
    title: str,
    query: FleetQuery,
    counts: Sequence[DeviceCount],
    releases: Mapping[int, ReleaseRow],
) -> Facet:
    devices: Counter[str] = Counter()
    titles: dict[str, str] = {}
    for each in counts:
        found = _value(each, key, releases)
        if found is not None and _fits(each, query, releases, but=key):
            value, titles[value] = found
            devices[value] += each.devices
    chosen = getattr(query, key)
    if chosen is not None and chosen not in devices:
        devices[chosen], titles[chosen] = 0, chosen

    def order(value: str) -> tuple[int, str]:
        if key == "condition":
            return RANKS.get(Condition(value), 0) if value in list(Condition) else 0, value
        return (0 if key == "grade" else -devices[value]), titles[value]

    choices = tuple(
        FacetChoice(value, titles[value], devices[value], value == chosen)
        for value in sorted(devices, key=order)
    )
    return Facet(key, title, choices)


def _fits(
    count: DeviceCount, query: FleetQuery, releases: Mapping[int, ReleaseRow], *, but: str = ""
) -> bool:
    """Says whether every filter but one leaves these devices."""
    for key in _FACETS:
        wanted = getattr(query, key)
        if key != but and wanted is not None:
            found = _value(count, key, releases)
            if found is None or found[0] != wanted:
                return False
    return True


def _value(
    count: DeviceCount, key: str, releases: Mapping[int, ReleaseRow]
) -> tuple[str, str] | None:
    """Returns what a filter looks at: the value in addresses and the one for people."""
    release = releases.get(count.release_id) if count.release_id is not None else None
    if key == "condition":
        return str(count.condition), WORDS[count.condition]
    if key == "target":
        return (release.target, release.target) if release else None
    if key == "release":
        words = f"{release.model} {release.version}, {release.target}" if release else ""
        return (release.bundle_id, words) if release else None
    value = count.grade if key == "grade" else count.box
    return None if value is None else (value, value)
