from __future__ import annotations

import errno
import io
import json

from edgepack.runner.log import Log, open_log
from tests.runner.simulators import HandClock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_is_one_json_object_that_a_machine_reads() -> None:
    stream = io.StringIO()
    open_log(stream, HandClock()).write("info", "listening", url="http://127.0.0.1:8080", port=None)
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue()) == {
        "time": "2026-11-23T09:00:00.001Z",
        "level": "info",
        "event": "listening",
        "url": "http://127.0.0.1:8080",
        "port": None,
    }


def test_a_terminal_gets_words() -> None:
    stream = Terminal()
    log = open_log(stream, HandClock())
    log.write("warning", "disk full", free_bytes=12, hint=None)
    log.write("error", "bug", error="a\nb")
    assert stream.getvalue().splitlines() == [
        "2026-11-23T09:00:00.001Z warning disk full free_bytes=12",
        "2026-11-23T09:00:00.001Z error   bug error=a b",
    ]


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    Log(FullDisk(), HandClock()).write("info", "listening")
    closed = io.StringIO()
    closed.close()
    open_log(closed, HandClock()).write("info", "listening")


def test_what_happens_all_the_time_is_said_once_a_minute_with_its_count() -> None:
    stream, clock = io.StringIO(), HandClock()
    log = Log(stream, clock)
    for _ in range(5):
        log.write_rarely("error", "inference failed", error="x")
    clock.sleep(61)
    log.write_rarely("error", "inference failed", error="x")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["held_back"] for line in lines] == [0, 4]
