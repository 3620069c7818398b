"""The fleet at a glance: which boxes there are, and which need attention first.

It is not aware of the store. Used by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgepack.hub.answers.rows import DeviceRow
from edgepack.hub.answers.table import Table

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
        total: Devices there are, without revoked ones.
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
