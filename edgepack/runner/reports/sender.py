"""Sends reports from the daemon, for years, to a hub that may be away for weeks.

A thread of its own waits, tries, and waits longer when that fails; it never raises and never
holds up the server. It is not aware of HTTP: `connect` makes the transport for each round. Used
by `serve`.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from edgepack.formats.errors import ConfigError, EdgepackError
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.log import Log
from edgepack.runner.reports.delivery import Transport
from edgepack.runner.reports.sending import SendOutcome, send_waiting
from edgepack.runner.reports.spool import Spool
from edgepack.runner.settings import HubSection

#: Doublings after which any back-off has reached its limit.
_MAX_DOUBLINGS = 40


@dataclass(frozen=True, slots=True)
class SenderState:
    """What is known since the daemon started.

    Attributes:
        waiting: Reports that wait, as of the last look; None before the first.
        dropped: Reports lost for want of room since the install, as of the last look.
        accepted: Reports the hub took.
        refused: Reports the hub judged and will never take.
        failures: Tries in a row that failed; 0 when the last one went well.
        last_success: When the hub last took one, RFC 3339, by the box's own clock.
        last_trouble: What went wrong the last time something did.
        last_trouble_at: When that was, RFC 3339.
        next_look_s: How long it waits now.
    """

    waiting: int | None = None
    dropped: int | None = None
    accepted: int = 0
    refused: int = 0
    failures: int = 0
    last_success: str | None = None
    last_trouble: str | None = None
    last_trouble_at: str | None = None
    next_look_s: float | None = None


class Stop(Protocol):
    """The end, as `threading.Event` has it."""

    def is_set(self) -> bool:
        """Whether it has come."""
        ...

    def set(self) -> None:
        """Brings it."""
        ...

    def wait(self, timeout: float) -> bool:
        """Waits for it, at most some seconds; returns whether it has come."""
        ...


class ReportSender:
    """Empties a spool into a hub, in a thread of its own."""

    def __init__(
        self,
        spool: Spool,
        connect: Callable[[], Transport],
        settings: HubSection,
        clock: Clock,
        log: Log,
        *,
        chance: random.Random,
        stop: Stop | None = None,
    ) -> None:
        """Makes a sender; `start` sets it going.

        Args:
            spool: Where reports wait.
            connect: Makes the transport of one round, with the token as it is then.
            settings: Intervals and limits.
            clock: Dates what happens.
            log: Gets a line when reports were taken, and when trouble begins or changes.
            chance: Makes the jitter.
            stop: What it waits on; an event of its own by default.
        """
        self._spool = spool
        self._connect = connect
        self._settings = settings
        self._clock = clock
        self._log = log
        self._chance = chance
        self._stop: Stop = threading.Event() if stop is None else stop
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._judged: set[str] = set()
        self._state = SenderState()
        # A daemon thread: a name server that never answers must not hold up the end.
        self._thread = threading.Thread(target=self.run, name="reports", daemon=True)

    @property
    def state(self) -> SenderState:
        """What is known now; it may be read from any thread."""
        return self._state

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Ends the thread at once, cutting a connection it is at.

        Args:
            timeout_s: How long to wait for it; it cannot outlive the process anyway.
        """
        self._stop.set()
        with self._lock:
            if self._transport is not None:
                self._transport.cancel()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def run(self) -> None:
        """Looks and sends until the end comes; the thread's whole life."""
        # A fleet that is switched on at nine must not ring at nine.
        delay_s = self._chance.uniform(0, self._settings.interval_s)
        while not self._wait(delay_s):
            delay_s = self.look()

    def look(self) -> float:
        """Sends what waits, if anything does; it never raises.

        Returns:
            Seconds to wait before the next look.
        """
        try:
            outcome = self._send()
        except EdgepackError as error:
            return self._failed(error.message)
        except Exception as error:  # noqa: BLE001 - whatever a network may do, the daemon goes on
            return self._failed(f"bug: {error!r:.500}")
        self._note(outcome)
        if outcome.blocked:
            return self._failed(outcome.trouble or "", outcome.retry_after_s)
        self._state = replace(self._state, failures=0)
        return self._settings.interval_s

    def _send(self) -> SendOutcome:
        if not self._spool.waiting():
            return SendOutcome(0, 0, 0, None)
        transport = self._connect()
        with self._lock:
            self._transport = transport
        try:
            return send_waiting(
                self._spool,
                transport,
                self._settings.batch_limit,
                judged=self._judged,
                stopping=self._stop.is_set,
            )
        finally:
            with self._lock:
                self._transport = None

    def _note(self, outcome: SendOutcome) -> None:
        state = self._state
        self._state = replace(
            state,
            waiting=outcome.waiting,
            dropped=self._spool.dropped(),
            accepted=state.accepted + outcome.accepted,
            refused=state.refused + outcome.refused,
            last_success=self._now() if outcome.accepted else state.last_success,
        )
        if outcome.accepted or outcome.refused:
            self._log.write(
                "warning" if outcome.refused else "info",
                "reports sent",
                accepted=outcome.accepted,
                refused=outcome.refused,
                waiting=outcome.waiting,
                detail=outcome.trouble,
            )

    def _failed(self, trouble: str, retry_after_s: float | None = None) -> float:
        before, failures = self._state.last_trouble, self._state.failures + 1
        if not self._stop.is_set() and (failures == 1 or trouble != before):
            # Once for each trouble: a hub that is away for weeks is no line every hour.
            self._log.write("warning", "reports not sent", trouble=trouble)
        with contextlib.suppress(EdgepackError):
            self._state = replace(
                self._state, waiting=len(self._spool.waiting()), dropped=self._spool.dropped()
            )
        self._state = replace(
            self._state, failures=failures, last_trouble=trouble, last_trouble_at=self._now()
        )
        delay_s = self._chance.uniform(0, backoff_limit_s(self._settings, failures))
        # The jitter comes on top: every box of a fleet is told the same number.
        return delay_s + (retry_after_s or 0.0)

    def _wait(self, delay_s: float) -> bool:
        self._state = replace(self._state, next_look_s=delay_s)
        return self._stop.wait(delay_s)

    def _now(self) -> str:
        return rfc3339(self._clock.utc_now())


