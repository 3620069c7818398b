"""Tells the service manager how the daemon is: ready, alive, reloading, on its way out.

The protocol of sd_notify(3): datagrams of `NAME=value` lines to the socket that NOTIFY_SOCKET
names, and nothing at all where there is none. It is not aware of what is served. Used by the
server.

**Source**: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

#: Takes one datagram's bytes; what cannot be delivered is lost, as a service manager that is
#: being restarted is no reason to stop serving.
Deliver = Callable[[bytes], None]

#: sun_path has 108 bytes. Source: unix(7).
_LONGEST_ADDRESS_BYTES = 107
#: A status line longer than this is of no use in `systemctl status`.
_STATUS_CHARACTERS = 200
_US_PER_S = 1_000_000
#: WATCHDOG_USEC is a 64-bit number.
_LARGEST_US = 2**64


@dataclass(frozen=True, slots=True)
class Notifier:
    """Writes the protocol's messages.

    Attributes:
        deliver: Takes each datagram; None says nothing to anybody.
    """

    deliver: Deliver | None = None

    def ready(self, status: str) -> None:
        """The port answers; also ends a reload.

        Args:
            status: A sentence for `systemctl status`.
        """
        self._send("READY=1", _status_line(status))

    def reloading(self, now_us: int, status: str) -> None:
        """A reload began; `ready` ends it.

        Args:
            now_us: CLOCK_MONOTONIC in microseconds, by which systemd knows which reload it is.
            status: A sentence for `systemctl status`.
        """
        self._send("RELOADING=1", f"MONOTONIC_USEC={now_us}", _status_line(status))

    def stopping(self, status: str) -> None:
        """The way out began.

        Args:
            status: A sentence for `systemctl status`.
        """
        self._send("STOPPING=1", _status_line(status))

    def status(self, status: str) -> None:
        """Says what the daemon is at.

        Args:
            status: A sentence for `systemctl status`.
        """
        self._send(_status_line(status))

    def alive(self) -> None:
        """Keeps the watchdog quiet for one more period."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self.deliver is not None:
            self.deliver("\n".join(lines).encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Supervisor:
    """The service manager, as far as it asks to be told.

    Attributes:
        notifier: Writes to it.
        interval_s: Seconds between two signs of life, half of what it waits; None where it does
            not watch.
    """

    notifier: Notifier = Notifier()
    interval_s: float | None = None

    async def watch(self, probe: Callable[[], Awaitable[bool]]) -> None:
        """Says that the daemon lives for as long as the model answers; ends only when cancelled.

        A probe that fails or never comes back sends nothing, so a model that hangs is seen as
        well as an event loop that does.

        Args:
            probe: Runs the model once, where requests run it; whether it answered.
        """
        while self.interval_s is not None:
            if await probe():
                self.notifier.alive()
            await asyncio.sleep(self.interval_s)


def open_supervisor(environment: Mapping[str, str]) -> Supervisor:
    """Finds the service manager of this process, if it has one.

    Args:
        environment: The process's environment variables.
    """
    return Supervisor(open_notifier(environment), watchdog_interval_s(environment))


def open_notifier(environment: Mapping[str, str]) -> Notifier:
    """Makes the notifier of this process.

    Args:
        environment: The process's environment variables.

    Returns:
        One that says nothing where no service manager listens, or where it listens in a way
        that is not a Unix socket (`vsock:`, for virtual machines).
    """
    address = socket_address(environment.get("NOTIFY_SOCKET", ""))
    if address is None:
        return Notifier()

    def deliver(message: bytes) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as channel:
            # A service manager whose queue is full must not stop the event loop.
            channel.setblocking(False)
            channel.sendto(message, address)

    return Notifier(deliver)


def socket_address(named: str) -> str | None:
    """Reads NOTIFY_SOCKET.

    Args:
        named: Its value; a path, or `@` and the name of an abstract socket.

    Returns:
        The address for the kernel, abstract ones with a NUL in front; None when there is none.
    """
    if len(named.encode("utf-8", "surrogateescape")) > _LONGEST_ADDRESS_BYTES or "\0" in named:
        return None
    if named.startswith("@") and len(named) > 1:
        return "\0" + named[1:]
    return named if named.startswith("/") else None


def watchdog_interval_s(
    environment: Mapping[str, str], process_id: int | None = None
) -> float | None:
    """Reads how often the service manager wants to hear that the daemon lives.

    Args:
        environment: The process's environment variables.
        process_id: This process; asked of the system by default.

    Returns:
        Half of WATCHDOG_USEC in seconds, as sd_watchdog_enabled(3) advises; None where it is
        not set, makes no sense, or is meant for another process.
    """
    period_us = _whole_number(environment.get("WATCHDOG_USEC", ""))
    if period_us is None:
        return None
    meant_for = environment.get("WATCHDOG_PID")
    own_id = os.getpid() if process_id is None else process_id
    if meant_for is not None and _whole_number(meant_for) != own_id:
        return None
    return period_us / 2 / _US_PER_S


def _whole_number(text: str) -> int | None:
    plain = text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST_US))
    return (int(text) or None) if plain else None


def _status_line(status: str) -> str:
    # A line break would begin another message.
    return "STATUS=" + " ".join(status.split())[:_STATUS_CHARACTERS]
