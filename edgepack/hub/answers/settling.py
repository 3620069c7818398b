"""Says which runs would settle a choice: how many boxes of what, and what to type.

It is not aware of the store. Used by the choice.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Final

from edgepack.formats.evidence import Candidate, KindOfBox, NeededRun, Status
from edgepack.hub.answers.ranking import ENOUGH_BOXES, is_open, is_tied, name_of
from edgepack.hub.answers.words import boxes as boxes_words

#: A difference that needs more boxes than this matters to nobody; it is called none.
MOST_BOXES: Final = 1000


def needed_runs(kind: KindOfBox, *, target: str, model: str) -> list[NeededRun]:
    """Finds the runs that would settle the first place on one kind of box.

    Args:
        kind: Its ranking.
        target: The target's name.
        model: The model's name.

    Returns:
        One for each variant that is open or cannot be told apart from the first.
    """
    ranked = [each for each in kind.candidates if each.status is Status.RANKED]
    needed = []
    for each in kind.candidates:
        count, reason = 0, ""
        if is_open(each):
            # A variant with boxes enough but too few with a p99 needs longer benchmarks of these.
            count = max(ENOUGH_BOXES - each.boxes, 1)
            reason = each.reason
        elif ranked and each is not ranked[0] and is_tied(each, ranked[0]):
            count = boxes_to_tell_apart(ranked[0], each)
            reason = f"cannot be told apart from {name_of(ranked[0])}"
        if 0 < count <= MOST_BOXES:
            commands = _commands(each, target=target, model=model)
            needed.append(NeededRun(kind.box, each.runtime, each.variant, count, reason, commands))
    return needed


def boxes_to_tell_apart(first: Candidate, other: Candidate) -> int:
    """Estimates how many more boxes would part two intervals that overlap.

    Args:
        first: The faster one.
        other: One whose interval overlaps.

    Returns:
        More boxes for `other`, 0 where the medians are equal; an estimate, since an interval
        shrinks with the square root of the boxes only on average.
    """
    values = (first.p50_ns, first.p50_high_ns, other.p50_ns, other.p50_low_ns)
    if None in values:
        return 0
    first_ns, first_high_ns, other_ns, other_low_ns = (float(each or 0) for each in values)
    gap = other_ns - first_ns
    if gap <= 0:
        return 0
    half_widths = (first_high_ns - first_ns) + (other_ns - other_low_ns)
    times = (half_widths / gap) ** 2
    return max(math.ceil(other.boxes * times) - other.boxes, 1)


def needed_words(needed: Sequence[NeededRun]) -> str:
    """Says the runs in one sentence; empty for none."""
    if not needed:
        return ""
    shown = 3  # a sentence, not a table
    parts = [f"{boxes_words(e.boxes)} ({e.box}) with {e.variant} on {e.runtime}" for e in needed]
    more = f" and {len(parts) - shown} more" if len(parts) > shown else ""
    return f"to settle it: {'; '.join(parts[:shown])}{more}"


def _commands(candidate: Candidate, *, target: str, model: str) -> tuple[str, ...]:
    # The names came from boxes, and people paste the commands.
    target, model, runtime, variant, bundle = map(
        shlex.quote,
        (target, model, candidate.runtime, candidate.variant, f"{model}-VERSION-{target}.pyz"),
    )
    return (
        f"edgepack build --target {target} --model {model} --runtime {runtime} --variant {variant}",
        f"python3 {bundle} install",
        "ROOT/bin/edgepack-runner bench --duration standard",
    )
