"""What Prometheus reads of the hub; the only package of the hub that imports `prometheus_client`.

    counting   what the hub counts while it works: reports, commits, requests
    requests   counts every HTTP request on its way through the application
    store      what the store knows: devices, releases, standings, size; read when it is asked for

Every process of a hub has numbers of its own and is scraped by itself. No label holds the name of
a device, a token or an address.
"""

from edgepack.hub.web.metrics.counting import Metrics, Refusal, Taken
from edgepack.hub.web.metrics.requests import CountingRequests

__all__ = ["CountingRequests", "Metrics", "Refusal", "Taken"]
