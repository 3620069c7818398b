"""What every source of answers can be asked. Used by the modules beside it and the command line."""

from __future__ import annotations

from typing import Protocol

from edgepack.formats.evidence import Evidence
from edgepack.hub.answers.compare import CompareQuery
from edgepack.hub.answers.fleet import FleetQuery
from edgepack.hub.answers.selecting import SelectQuery
from edgepack.hub.answers.sheet import Sheet


class Source(Protocol):
    """Answers questions; `HubError` where it cannot or where there is no such thing."""

    @property
    def name(self) -> str:
        """The address or the file, without secrets."""

    def fleet(self, query: FleetQuery) -> Sheet:
        """Answers with a page of the fleet."""

    def device(self, name: str, *, days: int | None) -> Sheet:
        """Answers with one box over time."""

    def document(self, name: str, report_id: str) -> bytes:
        """Returns a report as the box sent it."""

    def compare(self, query: CompareQuery) -> Sheet:
        """Compares setups, or says why not."""

    def releases(self, *, model: str | None, target: str | None) -> Sheet:
        """Lists releases."""

    def release(self, bundle_id: str, *, before: str | None) -> Sheet:
        """Compares a release with an earlier one."""

    def select(self, query: SelectQuery) -> Evidence:
        """Ranks the variants for a target."""

    def close(self) -> None:
        """Gives back what it holds."""
