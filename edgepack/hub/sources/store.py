"""Asks a store in this process. Used by `opening`, and by the pages' own report file."""

from __future__ import annotations

from sqlalchemy import Engine

from edgepack.formats.errors import HubError, did_you_mean
from edgepack.formats.evidence import Evidence
from edgepack.hub import asking
from edgepack.hub.answers.compare import CompareAnswer, CompareQuery
from edgepack.hub.answers.device import DeviceAnswer
from edgepack.hub.answers.fleet import FleetAnswer, FleetQuery
from edgepack.hub.answers.releases import ReleaseAnswer, ReleasesAnswer
from edgepack.hub.answers.selecting import SelectAnswer, SelectQuery
from edgepack.hub.answers.sheet import Sheet, sheet_of
from edgepack.hub.store.reading.devices import device_names


class StoreSource:
    """A store as a source; its `…_answer` methods give the whole answers, for charts."""

    def __init__(self, engine: Engine, *, name: str, now_ms: int) -> None:
        """Makes a source.

        Args:
            engine: A store at today's tables.
            name: What it is called in answers.
            now_ms: When it is asked.
        """
        self._engine = engine
        self._now_ms = now_ms
        self._name = name

    @property
    def name(self) -> str:
        """The file or address, without secrets."""
        return self._name

    def fleet_answer(self, query: FleetQuery) -> FleetAnswer:
        """Answers with a page of the fleet."""
        with self._engine.connect() as connection:
            return asking.fleet(connection, query, now_ms=self._now_ms)

    def device_answer(self, name: str, *, days: int | None) -> DeviceAnswer:
        """Answers with one box over time.

        Raises:
            HubError: There is no such box.
        """
        with self._engine.connect() as connection:
            found = asking.device(connection, name, now_ms=self._now_ms, days=days)
            if found is None:
                close = did_you_mean(name, device_names(connection))
                raise HubError(f"{self._name}: there is no device '{name}'{close}")
            return found

    def compare_answer(self, query: CompareQuery) -> CompareAnswer:
        """Compares setups, or says why not."""
        with self._engine.connect() as connection:
            return asking.compare(connection, query)

    def releases_answer(self, *, model: str | None, target: str | None) -> ReleasesAnswer:
        """Lists releases."""
        with self._engine.connect() as connection:
            return asking.releases(connection, model=model, target=target)

    def release_answer(self, bundle_id: str, *, before: str | None) -> ReleaseAnswer:
        """Compares a release with an earlier one.

        Raises:
            HubError: One of the two is unknown, or both are the same.
        """
        with self._engine.connect() as connection:
            found = asking.release(connection, bundle_id, before=before)
        if found is None:
            against = f", or none other that begins with '{before}'" if before else ""
            raise HubError(
                f"{self._name}: there is no one release that begins with '{bundle_id}'{against}",
                hint="`edgepack report releases` lists them",
            )
        return found

    def select_answer(self, query: SelectQuery) -> SelectAnswer:
        """Ranks the variants for a target."""
        with self._engine.connect() as connection:
            return asking.select(connection, query, now_ms=self._now_ms, source=self._name)

    def fleet(self, query: FleetQuery) -> Sheet:
        """Answers with a page of the fleet."""
        return sheet_of(self.fleet_answer(query))

    def device(self, name: str, *, days: int | None) -> Sheet:
        """Answers with one box over time."""
        return sheet_of(self.device_answer(name, days=days))

    def document(self, name: str, report_id: str) -> bytes:
        """Returns a report as the box sent it.

        Raises:
            HubError: It is not or no longer there, or damaged.
        """
        with self._engine.connect() as connection:
            found = asking.document(connection, name, report_id)
        if found is None:
            raise HubError(f"{self._name}: no document of report {report_id} of '{name}'")
        return found

    def compare(self, query: CompareQuery) -> Sheet:
        """Compares setups, or says why not."""
        return sheet_of(self.compare_answer(query))

    def releases(self, *, model: str | None, target: str | None) -> Sheet:
        """Lists releases."""
        return sheet_of(self.releases_answer(model=model, target=target))

    def release(self, bundle_id: str, *, before: str | None) -> Sheet:
        """Compares a release with an earlier one."""
        return sheet_of(self.release_answer(bundle_id, before=before))

    def select(self, query: SelectQuery) -> Evidence:
        """Ranks the variants for a target."""
        return self.select_answer(query).evidence

    def close(self) -> None:
        """Closes the store."""
        self._engine.dispose()
