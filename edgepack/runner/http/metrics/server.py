"""What the server counts and knows, as plain numbers; `/metrics` writes them out.

`prometheus_client` takes 3 MB and 30 ms to import, so it is imported at the first scrape: a box
that nobody scrapes does without. It is not aware of HTTP. Used by `app` and by the routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edgepack.runner.drift.counters import DriftCounters
from edgepack.runner.health import StateHealth
from edgepack.runner.http.metrics.models import ModelLabels, ModelMetrics
from edgepack.runner.live.model import LiveModel
from edgepack.runner.live.models import LiveModels
from edgepack.runner.reports.sender import SenderState

if TYPE_CHECKING:
    from edgepack.runner.http.metrics.exposition import Exposition


class Metrics:
    """The server's metrics.

    Attributes:
        requests: Answered requests by route and status.
        reloads: Reloads by outcome.
        connections: Open connections.
        pending: Requests that wait for the model.
        ready: Whether the release is verified and served.
        state: How the state folder is; None where there is none.
        models: What happened at each model that is or was served.
        served: The models in service.
        drift: Tells the drift counters; None where nothing is counted.
        reports: Tells how the reports are; None where none are sent.
    """

    def __init__(self, served: LiveModels) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.reloads: dict[str, int] = {}
        self.connections = 0
        self.pending = 0
        self.ready = False
        self.state: StateHealth | None = None
        self.models: dict[ModelLabels, ModelMetrics] = {}
        self.served = served
        self.drift: Callable[[], DriftCounters | None] = lambda: None
        self.reports: Callable[[], SenderState] | None = None
        self._by_live: dict[int, ModelMetrics] = {}
        self._exposition: Exposition | None = None
        for _, live in served.all():
            self.enter(live)

    def enter(self, live: LiveModel) -> None:
        """Begins to count for a live model; its metrics are there from now on."""
        self._by_live[id(live)] = self._labelled(live)

    def leave(self, live: LiveModel) -> None:
        """Ends to count for a live model; what was counted stays."""
        self._by_live.pop(id(live), None)

    def of(self, live: LiveModel) -> ModelMetrics:
        """Returns a live model's metrics; one that has left counts with its namesakes."""
        return self._by_live.get(id(live)) or self._labelled(live)

    def count_request(self, route: str, status: int) -> None:
        """Counts an answered request; only the event loop does.

        Args:
            route: From the server's own table.
            status: The HTTP status.
        """
        counts = self.requests
        counts[route, status] = counts.get((route, status), 0) + 1

    def count_reload(self, outcome: str) -> None:
        """Counts a reload by its outcome."""
        self.reloads[outcome] = self.reloads.get(outcome, 0) + 1

    def exposition(self) -> tuple[bytes, str]:
        """Returns what Prometheus reads and its content type; may take milliseconds."""
        from edgepack.runner.http.metrics.exposition import Exposition

        if self._exposition is None:
            self._exposition = Exposition(self)
        return self._exposition.write()

    def _labelled(self, live: LiveModel) -> ModelMetrics:
        return self.models.setdefault(ModelLabels.of(live), ModelMetrics())