def backoff_limit_s(settings: HubSection, failures: int) -> float:
    """Returns the longest wait after some failures in a row.

    Args:
        settings: The interval, which is doubled each time, and the most it may become.
        failures: At least 1.

    Returns:
        Seconds; the wait is drawn evenly between 0 and it.

    Source: "full jitter" in M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog,
    2015.
    """
    doubled = settings.interval_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
    return min(doubled, max(settings.max_backoff_s, settings.interval_s))


def make_sender(spool: Spool, settings: HubSection, clock: Clock, log: Log) -> ReportSender | None:
    """Makes the sender of a box.

    Args:
        spool: Where reports wait.
        settings: Where they go.
        clock: Dates what happens.
        log: Gets what is worth telling.

    Returns:
        The sender, not yet started; None when no hub is set.
    """
    if settings.url is None:
        return None
    return ReportSender(
        spool,
        lambda: connect_to_hub(settings),
        settings,
        clock,
        log,
        chance=random.SystemRandom(),
    )


def connect_to_hub(hub: HubSection) -> Transport:
    """Makes the transport of one round.

    Args:
        hub: Its address, token file and certificates, which are read now.

    Returns:
        The transport; no connection is open yet.

    Raises:
        ConfigError: There is no address, or the address, the token or the certificates are not
            usable.
    """
    # HTTP and TLS take 100 ms to import, on a box more: not while the daemon starts.
    from edgepack.runner.reports.tokens import read_token
    from edgepack.runner.reports.transport import HttpTransport

    if hub.url is None:
        raise ConfigError(
            "no hub is known", hint="report --send URL, or set hub.url in runner.toml"
        )
    return HttpTransport(hub.url, token=read_token(hub.token_file), ca_file=hub.ca_file)
