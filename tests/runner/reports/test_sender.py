from __future__ import annotations

import io
import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.formats.errors import ConfigError, DeviceError
from edgepack.runner.log import Log
from edgepack.runner.reports.delivery import Delivery, Transport, Verdict
from edgepack.runner.reports.sender import (
    ReportSender,
    backoff_limit_s,
    connect_to_hub,
    make_sender,
)
from edgepack.runner.reports.spool import Spool, SpooledReport
from edgepack.runner.reports.transport import HttpTransport
from edgepack.runner.settings import HubSection
from tests.runner.disks import SimulatedDisk
from tests.runner.simulators import HandClock, SimulatedHub

_DAY_S = 86_400.0
_SETTINGS = HubSection(
    url="https://hub.example/reports", interval_s=60, max_backoff_s=3600, batch_limit=10
)


def _id(number: int) -> str:
    return str(uuid.UUID(int=number))


class SimulatedStop:
    """An end that comes when its clock has gone far enough; waiting moves the clock."""

    def __init__(self, clock: HandClock, end_s: float) -> None:
        self._clock = clock
        self._end_ns = clock.now_ns + int(end_s * 1e9)
        self.at_waits: list[Callable[[], None]] = []
        self.waited: list[float] = []
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def wait(self, timeout: float) -> bool:
        self.waited.append(timeout)
        self._clock.now_ns += int(timeout * 1e9)
        for each in self.at_waits:
            each()
        self._set = self._set or self._clock.now_ns >= self._end_ns
        return self._set


class Box:
    """A sender with everything it needs simulated."""

    def __init__(self, days: float = 1.0, settings: HubSection = _SETTINGS, seed: int = 1) -> None:
        self.clock = HandClock()
        self.hub = SimulatedHub()
        self.disk = SimulatedDisk()
        self.spool = Spool(Path("/state/spool"), files=self.disk)
        self.stop = SimulatedStop(self.clock, days * _DAY_S)
        self.log = io.StringIO()
        self.connect: Callable[[], Transport] = lambda: self.hub
        self.sender = ReportSender(
            self.spool,
            self._connect,
            settings,
            self.clock,
            Log(self.log, self.clock),
            chance=random.Random(seed),
            stop=self.stop,
        )

    def _connect(self) -> Transport:
        return self.connect()

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.spool.add(_id(number), b"{}")

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def test_what_waits_is_sent_and_the_state_says_so() -> None:
    box = Box()
    box.add(1, 2)
    box.sender.run()
    assert list(box.hub.reports) == [_id(1), _id(2)]
    state = box.sender.state
    assert (state.accepted, state.waiting, state.dropped, state.failures) == (2, 0, 0, 0)
    assert state.last_success is not None
    assert state.last_trouble is None
    assert [each["event"] for each in box.events()] == ["reports sent"]


def test_nothing_that_waits_is_no_connection() -> None:
    box = Box()

    def connect() -> Transport:
        raise AssertionError("there was nothing to send")

    box.connect = connect
    box.sender.run()
    assert box.sender.state.failures == 0
    assert len(box.stop.waited) > 1000
    assert set(box.stop.waited[1:]) == {60}


def test_a_report_made_while_it_runs_is_sent_within_the_interval() -> None:
    box = Box(days=1)
    made = []

    def bench() -> None:
        if len(box.stop.waited) == 50:
            box.add(7)
            made.append(box.clock.now_ns)

    box.stop.at_waits.append(bench)
    box.sender.run()
    assert made
    assert list(box.hub.reports) == [_id(7)]


def test_a_hub_that_is_away_for_weeks_is_tried_rarely_and_gets_everything_once() -> None:
    box = Box(days=40)
    box.add(1, 2, 3)
    box.hub.down = True
    tries = []

    def week_four() -> None:
        tries.append(box.clock.now_ns)
        box.hub.down = box.clock.now_ns < 28 * _DAY_S * 1e9

    box.stop.at_waits.append(week_four)
    box.sender.run()
    assert box.hub.posts == [_id(1), _id(2), _id(3)]
    away = [each for each in tries if each < 28 * _DAY_S * 1e9]
    # Half an hour on average once it has backed off.
    assert 28 * 24 < len(away) < 28 * 24 * 4
    troubles = [each for each in box.events() if each["event"] == "reports not sent"]
    assert len(troubles) == 1, "no line every hour"
    assert troubles[0]["trouble"] == "simulated: no route to host"
    assert box.sender.state.failures == 0
    assert box.sender.state.last_trouble == "simulated: no route to host"


def test_the_wait_grows_with_each_failure_up_to_its_limit() -> None:
    limits = [backoff_limit_s(_SETTINGS, failures) for failures in range(1, 9)]
    assert limits == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert backoff_limit_s(_SETTINGS, 100_000) == 3600
    rare = HubSection(interval_s=7200, max_backoff_s=60)
    assert backoff_limit_s(rare, 5) == 7200


@given(failures=st.integers(1, 200), seed=st.integers(0, 1000))
def test_every_wait_lies_between_nothing_and_the_limit(failures: int, seed: int) -> None:
    box = Box(seed=seed)
    box.add(1)
    box.hub.down = True
    for _ in range(failures):
        wait_s = box.sender.look()
        assert 0 <= wait_s <= backoff_limit_s(_SETTINGS, box.sender.state.failures)
    assert box.sender.state.failures == failures


def test_two_boxes_do_not_knock_at_the_same_moment() -> None:
    waits = []
    for seed in range(20):
        box = Box(seed=seed)
        box.add(1)
        box.hub.down = True
        box.sender.run()
        waits.append(box.stop.waited[:10])
    assert len({each for one in waits for each in one}) == 200
    firsts = [one[0] for one in waits]
    assert min(firsts) < 20
    assert max(firsts) > 40


