"""Empties the spool into a transport.

It is not aware of HTTP, nor of when it is called: back-off is the caller's. Used by `report` and
by the daemon's `sender`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgepack.formats.errors import DeviceError
from edgepack.runner.reports.delivery import Transport, Verdict
from edgepack.runner.reports.spool import Spool

#: Reports sent by one call; a box that comes back after a year must not hold the line for long.
BATCH_LIMIT = 50


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of the reports that waited.

    Attributes:
        accepted: How many were taken.
        refused: How many were judged and will never be taken; they are forgotten.
        waiting: How many still wait.
        trouble: The last bad word, or None.
        blocked: Whether it kept reports from being sent that could have been.
        retry_after_s: When the receiver wants to be asked again, or None.
    """

    accepted: int
    refused: int
    waiting: int
    trouble: str | None
    blocked: bool = False
    retry_after_s: float | None = None


def send_waiting(
    spool: Spool,
    transport: Transport,
    limit: int = BATCH_LIMIT,
    *,
    judged: set[str] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> SendOutcome:
    """Sends waiting reports, oldest first, and stops at the first that cannot be delivered.

    Args:
        spool: Where they wait. A report leaves it only after it was taken or judged; a power
            cut in between sends it again under the same id.
        transport: How they travel.
        limit: The most reports to send now.
        judged: Ids of reports that were taken or refused but could not be removed; they are
            not sent again. It is kept up to date.
        stopping: Asked before each report whether to leave the rest for later.

    Returns:
        What became of them.

    Raises:
        DeviceError: The spool cannot be read.
    """
    judged = set() if judged is None else judged
    accepted = refused = unreadable = 0
    trouble: str | None = None
    retry_after_s, blocked = None, False
    for report in spool.waiting()[:limit]:
        if stopping():
            break
        if report.report_id not in judged:
            data = spool.read(report)
            if data is None:
                unreadable += 1
                continue
            delivery = transport.send(report.report_id, data)
            if delivery.verdict is not Verdict.ACCEPTED:
                trouble = delivery.detail
            if delivery.verdict is Verdict.UNREACHABLE:
                retry_after_s, blocked = delivery.retry_after_s, True
                break
            judged.add(report.report_id)
            accepted += delivery.verdict is Verdict.ACCEPTED
            refused += delivery.verdict is Verdict.REFUSED
        try:
            spool.remove(report)
        except DeviceError as error:
            # The next one could not be removed either.
            trouble, blocked = error.message, True
            break
        judged.discard(report.report_id)
    if unreadable:
        trouble = _remove_torn(spool) or trouble
    return SendOutcome(accepted, refused, len(spool.waiting()), trouble, blocked, retry_after_s)


def _remove_torn(spool: Spool) -> str | None:
    try:
        spool.remove_torn()
    except DeviceError as error:
        return error.message
    return None
