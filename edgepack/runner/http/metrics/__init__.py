"""What Prometheus reads; the only package that imports `prometheus_client`.

`server` has the server's own metrics and gathers all others, `models` those of a live model.
"""

from edgepack.runner.http.metrics.models import ModelMetrics
from edgepack.runner.http.metrics.server import Metrics

__all__ = ["Metrics", "ModelMetrics"]
