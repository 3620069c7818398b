"""Chooses the one runtime and the variants that go into a bundle, and says why.

It decides from values alone: what passed, how big it is, how fast boxes in the field reported
it to be. It is not aware of files or of how anything was measured. Used by the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edgepack.build.artifacts import ConvertedVariant, Quality
from edgepack.formats.variants import RuntimeName


class Verdict(StrEnum):
    """What became of one variant on one runtime of one target."""

    CHOSEN = "chosen"
    PASSED = "passed"
    NOT_CONVERTED = "not converted"
    REFUSED = "refused"
    FAILS_ON_HOST = "fails on this host"
    FAILS_GATE = "fails the gate"
    FAILS_ON_TARGET = "fails on target"
    NOT_RUN = "not run"

    @property
    def may_ship(self) -> bool:
        """Whether a variant with this verdict can be in a bundle."""
        return self in (Verdict.CHOSEN, Verdict.PASSED)


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One row of the build's table.

    Attributes:
        target: The target's name.
        runtime: The runtime that would run it.
        runtime_version: Its version.
        variant: The converted file, or why there is none.
        verdict: What became of it.
        reason: Why, in words; for a passed one what it lost to.
        quality: Its metrics; None where it was not measured.
        site_bytes: Unpacked bytes of what the runtime needs beside the model.
        preflight: The record of what was checked without running it.
        verification: The record of its run on the target.
    """

    target: str
    runtime: RuntimeName
    runtime_version: str
    variant: ConvertedVariant
    verdict: Verdict
    reason: str
    quality: Quality | None = None
    site_bytes: int = 0
    preflight: Mapping[str, Any] | None = None
    verification: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the row as `edgepack build --json` prints it."""
        return {
            "name": self.variant.spec.name,
            "target": self.target,
            "runtime": str(self.runtime),
            "runtime_version": self.runtime_version,
            "format": str(self.variant.spec.format),
            "precision": str(self.variant.spec.precision),
            "bytes": self.variant.size_bytes,
            "sha256": self.variant.sha256,
            "quality": self.quality.to_json() if self.quality else None,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "notes": self.variant.notes,
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """What goes into a bundle: the rows in order of preference, all of one runtime."""

    rows: tuple[VariantRow, ...]
    reason: str


def choose(
    rows: Sequence[VariantRow],
    *,
    candidates: int = 1,
    field_latency_ns: Mapping[tuple[RuntimeName, str], float] | None = None,
) -> Choice | None:
    """Picks a bundle's runtime and variants.

    Of the rows that passed the gate and ran on the target, the one with the lowest latency in
    field reports wins; where there are no reports, the one that makes the smallest bundle.

    Args:
        rows: One target's rows.
        candidates: The most variants to pack; more than one lets the box measure them.
        field_latency_ns: Trusted p50 in nanoseconds by (runtime, variant name), or None.

    Returns:
        The choice, or None when no row may ship.
    """
    able = [row for row in rows if row.verdict.may_ship or row.verdict is Verdict.NOT_RUN]
    if not able:
        return None
    latency = field_latency_ns or {}
    measured = [row for row in able if _key(row) in latency]
    if measured:
        ranked = sorted(measured, key=lambda row: (latency[_key(row)], *_size_order(row)))
        best = ranked[0]
        why = (
            f"the lowest field latency, {latency[_key(best)] / 1000:.0f} µs, of "
            f"{len(measured)} with reports from this kind of box"
        )
    else:
        ranked = sorted(able, key=_size_order)
        best = ranked[0]
        why = _smallest_of(best, able)
    same_runtime = [row for row in ranked if row.runtime is best.runtime][:candidates]
    if len(same_runtime) > 1:
        why += f"; {len(same_runtime)} candidates are packed for the box to measure"
    return Choice(tuple(same_runtime), why)


def _smallest_of(best: VariantRow, able: Sequence[VariantRow]) -> str:
    ran = "passed the gate and ran on the target"
    if best.verdict is Verdict.NOT_RUN:
        ran = "passed the gate; none was run on the target"
    if len(able) == 1:
        return f"the only one that {ran}"
    return f"the smallest of {len(able)} that {ran}; no field reports for this target yet"


def _key(row: VariantRow) -> tuple[RuntimeName, str]:
    return row.runtime, row.variant.spec.name


def _size_order(row: VariantRow) -> tuple[int, str]:
    # The name only settles ties, so that two builds choose the same.
    return row.site_bytes + row.variant.size_bytes, row.variant.spec.name
