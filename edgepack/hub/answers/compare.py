"""Target against target, runtime against runtime, precision against precision.

Only runs of one context are compared: the same model, scenario and kind of box, measured the same
way. A selection of several is refused, with what differs. Trusted, doubtful and emulated runs are
never mixed, and each box counts once. It is not aware of the store. Used by
`edgepack.hub.asking`, the pages and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgepack.hub.answers.rows import ContextRow
from edgepack.hub.answers.spread import Spread
from edgepack.hub.answers.table import Table
from edgepack.hub.answers.trust import Standing


class Per(StrEnum):
    """What one row of a comparison is.

    VARIANT: releases of a variant together, each box with its newest run. RELEASE: each release
    by itself.
    """

    VARIANT = "variant"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class CompareQuery:
    """What to compare; None or empty: anything.

    The fields up to `facts` narrow the context, those after it the rows.

    Attributes:
        model: A model's name.
        scenario: `single_stream`, `offline` or `server`.
        box: The `box_key` of a kind of box, or its words exactly.
        context: A context's digest.
        facts: Facts of the context with the text of their value, as a `Refusal` names them.
        target: A target's name.
        runtime: A runtime's name.
        precision: A precision.
        release: A bundle's id.
        per: What one row is.
    """

    model: str | None = None
    scenario: str | None = None
    box: str | None = None
    context: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    target: str | None = None
    runtime: str | None = None
    precision: str | None = None
    release: str | None = None
    per: Per = Per.VARIANT


@dataclass(frozen=True, slots=True)
class FactChoice:
    """One value of a fact that differs: in how many contexts, with how many newest runs."""

    value: str
    contexts: int
    results: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that is not the same in all selected contexts; the value with most runs first.

    `fact` is its path, such as `box` or `method.duration`; `title` the same for people.
    """

    fact: str
    title: str
    choices: tuple[FactChoice, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a selection is not compared.

    Attributes:
        reason: In words.
        differences: What differs and what one can narrow to; empty where nothing was selected.
        contexts: The selected contexts, the one with most runs first.
        table: The contexts as a table.
    """

    reason: str
    differences: tuple[Difference, ...]
    contexts: tuple[ContextRow, ...]
    table: Table


@dataclass(frozen=True, slots=True)
class SetupKey:
    """What makes one row. `release` and `version` are empty where releases are together."""

    target: str
    runtime: str
    runtime_version: str
    provider: str
    variant: str
    format: str
    precision: str
    threads: int
    options: str
    version: str = ""
    release: str = ""

    @property
    def label(self) -> str:
        """The row in a few words, for a chart: runtime, variant, options, version."""
        words = [self.target, f"{self.runtime} {self.runtime_version}", self.variant, self.options]
        return ", ".join(word for word in (*words, self.version) if word)


@dataclass(frozen=True, slots=True)
class Group:
    """One row: a setup over the boxes that ran it.

    Attributes:
        key: What it is.
        boxes: Boxes with a run.
        versions: The releases' versions in it, the newest first.
        p50: The boxes' median latencies, ns.
        p99: The boxes' p99, ns.
        ready: From process start to verified answers, ns.
        rss_peak: Memory, bytes.
        size_bytes: The model file of the newest release.
        quality: What the newest release says of its quality (`QualityFacts`).
        score: The quality in one number, 0 to 1, by `score_name`; None where there is none.
        on_front: Whether no other row is at least as good in latency, size and quality and better
            in one. Only trusted rows with a median are placed.
    """

    key: SetupKey
    boxes: int
    versions: tuple[str, ...]
    p50: Spread
    p99: Spread
    ready: Spread
    rss_peak: Spread
    size_bytes: int
    quality: Mapping[str, Any]
    score: float | None
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class CompareAnswer:
    """A comparison, or why there is none.

    Attributes:
        query: What was asked.
        refusal: Why nothing is compared; None where something is.
        context: On what and how everything below was measured; None with a refusal.
        groups: The rows by trust, the lowest median first; a trust without rows is not in it.
        score_name: What `Group.score` is, in words; empty where no row has one.
        tables: The rows as tables, by trust.
        notes: Sentences on what could not be said, such as too few boxes.
    """

    query: CompareQuery
    refusal: Refusal | None
    context: ContextRow | None = None
    groups: Mapping[Standing, tuple[Group, ...]] | None = None
    score_name: str = ""
    tables: Mapping[Standing, Table] | None = None
    notes: tuple[str, ...] = ()