def test_a_hub_that_says_when_is_not_asked_before() -> None:
    box = Box()
    box.add(1)
    box.hub.verdicts = [Verdict.UNREACHABLE]
    box.hub.retry_after_s = 1000
    wait_s = box.sender.look()
    assert 1000 <= wait_s <= 1060
    assert box.sender.look() == 60
    assert box.hub.posts == [_id(1), _id(1)]


def test_one_round_sends_no_more_than_a_batch() -> None:
    box = Box()
    box.add(*range(1, 26))
    box.sender.look()
    assert len(box.hub.reports) == 10
    assert box.sender.state.waiting == 15
    box.sender.look()
    box.sender.look()
    assert len(box.hub.reports) == 25


def test_a_report_that_is_judged_bad_is_forgotten_and_told() -> None:
    box = Box()
    box.add(1, 2)
    box.hub.verdicts = [Verdict.REFUSED]
    assert box.sender.look() == 60
    state = box.sender.state
    assert (state.accepted, state.refused, state.waiting, state.failures) == (1, 1, 0, 0)
    assert box.events()[0]["level"] == "warning"


def test_a_refusal_before_an_outage_still_backs_off() -> None:
    box = Box()
    box.add(1, 2)
    box.hub.verdicts = [Verdict.REFUSED, Verdict.UNREACHABLE]
    box.hub.retry_after_s = 500
    assert box.sender.look() >= 500
    assert box.sender.state.failures == 1


def test_the_token_is_read_anew_for_each_round(tmp_path: Path) -> None:
    token = tmp_path / "token"
    hub = HubSection(url="https://hub.example/reports", token_file=token)
    with pytest.raises(ConfigError, match="no token can be read"):
        connect_to_hub(hub)
    seen = []
    for text in ("first", "second"):
        token.write_text(text)
        transport = connect_to_hub(hub)
        assert isinstance(transport, HttpTransport)
        seen.append(transport._token)
    assert seen == ["first", "second"]


def test_settings_that_cannot_be_used_are_trouble_and_not_the_end() -> None:
    box = Box()
    box.add(1)

    def connect() -> Transport:
        raise ConfigError("token: no token can be read")

    box.connect = connect
    box.sender.look()
    assert box.sender.state.last_trouble == "token: no token can be read"
    assert box.sender.state.waiting == 1
    box.connect = lambda: box.hub
    box.sender.look()
    assert box.sender.state.accepted == 1


def test_a_bug_is_trouble_and_not_the_end() -> None:
    box = Box()
    box.add(1)

    def connect() -> Transport:
        raise RuntimeError("nobody thought of this")

    box.connect = connect
    box.sender.look()
    assert "nobody thought of this" in (box.sender.state.last_trouble or "")


def test_a_report_that_was_taken_but_cannot_be_removed_is_not_sent_again() -> None:
    box = Box()
    box.add(1, 2)
    box.disk.fault_at = lambda number, line: 30 if line.startswith("unlink") else None
    for _ in range(5):
        box.sender.look()
    assert box.hub.posts == [_id(1)]
    assert "Read-only file system" in (box.sender.state.last_trouble or "")
    box.disk.fault_at = lambda number, line: None
    box.sender.look()
    assert box.hub.posts == [_id(1), _id(2)]
    assert box.sender.state.waiting == 0
    assert box.sender.state.accepted == 2


def test_a_spool_that_cannot_be_read_is_trouble_and_not_the_end() -> None:
    class Unreadable(Spool):
        def waiting(self) -> list[SpooledReport]:
            raise DeviceError("/state/spool: Permission denied")

    box = Box()
    sender = ReportSender(
        Unreadable(Path("/state/spool"), files=box.disk),
        lambda: box.hub,
        _SETTINGS,
        box.clock,
        Log(box.log, box.clock),
        chance=random.Random(1),
        stop=box.stop,
    )
    sender.look()
    assert sender.state.last_trouble == "/state/spool: Permission denied"


def test_a_torn_report_is_cleared_away_and_the_others_go() -> None:
    box = Box()
    box.add(1, 2)
    box.disk.tear(box.spool.waiting()[0].path, b"{")
    box.sender.look()
    assert list(box.hub.reports) == [_id(2)]
    assert (box.sender.state.waiting, box.sender.state.dropped) == (0, 1)


def test_a_stop_leaves_the_rest_of_the_batch_for_later() -> None:
    box = Box()
    box.add(1, 2, 3)

    class Stopping(SimulatedHub):
        def send(self, report_id: str, data: bytes) -> Delivery:
            box.sender.stop()
            return super().send(report_id, data)

    hub = Stopping()
    box.connect = lambda: hub
    box.sender.run()
    assert hub.posts == [_id(1)]
    assert hub.cancelled
    assert [each.report_id for each in box.spool.waiting()] == [_id(2), _id(3)]


def test_the_thread_starts_and_ends(tmp_path: Path) -> None:
    sender = make_sender(Spool(tmp_path), _SETTINGS, HandClock(), Log(io.StringIO(), HandClock()))
    assert sender is not None
    sender.start()
    sender.stop()
    assert not sender._thread.is_alive()


def test_a_sender_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    sender = make_sender(Spool(tmp_path), _SETTINGS, HandClock(), Log(io.StringIO(), HandClock()))
    assert sender is not None
    sender.stop()
    assert sender.state.accepted == 0


def test_without_a_hub_there_is_no_sender(tmp_path: Path) -> None:
    log = Log(io.StringIO(), HandClock())
    assert make_sender(Spool(tmp_path), HubSection(), HandClock(), log) is None
