"""What a hub's process is told when it starts. Used by `app` and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgepack.hub.store.keeping import Retention


@dataclass(frozen=True, slots=True)
class HubSettings:
    """The limits of one process.

    Attributes:
        reports_per_minute: What each device may send, in the long run.
        burst: What a device that was away may send at once.
        most_waiting: Reports that may wait for the disk; more are told to come back.
        secure_cookie: Whether the sign-in cookie goes over TLS only.
        prune_every_s: Seconds between two turns of dropping what is old; None: never.
        retention: For how long what is kept, where it is dropped.
    """

    reports_per_minute: float = 60.0
    burst: int = 600
    most_waiting: int = 1000
    secure_cookie: bool = False
    prune_every_s: float | None = None
    retention: Retention = field(default_factory=Retention)
