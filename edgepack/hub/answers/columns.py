"""Newest runs as columns: a release or a choice looks at a hundred thousand of them.

As rows of Python's own each of them costs a microsecond at every step; as columns all of them
take some milliseconds. It is not aware of the store. Used by the release's answer, the choice
and what reads the store for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepack.hub.answers.rows import StandingRow
from edgepack.hub.answers.trust import Standing

Whole = NDArray[np.int64]

#: What stands for a duration that was not measured; the measured ones are 0 or more.
MISSING: Final = -1
#: The numbers in the column of trust.
TRUSTS: Final = tuple(Standing)


@dataclass(frozen=True, slots=True)
class StandingColumns:
    """The newest runs of boxes, each `int64[rows]`, in the fields of a `StandingRow`.

    `trust` is a place in `TRUSTS`; a duration that was not measured is `MISSING`.
    """

    device_id: Whole
    setup_id: Whole
    context_id: Whole
    trust: Whole
    created_ms: Whole
    p50_ns: Whole
    p99_ns: Whole
    ready_ns: Whole

    @classmethod
    def of(cls, rows: Iterable[StandingRow]) -> StandingColumns:
        """Puts rows into columns, in their order."""
        return cls.from_tuples(
            (
                row.device_id,
                row.setup_id,
                row.context_id,
                TRUSTS.index(Standing(row.trust)),
                row.created_ms,
                *(MISSING if each is None else each for each in (row.p50_ns, row.p99_ns)),
                MISSING if row.ready_ns is None else row.ready_ns,
            )
            for row in rows
        )

    @classmethod
    def from_tuples(cls, rows: Iterable[tuple[int, ...]]) -> StandingColumns:
        """Puts tuples of whole numbers, in the order of the fields, into columns."""
        flat = np.fromiter(itertools.chain.from_iterable(rows), dtype=np.int64)
        return cls(*np.ascontiguousarray(flat.reshape(-1, len(cls.__dataclass_fields__)).T))

    def __len__(self) -> int:
        return len(self.device_id)

    def taken(self, kept: NDArray[np.bool_] | Whole | slice) -> StandingColumns:
        """Returns the rows of a mask, of places in their order, or of a slice."""
        names = self.__dataclass_fields__
        return StandingColumns(**{name: getattr(self, name)[kept] for name in names})


def numbers_of(ids: Whole, numbers: Mapping[int, int]) -> Whole:
    """Looks up a number for each id.

    Args:
        ids: `int64[rows]`.
        numbers: Numbers of at least 0 by id.

    Returns:
        `int64[rows]`; -1 for an id that has none.
    """
    if not numbers:
        return np.full(len(ids), -1, dtype=np.int64)
    known = np.array(sorted(numbers), dtype=np.int64)
    found = np.array([numbers[each] for each in known.tolist()], dtype=np.int64)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[at] == ids, found[at], -1)


def newest_by_group(columns: StandingColumns, group: Whole) -> tuple[StandingColumns, Whole]:
    """Keeps the newest run of each box in each group, so that a box counts once in it.

    Args:
        columns: The runs.
        group: `int64[rows]`, the number of each run's group; a run below 0 is left out.

    Returns:
        The runs that are kept, by group and then by box, and the group of each. Of runs of the
        same moment that of the later setup is kept, and of the same setup the first.
    """
    inside = np.flatnonzero(group >= 0)
    # Sorting keeps the order among equals and the last of a group is taken: the other way round
    # it is the first.
    inside = inside[::-1]
    group = group[inside]
    device = columns.device_id[inside]
    key = group * (int(device.max(initial=0)) + 1) + device
    order = np.lexsort((columns.setup_id[inside], columns.created_ms[inside], key))
    ordered = key[order]
    last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    kept = order[last]
    return columns.taken(inside[kept]), group[kept]
