"""What becomes of a report that is sent, and the seam it is sent through.

It is not aware of HTTP. Used by `sending`, the daemon's `sender`, and `transport`, which is the
real one; tests pass a hub of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Verdict(StrEnum):
    """What became of a report."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The answer to one report.

    Attributes:
        verdict: What became of it.
        detail: Why, in the receiver's words.
        retry_after_s: When the receiver wants to be asked again, in seconds; None: it does not
            say.
    """

    verdict: Verdict
    detail: str
    retry_after_s: float | None = None


class Transport(Protocol):
    """Brings one report to its receiver."""

    def send(self, report_id: str, data: bytes) -> Delivery:
        """Sends a report once.

        Args:
            report_id: Its UUID, by which the receiver knows a second copy.
            data: Its bytes.

        Returns:
            What became of it; a network that is down is an answer, not an exception.
        """
        ...

    def cancel(self) -> None:
        """Ends a `send` that another thread is in, and every later one, at once."""
        ...
