"""The gate: what a variant must keep of the original to be shipped. Values only."""

from __future__ import annotations

from edgepack.build.artifacts import Gate, Quality


def check_gate(quality: Quality, gate: Gate) -> list[str]:
    """Holds a variant's quality against the gate.

    Args:
        quality: What was measured.
        gate: The limits; those for the other kind of model do not apply.

    Returns:
        One sentence for each limit that is missed: metric, measured, limit.
    """
    lowest = (
        ("NDCG@10 of fp32", quality.ndcg_ratio, gate.ndcg_ratio),
        ("overlap@10", quality.overlap, gate.overlap),
        ("same top-1", quality.top1_same, gate.top1_same),
        ("same class", quality.argmax_same, gate.argmax_same),
    )
    missed = [
        f"{name} {measured:.3f}, at least {limit:g} is needed"
        for name, measured, limit in lowest
        if measured is not None and limit is not None and not measured >= limit
    ]
    if quality.overlap is not None:
        # A ranking is judged by its order; its scores have no scale of their own.
        return missed
    highest = [("largest error", quality.max_abs_err, gate.max_abs_err)]
    if quality.argmax_same is None:
        highest.append(("largest error as a share of the range", quality.range_err, gate.range_err))
    missed += [
        f"{name} {measured:.3g}, at most {limit:g} is allowed"
        for name, measured, limit in highest
        if measured is not None and limit is not None and not measured <= limit
    ]
    return missed
