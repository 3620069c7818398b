"""Which variant for a kind of box, and how sure that is.

It is not aware of the store. Used by `edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgepack.formats.evidence import Evidence, Limits
from edgepack.formats.report import Scenario
from edgepack.hub.answers.table import Table


@dataclass(frozen=True, slots=True)
class SelectQuery:
    """What to choose for.

    Attributes:
        target: A target's name.
        model: A model's name; None: the only one the target has reports of.
        box: The `box_key` of a kind of box or its words; None: every kind the target has.
        scenario: Whose latency counts.
        limits: What a variant must keep.
    """

    target: str
    model: str | None = None
    box: str | None = None
    scenario: str = Scenario.SINGLE_STREAM
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class SelectAnswer:
    """The answer as a value and as tables.

    Attributes:
        query: What was asked.
        evidence: The answer; `edgepack build` takes it.
        picks: `evidence.picks` as a table.
        kinds: The candidates of each kind of box, one table a kind, in the order of
            `evidence.kinds`.
        needed: `evidence.needed` as a table.
    """

    query: SelectQuery
    evidence: Evidence
    picks: Table
    kinds: tuple[Table, ...]
    needed: Table
