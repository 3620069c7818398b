"""Puts the newest runs of boxes into groups, in which each box counts once.

It is not aware of the store. Used by the comparison, the choice and the release's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from edgepack.hub.answers.rows import StandingRow

_Key = TypeVar("_Key", bound=Hashable)


def newest_by_box(
    rows: Iterable[StandingRow], key: Callable[[StandingRow], _Key | None]
) -> dict[_Key, dict[int, StandingRow]]:
    """Groups newest runs and keeps one a box.

    Args:
        rows: Of any setups, contexts and trust.
        key: The group of a row; None leaves the row out.

    Returns:
        For each group the newest row of each box, by the box's row id.
    """
    groups: dict[_Key, dict[int, StandingRow]] = {}
    for row in rows:
        group = key(row)
        if group is None:
            continue
        boxes = groups.setdefault(group, {})
        kept = boxes.get(row.device_id)
        # The setup settles runs of the same moment, so that the answer is always the same.
        if kept is None or (row.created_ms, row.setup_id) > (kept.created_ms, kept.setup_id):
            boxes[row.device_id] = row
    return groups


def known(values: Iterable[int | None]) -> list[int]:
    """Returns the values that were measured."""
    return [each for each in values if each is not None]
