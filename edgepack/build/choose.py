"""Chooses the one runtime and the variants that go into a bundle, and says why.

It decides from values alone: what passed, how big it is, how fast boxes in the field reported
it to be. It is not aware of files or of how anything was measured. Used by the pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from edgepack.build.artifacts import ConvertedVariant, Gate, Quality
from edgepack.build.quality import check_gate
from edgepack.formats.errors import ConfigError
from edgepack.formats.evidence import Evidence, Pick
from edgepack.formats.options import EngineOptions
from edgepack.formats.tuning import TunedCell, Tuning
from edgepack.formats.variants import Precision, RuntimeName

#: What a box hardly sees: the share of a bundle's unpacked bytes that a closer ranking may cost.
_HARDLY_LARGER: Final = 0.02
#: A ranking that is nearly fp32's: above the gate, which says what may ship at all.
_NEAR_FP32: Final = Gate(ndcg_ratio=0.995, overlap=0.98, top1_same=0.97)
_FLOATS: Final = (Precision.FP32, Precision.FP16)


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
    """What goes into a bundle: the rows in order of preference, all of one runtime.

    `options` says by variant how it is best opened, where tuning has found that out.
    """

    rows: tuple[VariantRow, ...]
    reason: str
    options: Mapping[str, EngineOptions] = field(default_factory=dict)


def choose(
    rows: Sequence[VariantRow],
    *,
    candidates: int = 1,
    evidence: Evidence | None = None,
) -> Choice | None:
    """Picks a bundle's runtime and variants.

    Of the rows that passed the gate and ran on the target, the one with the lowest trusted latency
    in field reports wins. Of those that the field cannot tell apart from it, and where there are
    no reports, the one that makes the smallest bundle; without reports one that ranks nearly like
    fp32 goes before a smaller one that only passed the gate, where a box hardly sees the bytes.

    Args:
        rows: One target's rows.
        candidates: The most variants to pack; more than one lets the box measure them.
        evidence: What the field says for this target and model, or None.

    Returns:
        The choice, or None when no row may ship.
    """
    able = [row for row in rows if row.verdict.may_ship or row.verdict is Verdict.NOT_RUN]
    if not able:
        return None
    # What the field has not measured comes after what it has: a box that gets several
    # candidates measures them, and so the next build knows.
    ranked = sorted(able, key=_size_order)
    picks = _picks(able, evidence)
    if picks:
        measured = [row for row in ranked if _key(row) in picks]
        best, why = _fastest_of(measured, picks)
        by_latency = sorted(measured, key=lambda row: picks[_key(row)].relative)
        unknown = [row for row in ranked if _key(row) not in picks]
        ranked = [best, *(row for row in by_latency if row is not best), *unknown]
        if evidence is not None and not evidence.settled:
            why += "; more reports may still change that (`edgepack select` says which)"
    else:
        best = _smallest_near_fp32(ranked)
        why = _smallest_of(best, able, asked=evidence is not None)
        if best is not ranked[0]:
            why = f"ranks nearly like fp32, hardly larger than {_words(ranked[0])}, {why}"
            ranked = [best, *(row for row in ranked if row is not best)]
    same_runtime = [row for row in ranked if row.runtime is best.runtime][:candidates]
    if len(same_runtime) > 1:
        why += f"; {len(same_runtime)} candidates are packed for the box to measure"
    return Choice(tuple(same_runtime), why)


def choose_tuned(rows: Sequence[VariantRow], tuning: Tuning, *, candidates: int = 1) -> Choice:
    """Picks what `edgepack tune` chose, and behind it what it found next fastest.

    Args:
        rows: One target's rows.
        tuning: What was found for this target and model; machines that chose differently cannot
            decide.
        candidates: The most variants to pack, all of the chosen one's runtime.

    Raises:
        ConfigError: No machine chose anything, they disagree, or the chosen file is not among
            those that may ship now.
    """
    chosen = _agreed(tuning)
    able = {
        _key(row): row for row in rows if row.verdict.may_ship or row.verdict is Verdict.NOT_RUN
    }
    best = able.get((chosen.runtime, chosen.variant))
    if best is None or best.variant.sha256 != chosen.sha256:
        now = "another file now" if best is not None else "not among those that may ship now"
        raise ConfigError(
            f"--tuned: {chosen.variant} on {chosen.runtime} was chosen, and it is {now}",
            hint="run `edgepack tune` again, or leave --tuned out",
        )
    options: dict[str, EngineOptions] = {best.variant.spec.name: chosen.options}
    order = [best]
    for cell in tuning.machines[0].cells:
        row = able.get((cell.runtime, cell.variant))
        # The rows of a ranking begin with the fastest, so a variant's first has its best options.
        known = row is not None and row.variant.sha256 == cell.sha256 and cell.problem is None
        if row is not None and known and cell.runtime is best.runtime and row not in order:
            order.append(row)
            options[cell.variant] = cell.options
    packed = order[:candidates]
    device = tuning.machines[0].machine.device
    where = device.board or device.cpu_model or "one machine"
    if len(tuning.machines) > 1:
        where = f"{len(tuning.machines)} machines that agree"
    reason = f"tuned on {where} ({chosen.options}): {tuning.machines[0].reason}"
    if len(packed) > 1:
        reason += f"; {len(packed)} candidates are packed for the box to measure"
    kept = {row.variant.spec.name: options[row.variant.spec.name] for row in packed}
    return Choice(tuple(packed), reason, kept)


def _agreed(tuning: Tuning) -> TunedCell:
    """Returns what every machine chose."""
    chosen = [each.choice for each in tuning.machines]
    first = chosen[0] if chosen else None
    if first is None or None in chosen:
        raise ConfigError("--tuned: there is a machine on which nothing could be chosen")
    ways = {(cell.runtime, cell.variant, str(cell.options)) for cell in chosen if cell is not None}
    if len(ways) > 1:
        lines = "".join(
            f"\n  {each.machine.device.cpu_model or each.machine.key}: {each.choice.label}"
            for each in tuning.machines
            if each.choice is not None
        )
        raise ConfigError(
            f"--tuned: its {len(tuning.machines)} machines chose differently{lines}",
            hint="tune on the one kind of box that the bundle is for, or pack several candidates "
            "(--candidates) and let each box choose",
        )
    return first


def _picks(
    able: Sequence[VariantRow], evidence: Evidence | None
) -> dict[tuple[RuntimeName, str], Pick]:
    """Returns what the field says of the rows that may ship."""
    if evidence is None:
        return {}
    keys = {(str(runtime), variant): (runtime, variant) for runtime, variant in map(_key, able)}
    return {
        keys[each.runtime, each.variant]: each
        for each in evidence.picks
        if (each.runtime, each.variant) in keys
    }


def _fastest_of(
    measured: Sequence[VariantRow], picks: Mapping[tuple[RuntimeName, str], Pick]
) -> tuple[VariantRow, str]:
    """Picks the fastest, or the smallest of those that cannot be told apart from it.

    Args:
        measured: The rows with evidence, the smallest first.
        picks: The evidence of each.
    """
    # What is known on more kinds of boxes comes first: the rest is a guess for these.
    most = max(pick.kinds for pick in picks.values())
    known = [row for row in measured if picks[_key(row)].kinds == most]
    fastest = min(known, key=lambda row: picks[_key(row)].relative)
    limit = picks[_key(fastest)].high
    tied = [row for row in known if row is not fastest and picks[_key(row)].low <= limit]
    best = min((fastest, *tied), key=_size_order)
    pick = picks[_key(best)]
    latency = f"{pick.p50_ns / 1000:.0f} µs on {_boxes(pick.boxes)}"
    of = f"{len(measured)} with reports that count from this kind of box"
    if len(measured) == 1:
        of = "the only one with reports that count from this kind of box"
    if best is fastest and not tied:
        lowest = f"the lowest field latency, {latency}"
        return best, f"{lowest}, {of}" if len(measured) == 1 else f"{lowest}, of {of}"
    others = ", ".join(_words(row) for row in (fastest, *tied) if row is not best)
    return best, (
        f"field latency {latency}, which cannot be told apart from that of {others}; "
        "the smallest of these"
    )


def _smallest_near_fp32(ranked: Sequence[VariantRow]) -> VariantRow:
    """Picks the smallest, or one hardly larger that ranks nearly like fp32 where it does not.

    One in float is no candidate: with 10,000 items it takes four times as long as one in int8.

    Args:
        ranked: The rows, the smallest first.
    """
    limit = (1 + _HARDLY_LARGER) * _size_order(ranked[0])[0]
    for row in ranked:
        small = _size_order(row)[0] <= limit and row.variant.spec.precision not in _FLOATS
        if small and _is_near_fp32(row.quality):
            return row
    return ranked[0]


def _is_near_fp32(quality: Quality | None) -> bool:
    if quality is None or quality.overlap is None:
        return False
    return not check_gate(quality, _NEAR_FP32)


def _smallest_of(best: VariantRow, able: Sequence[VariantRow], *, asked: bool) -> str:
    ran = "passed the gate and ran on the target"
    if best.verdict is Verdict.NOT_RUN:
        ran = "passed the gate; none was run on the target"
    if len(able) == 1:
        return f"the only one that {ran}"
    reports = "no field reports that count of any of them yet"
    if not asked:
        reports = "no field reports for this target yet"
    return f"the smallest of {len(able)} that {ran}; {reports}"


def _words(row: VariantRow) -> str:
    return f"{row.variant.spec.name} on {row.runtime}"


def _boxes(count: int) -> str:
    return "1 box" if count == 1 else f"{count} boxes"


def _key(row: VariantRow) -> tuple[RuntimeName, str]:
    return row.runtime, row.variant.spec.name


def _size_order(row: VariantRow) -> tuple[int, str]:
    # The name only settles ties, so that two builds choose the same.
    return row.site_bytes + row.variant.size_bytes, row.variant.spec.name
