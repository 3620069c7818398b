"""One made-up box and the moment it is measured in: the values that a report is made from.

It is not aware of reports or of time's passing. Used by the simulator alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edgepack.formats.report import Duration
from edgepack.hub.simulate.classes import BoxClass, Candidate, ReleasePlan


class Trouble(StrEnum):
    """What is wrong with a box for as long as it lives."""

    WRONG_ANSWERS = "wrong_answers"
    RUN_FAILED = "run_failed"
    FALLBACK = "fallback"
    UNDER_VOLTAGE = "under_voltage"
    BUSY = "busy"
    WRONG_CLOCK = "wrong_clock"
    JUMPING_CLOCK = "jumping_clock"
    LOST_NETWORK = "lost_network"
    SENDS_TWICE = "sends_twice"
    GOES_SILENT = "goes_silent"
    HOSTILE = "hostile"


#: The share of the boxes that have each; a fleet of a dozen has one of every kind that fits.
TROUBLE_SHARES: Final = {
    Trouble.WRONG_ANSWERS: 0.004,
    Trouble.RUN_FAILED: 0.006,
    Trouble.FALLBACK: 0.005,
    Trouble.UNDER_VOLTAGE: 0.015,
    Trouble.BUSY: 0.03,
    Trouble.WRONG_CLOCK: 0.01,
    Trouble.JUMPING_CLOCK: 0.004,
    Trouble.LOST_NETWORK: 0.06,
    Trouble.SENDS_TWICE: 0.03,
    Trouble.GOES_SILENT: 0.02,
    Trouble.HOSTILE: 0.002,
}

#: Texts that a page must show and never run, and none of which may break a table or a CSV.
HOSTILE_TEXTS: Final = (
    "<script>alert('edgepack')</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)//",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "'; DROP TABLE report; --",
    '=HYPERLINK("http://192.0.2.1/","open")',
    "\u202egnp.exe\u202c",
    "\u0627\u0644\u062c\u0647\u0627\u0632 \u05de\u05db\u05e9\u05d9\u05e8",
    "Z\u0351\u036b\u0343\u036aa\u0369\u0300l\u0307g\u0489o",
    "line one\r\nSet-Cookie: a=b",
    "\u200b\ufeff\u2028zero",
    "W" * 200,
    "\U0001f4a5" * 100,
)


@dataclass(frozen=True, slots=True)
class Box:
    """A box of the fleet.

    Attributes:
        number: Its place in the fleet, from 0.
        device_id: What it calls itself.
        kind: Its class.
        trouble: What is wrong with it; None for most.
        factor: How much slower than its class it is.
        enclosure_mc: How much warmer than the room it stands, in thousandths of a degree.
        governor: What its CPU is run with; empty where nothing tells.
        runtime: Which of the target's bundles it gets.
        wave: When a release reaches it, 0 first to 1 last.
        hour: When it measures itself, in hours of its day.
        kernel_at: When its system is updated, as a share of the days; beyond 1 never.
        text: What it puts into free text; None for an honest one.
    """

    number: int
    device_id: str
    kind: BoxClass
    trouble: Trouble | None
    factor: float
    enclosure_mc: int
    governor: str
    runtime: int
    wave: float
    hour: float
    kernel_at: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """What is so when a box measures itself.

    Attributes:
        box: Which box.
        release: What is installed.
        candidate: What is measured.
        candidates: What the bundle carries.
        created_ms: The true time, in milliseconds since 1970.
        clock_ms: What the box's clock is off by.
        room_mc: The temperature around the box.
        kernel: 0, or 1 after an update.
        duration: How long it measures.
    """

    box: Box
    release: ReleasePlan
    candidate: Candidate
    candidates: tuple[Candidate, ...]
    created_ms: int
    clock_ms: int
    room_mc: int
    kernel: int
    duration: Duration = Duration.QUICK


@dataclass(frozen=True, slots=True)
class Weather:
    """What the chip came to in one benchmark.

    Attributes:
        before_mc: Its temperature before.
        after_mc: And after.
        throttled: Whether it slowed down.
        ramp: How much slower the end was than the begin, as a share.
        card_throttled: Whether a card did.
    """

    before_mc: int
    after_mc: int
    throttled: bool
    ramp: float
    card_throttled: bool = False


def digest(*parts: object) -> str:
    """Returns a SHA-256 that stands for a file nobody has."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def bundle_id(moment: Moment) -> str:
    """Returns the bundle's id; a hostile box has one that nobody else has."""
    own = moment.box.device_id if moment.box.text is not None else ""
    target, runtime = moment.box.kind.target, moment.candidate.runtime
    return digest("bundle", target, moment.release.version, runtime, own)
