"""Puts the newest runs of boxes into groups, in which each box counts once.

It is not aware of the store. Used by the comparison, the choice and the release's answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.answers.trust import Standing


def newest_by_box(
    rows: Iterable[StandingRow], places: Mapping[int, int]
) -> dict[tuple[Standing, int], dict[int, StandingRow]]:
    """Groups the newest runs of one context and keeps one a box.

    Args:
        rows: Of one context.
        places: The number of the group of each setup, by the setup's row id; rows of other setups
            are left out. Numbers, since tens of thousands of rows are looked up.

    Returns:
        By trust and group number the newest row of each box, by the box's row id.
    """
    groups: dict[tuple[str, int], dict[int, StandingRow]] = {}
    for row in rows:
        place = places.get(row.setup_id)
        if place is None:
            continue
        boxes = groups.setdefault((row.trust, place), {})
        kept = boxes.get(row.device_id)
        # The setup settles runs of the same moment, so that the answer is always the same.
        if kept is None or (row.created_ms, row.setup_id) > (kept.created_ms, kept.setup_id):
            boxes[row.device_id] = row
    return {(Standing(trust), place): boxes for (trust, place), boxes in groups.items()}


def known(values: Iterable[int | None]) -> list[int]:
    """Returns the values that were measured."""
    return [each for each in values if each is not None]
