from __future__ import annotations

import asyncio
import contextlib

import pytest

from edgepack.runner.notify import (
    Notifier,
    Supervisor,
    open_notifier,
    socket_address,
    watchdog_interval_s,
)


class ServiceManager:
    """Keeps the datagrams it was sent."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def notifier(self) -> Notifier:
        return Notifier(self.heard.append)


def test_each_message_is_one_datagram_in_the_words_of_the_protocol() -> None:
    manager = ServiceManager()
    notifier = manager.notifier()
    notifier.status("loading session 1.2.0")
    notifier.ready("serving")
    notifier.reloading(1_234_567, "loading session 1.3.0")
    notifier.alive()
    notifier.stopping("SIGTERM")
    assert manager.heard == [
        b"STATUS=loading session 1.2.0",
        b"READY=1\nSTATUS=serving",
        b"RELOADING=1\nMONOTONIC_USEC=1234567\nSTATUS=loading session 1.3.0",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=SIGTERM",
    ]


def test_a_status_stays_one_short_line() -> None:
    manager = ServiceManager()
    manager.notifier().status("two\nlines WATCHDOG=1\r\n" + "x" * 1000)
    (message,) = manager.heard
    assert message.startswith(b"STATUS=two lines WATCHDOG=1 xxx")
    assert b"\n" not in message
    assert len(message) == len(b"STATUS=") + 200


@pytest.mark.parametrize("named", ["", "@", "run/notify", "vsock:2:1234", "/x" * 60, "/a\0b"])
def test_without_a_socket_nobody_is_told(named: str) -> None:
    assert socket_address(named) is None
    open_notifier({"NOTIFY_SOCKET": named}).ready("serving")
    open_notifier({}).ready("serving")


def test_paths_and_abstract_names_are_addresses() -> None:
    assert socket_address("/run/systemd/notify") == "/run/systemd/notify"
    assert socket_address("@systemd/notify") == "\0systemd/notify"


def test_a_service_manager_that_is_gone_stops_nothing() -> None:
    open_notifier({"NOTIFY_SOCKET": "/nowhere/at/all"}).alive()
    open_notifier({"NOTIFY_SOCKET": "@edgepack-nobody-listens"}).alive()


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "me"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "9" * 400}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_the_interval_is_half_the_period_of_a_watchdog_meant_for_us(
    environment: dict[str, str], interval_s: float | None
) -> None:
    assert watchdog_interval_s(environment, process_id=42) == interval_s


def watch(manager: ServiceManager, *answers: bool) -> None:
    """Runs the watch until the probe has given these answers and then hangs."""
    left = list(answers)

    async def run() -> None:
        hangs = asyncio.Event()

        async def probe() -> bool:
            if not left:
                hangs.set()
                await asyncio.Event().wait()
            return left.pop(0)

        watching = asyncio.create_task(Supervisor(manager.notifier(), 0.0).watch(probe))
        await hangs.wait()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    asyncio.run(run())


def test_a_ping_follows_only_a_probe_that_went_well() -> None:
    manager = ServiceManager()
    watch(manager, True, False, True)
    assert manager.heard == [b"WATCHDOG=1", b"WATCHDOG=1"]


def test_a_model_that_hangs_or_fails_is_not_said_to_live() -> None:
    manager = ServiceManager()
    watch(manager)
    watch(manager, False, False)
    assert manager.heard == []


def test_where_nobody_watches_the_model_is_left_alone() -> None:
    async def probe() -> bool:
        raise AssertionError

    asyncio.run(Supervisor().watch(probe))
