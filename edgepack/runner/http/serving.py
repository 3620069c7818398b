"""Puts the routes over the models in service.

It is not aware of sockets or of processes. Used by the daemon and, without either, by tests.
"""

from __future__ import annotations

from edgepack.runner.clock import Clock
from edgepack.runner.http.app import App
from edgepack.runner.http.auth import Guard
from edgepack.runner.http.metrics import Metrics
from edgepack.runner.http.operations import add_operation_routes
from edgepack.runner.http.recommend.routes import add_recommend_routes
from edgepack.runner.http.tensors.statistics import TensorStatistics
from edgepack.runner.http.tfs.routes import add_tfs_routes
from edgepack.runner.http.v2.routes import add_v2_routes
from edgepack.runner.live.models import LiveModels
from edgepack.runner.log import Log


def make_app(
    models: LiveModels,
    clock: Clock,
    log: Log,
    *,
    token: str | None = None,
    deadline_ns: int | None = None,
) -> App:
    """Makes the app of what is served.

    Args:
        models: What is served.
        clock: Times answers.
        log: Where the app writes.
        token: The bearer token that requests must carry; None: none.
        deadline_ns: For requests that name no deadline of their own; None: none.

    Returns:
        The app, ready to answer.
    """
    metrics = Metrics(models)
    guard = None if token is None else Guard(token)
    app = App(models, metrics, clock, log, guard=guard, default_deadline_ns=deadline_ns)
    add_recommend_routes(app)
    add_operation_routes(app)
    statistics = TensorStatistics()
    add_v2_routes(app, statistics)
    add_tfs_routes(app, statistics)
    metrics.drift = lambda: app.drift
    metrics.ready = True
    return app
