"""Judges the variants of a model for one target: preflight, gate, run on the target.

Cheap verdicts come first, and only what passed them is run. It is not aware of how a bundle is
packed. Used by the pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from edgepack.build.artifacts import Progress, TrainedModel
from edgepack.build.choose import VariantRow, Verdict
from edgepack.build.emulate import VerifyStatus
from edgepack.build.pipeline.assemble import assemble
from edgepack.build.pipeline.prove import Prover
from edgepack.build.pipeline.variants import MeasuredVariant
from edgepack.build.preflight import preflight, preflight_record
from edgepack.build.quality import check_gate
from edgepack.build.targets import LockedWheel, Runtime, Site, Target
from edgepack.formats.variants import runtime_format

_VERDICTS = {
    VerifyStatus.RUNS: Verdict.PASSED,
    VerifyStatus.FAILED: Verdict.FAILS_ON_TARGET,
    VerifyStatus.NOT_RUN: Verdict.NOT_RUN,
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One runtime of a target with everything it needs to run a variant.

    Attributes:
        target: The kind of box.
        runtime: One of its runtimes.
        site: The runtime's unpacked wheels.
        wheels: The same as they are pinned.
    """

    target: Target
    runtime: Runtime
    site: Site
    wheels: tuple[LockedWheel, ...]


def judge(
    model: TrainedModel,
    benches: Sequence[Bench],
    measured: Sequence[MeasuredVariant],
    prover: Prover,
    jobs: int,
    progress: Progress,
) -> list[VariantRow]:
    """Gives every variant its verdict on every runtime of one target.

    Args:
        model: The model.
        benches: The target's runtimes.
        measured: The variants, converted and measured.
        prover: Runs a release on the target.
        jobs: Runs at a time.
        progress: Told of each run.

    Returns:
        A row for each runtime and variant of its format that the target allows.
    """
    rows = [
        (bench, each, _without_running(model, bench, each))
        for bench in benches
        for each in measured
        if each.variant.spec.format is runtime_format(bench.runtime.name)
        and each.variant.spec in bench.target.variants
    ]
    open_rows = sum(row.verdict is Verdict.PASSED for _, _, row in rows)
    task = f"Running on {benches[0].target.name}"
    progress.start(task, open_rows)

    def finish(entry: tuple[Bench, MeasuredVariant, VariantRow]) -> VariantRow:
        bench, each, row = entry
        if row.verdict is not Verdict.PASSED:
            return row
        proved = _run(model, bench, each, row, prover)
        progress.advance(task)
        return proved

    with ThreadPoolExecutor(jobs) as pool:
        judged = list(pool.map(finish, rows))
    progress.finish(task)
    return judged


def _without_running(model: TrainedModel, bench: Bench, each: MeasuredVariant) -> VariantRow:
    """Gives the verdict as far as it can be known without the target."""
    row = VariantRow(
        target=bench.target.name,
        runtime=bench.runtime.name,
        runtime_version=bench.runtime.version,
        variant=each.variant,
        verdict=Verdict.PASSED,
        reason="",
        quality=each.quality,
        site_bytes=bench.site.size_bytes,
    )
    if each.variant.failure is not None:
        return replace(row, verdict=Verdict.NOT_CONVERTED, reason=each.variant.failure)
    problems = preflight(bench.target, bench.runtime, each.variant, bench.wheels)
    record = preflight_record(bench.target, bench.runtime, each.variant, bench.wheels)
    row = replace(row, preflight=record)
    if problems:
        reason = "; ".join(str(problem) for problem in problems)
        return replace(row, verdict=Verdict.REFUSED, reason=reason)
    if each.quality is None:
        return replace(row, verdict=Verdict.FAILS_ON_HOST, reason=each.failure or "")
    if missed := check_gate(each.quality, model.gate):
        return replace(row, verdict=Verdict.FAILS_GATE, reason="; ".join(missed))
    return row


def _run(
    model: TrainedModel, bench: Bench, each: MeasuredVariant, row: VariantRow, prover: Prover
) -> VariantRow:
    if each.golden is None:
        raise AssertionError(f"{row.variant.spec.name} was measured without golden answers")
    golden = {row.variant.spec.name: each.golden}
    release = assemble(model, bench.target, bench.runtime, bench.site, [row], golden, "being tried")
    proof = prover.prove(bench.target, bench.runtime, bench.site, release)
    notes = (row.preflight or {}).get("notes", [])
    reason = "; ".join((proof.reason, *notes))
    return replace(
        row,
        verdict=_VERDICTS[proof.status],
        reason=each.variant.explained(reason),
        verification=proof.to_json(),
    )
