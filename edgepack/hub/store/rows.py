"""What the tables keep of a report, before its rows have keys.

It is not aware of how the values were found. Made by `edgepack.hub.intake.extract`, written by
`recording`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RunRows:
    """One scenario: its context, and the values for `run` and `standing` without their keys."""

    context: Mapping[str, Any]
    trust: str
    run: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Extracted:
    """What the tables keep of a report, by column; keys of other rows are filled in later.

    Attributes:
        report: A row of `report` without `device_id` and `setup_id`.
        release: A row of `release`.
        setup: A row of `setup` without `release_id`.
        runs: One for each run that has a distribution.
        device: What `device` keeps of its last report.
    """

    report: Mapping[str, Any]
    release: Mapping[str, Any]
    setup: Mapping[str, Any]
    runs: tuple[RunRows, ...]
    device: Mapping[str, Any]

    @property
    def created_ms(self) -> int:
        """When it was measured, or received where the box's clock cannot be believed."""
        return int(self.report["created_ms"])
