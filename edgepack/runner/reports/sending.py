"""Empties the spool into a transport.

It is not aware of HTTP, nor of when it is called: back-off is the caller's. Used by `report`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.runner.reports.spool import Spool
from edgepack.runner.reports.transport import Transport, Verdict

#: Reports sent by one call; a box that comes back after a year must not hold the line for long.
BATCH_LIMIT = 50


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """How many reports were taken, refused for good, and still wait; and the last bad word."""

    accepted: int
    refused: int
    waiting: int
    trouble: str | None


def send_waiting(spool: Spool, transport: Transport, limit: int = BATCH_LIMIT) -> SendOutcome:
    """Sends waiting reports, oldest first, and stops at the first that cannot be delivered.

    Args:
        spool: Where they wait. A report leaves it only after it was taken or judged; a power
            cut in between sends it again under the same id.
        transport: How they travel.
        limit: The most reports to send now.

    Returns:
        What became of them.

    Raises:
        DeviceError: A report that was taken cannot be removed.
    """
    accepted = refused = 0
    trouble = None
    for report in spool.waiting()[:limit]:
        data = spool.read(report)
        if data is None:
            spool.remove(report)
            continue
        delivery = transport.send(report.report_id, data)
        if delivery.verdict is Verdict.ACCEPTED:
            accepted += 1
        else:
            trouble = delivery.detail
            if delivery.verdict is Verdict.UNREACHABLE:
                break
            refused += 1
        spool.remove(report)
    return SendOutcome(accepted, refused, len(spool.waiting()), trouble)
