"""Says in sentences what an explanation comes to. Pure functions.

Used by `gather`; the table and the page show the sentences as they are.
"""

from __future__ import annotations

from edgepack.build.explain.damage import Damage
from edgepack.build.explain.explanation import Explanation, LayerRow

#: Layers that get a sentence of their own.
_NAMED = 3
#: More of a tensor's values beyond its grid are worth a sentence.
_SATURATED = 0.001


def conclusions(found: Explanation, *, whole_found: bool) -> list[str]:
    """Returns what a person should know, most important first.

    Args:
        found: The explanation.
        whole_found: Whether all quantised layers put together answer as the variant does.
    """
    words = [_whole(found)]
    certain = [row for row in found.layers if row.alone and _is_certain(row.alone)]
    words += [_layer(row, found) for row in certain[:_NAMED]]
    measured = [row for row in found.layers if row.alone]
    if measured and not certain and found.whole.lost > 0:
        words.append(
            "No layer by itself costs more than the uncertainty of the measurement: the loss is "
            "spread over all of them."
        )
    words += _kept(found)
    words += _tensors(found)
    words += _time(found)
    words += _gaps(found, whole_found=whole_found)
    return words


def cost(damage: Damage, *, ranks: bool) -> str:
    """Says what a damage is, such as `0.021 of overlap@10`."""
    if ranks:
        return f"{damage.lost:.3f} of overlap@10"
    return f"{damage.lost:.2%} of the output's range on average"


def _whole(found: Explanation) -> str:
    ranks = found.kind == "recommender"
    text = f"{found.variant} as a whole costs {cost(found.whole, ranks=ranks)}"
    return f"{text}{_first(found.whole, ranks=ranks)}, on {found.rows} held-out inputs."


def _first(damage: Damage, *, ranks: bool) -> str:
    if damage.first_changed is None:
        return ""
    what = "the best item" if ranks else "the largest element"
    return f" and changes {what} of {damage.first_changed:.1%}"


def _layer(row: LayerRow, found: Explanation) -> str:
    if row.alone is None:
        raise AssertionError("only measured layers are named")
    ranks = found.kind == "recommender"
    text = f"`{row.name}` alone costs {cost(row.alone, ranks=ranks)}"
    text += _first(row.alone, ranks=ranks)
    if row.growth_bytes is None:
        return f"{text}."
    return f"{text}; kept in float the file {growth(row.growth_bytes)}{_gain(row, found)}."


def growth(size_bytes: int) -> str:
    """Says what a file's size does, such as `grows by 4.1 kB`."""
    verb = "grows" if size_bytes >= 0 else "shrinks"
    size = abs(size_bytes)
    return f"{verb} by {size / 1000:.1f} kB" if size >= 1000 else f"{verb} by {size} bytes"  # noqa: PLR2004 - a kB


def _gain(row: LayerRow, found: Explanation) -> str:
    if row.without is None:
        return ""
    gained = found.whole.lost - row.without.lost
    if gained <= 0 or found.whole.lost <= 0:
        return " and nothing is won back"
    return f" and {min(gained / found.whole.lost, 1.0):.0%} of the loss is won back"


def _kept(found: Explanation) -> list[str]:
    """Names the layer whose return to float helps most, where it is another than the worst."""
    rows = [row for row in found.layers if row.without and row.alone]
    if not rows:
        return []
    best = min(rows, key=lambda row: row.without.lost if row.without else 0.0)
    gained = found.whole.lost - (best.without.lost if best.without else 0.0)
    if best is rows[0] or gained <= found.whole.lost_error or best.growth_bytes is None:
        return []
    return [
        f"To keep one layer in float, `{best.name}` helps most: "
        f"{gained / found.whole.lost:.0%} of the loss is won back and the file "
        f"{growth(best.growth_bytes)}."
    ]


def _tensors(found: Explanation) -> list[str]:
    words = []
    gridded = [each for each in found.tensors if each.figures.own_sqnr_db is not None]
    if gridded:
        worst = min(gridded, key=lambda each: each.figures.own_sqnr_db or 0.0)
        figures = worst.figures
        words.append(
            f"`{worst.name}` ({worst.role} of `{worst.layer}`) loses most by its own rounding: "
            f"{figures.own_sqnr_db:.1f} dB, with {figures.levels} of "
            f"{figures.levels_possible} levels used."
        )
    cut = [each for each in gridded if (each.figures.saturated or 0.0) > _SATURATED]
    if cut:
        most = max(cut, key=lambda each: each.figures.saturated or 0.0)
        words.append(
            f"{len(cut)} tensor{'s' if len(cut) > 1 else ''} cut off values beyond the calibrated "
            f"range, most `{most.name}`: {most.figures.saturated:.2%} of them."
        )
    return words


def _time(found: Explanation) -> list[str]:
    timed = [row for row in found.layers if row.time is not None]
    if found.time is None or not timed:
        return []
    longest = max(timed, key=lambda row: row.time.ns if row.time else 0.0)
    if longest.time is None:
        raise AssertionError("a timed layer has a time")
    call = found.time.call.ns
    return [
        f"`{longest.name}` takes longest: {longest.time.ns / 1000:.1f} of {call / 1000:.1f} µs a "
        f"call ({max(longest.time.ns, 0.0) / call:.0%}), measured on {found.time.machine}; another "
        "processor divides its time otherwise."
    ]


def _gaps(found: Explanation, *, whole_found: bool) -> list[str]:
    words = []
    if found.left_out:
        words.append(
            f"{found.left_out} quantised layer{'s were' if found.left_out > 1 else ' was'} not "
            "measured: the time was over; --seconds allows more, and what was measured is kept."
        )
    failed = [row for row in found.layers if row.quantised and row.reason]
    if failed:
        words.append(f"{len(failed)} could not be measured; the first because {failed[0].reason}.")
    if found.unmatched:
        words.append(
            f"{found.unmatched} operators of the fp32 graph have another form in the variant and "
            "could not be compared."
        )
    if not whole_found:
        words.append(
            "All layers put together do not answer as the variant does: part of its loss is in "
            "none of them."
        )
    return words


def _is_certain(damage: Damage) -> bool:
    return damage.lost > 0 and damage.lost > damage.lost_error
