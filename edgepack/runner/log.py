"""The daemon's log: one JSON object a line, for journald and whoever reads it; words for a person.

No item ids and no histories are ever logged. It is not aware of what happened. Used by the
server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, TextIO

from edgepack.runner.clock import Clock, rfc3339

Level = Literal["info", "warning", "error"]
#: One line for each event a minute: a model that fails on every request must not fill the disk.
_REPEAT_NS = 60_000_000_000


class Log:
    """Writes events to a stream, as JSON lines, or as plain lines where a person reads along."""

    def __init__(self, stream: TextIO, clock: Clock, *, plain: bool = False) -> None:
        self._stream = stream
        self._clock = clock
        self._plain = plain
        self._last_ns: dict[str, int] = {}
        self._held_back: dict[str, int] = {}

    def write(self, level: Level, event: str, **facts: str | float | None) -> None:
        """Writes one line.

        Args:
            level: How bad it is.
            event: What happened, always the same words for the same thing.
            facts: What is known about it.
        """
        moment = rfc3339(self._clock.utc_now())
        if self._plain:
            line = _plain_line(moment, level, event, facts)
        else:
            line = json.dumps({"time": moment, "level": level, "event": event, **facts})
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The log's reader is gone or the disk is full; serving goes on.
            return

    def write_rarely(self, level: Level, event: str, **facts: str | float | None) -> None:
        """Writes one line at most once a minute for each event, with how many were held back.

        Args:
            level: How bad it is.
            event: What happened.
            facts: What is known about it.
        """
        now_ns = self._clock.monotonic_ns()
        last_ns = self._last_ns.get(event)
        if last_ns is not None and now_ns - last_ns < _REPEAT_NS:
            self._held_back[event] = self._held_back.get(event, 0) + 1
            return
        self._last_ns[event] = now_ns
        self.write(level, event, held_back=self._held_back.pop(event, 0), **facts)


def open_log(stream: TextIO, clock: Clock) -> Log:
    """Makes the log of a stream: plain lines on a terminal, JSON everywhere else.

    Args:
        stream: Where it goes; the daemon's is its standard output.
        clock: Dates the lines.
    """
    try:
        plain = stream.isatty()
    except ValueError:
        plain = False
    return Log(stream, clock, plain=plain)


def _plain_line(moment: str, level: Level, event: str, facts: Mapping[str, object]) -> str:
    told = " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)
    # One event stays one line, whatever a runtime put into its message.
    return " ".join(f"{moment} {level:<7} {event} {told}".split("\n")).rstrip()
