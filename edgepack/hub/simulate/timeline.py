"""What happens to the made-up fleet over the days: who measures when, and when it arrives.

Everything follows from the seed: a report is the same whenever and in whatever order it is made.
It is not aware of HTTP or of a store. Used by `sending`, `bulk` and the command line.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from edgepack.formats.report import Duration, Report
from edgepack.hub.simulate.boxes import HOSTILE_TEXTS, TROUBLE_SHARES, Box, Moment, Trouble
from edgepack.hub.simulate.classes import (
    BOX_CLASSES,
    CANDIDATES,
    RELEASES,
    ROLLOUT,
    SECOND_RUNTIME_SHARE,
    BoxClass,
    Candidate,
    ReleasePlan,
)
from edgepack.hub.simulate.reports import make_report

DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
#: From so many boxes on there is one with each trouble.
_SMALLEST_MIXED: Final = 12
#: The share of the days with a heat wave.
_HEAT: Final = (0.36, 0.52)
_OUTAGES: Final = ((0.2, 0.3), (0.62, 0.7))
_OWN_CHOICE_SHARE: Final = 0.7
_STANDARD_EVERY: Final = 9
_TWICE_SHARE: Final = 0.3
_JUMPS_SHARE: Final = 0.5
#: A board without a battery begins at its image's time, a wrong battery runs ahead.
_CLOCKS_MS: Final = (-8_120 * DAY_MS, -411 * DAY_MS, 1_240 * DAY_MS)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated.

    Attributes:
        seed: Of everything.
        devices: How many boxes.
        days: How long.
        end_ms: When the days end, in milliseconds since 1970.
        per_day: How often a box measures itself a day.
    """

    seed: int
    devices: int
    days: float
    end_ms: int
    per_day: float = 1.0

    @property
    def begin_ms(self) -> int:
        """When the days begin."""
        return self.end_ms - int(self.days * DAY_MS)


@dataclass(frozen=True, slots=True)
class Planned:
    """The `number`-th benchmark of a box."""

    box: Box
    number: int
    moment: Moment


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a box sends at once: one report, or all that waited for the network.

    Attributes:
        at_ms: The true time it arrives.
        reports: The benchmarks, the oldest first.
        again: Whether the box has sent them before.
    """

    at_ms: int
    reports: tuple[Planned, ...]
    again: bool = False


def make_fleet(plan: Plan) -> list[Box]:
    """Makes the boxes.

    Returns:
        As many as planned. From a dozen on there is one of every kind and one of every trouble
        that fits.
    """
    chance = random.Random(f"{plan.seed}/fleet")  # noqa: S311 - a made-up fleet, not a secret
    kinds = _kinds(plan.devices)
    chance.shuffle(kinds)
    troubles = _troubles(kinds, chance)
    return [_box(plan.seed, i, kind, troubles.get(i)) for i, kind in enumerate(kinds)]


def benchmarks_of(plan: Plan, box: Box) -> Iterator[Planned]:
    """Yields every benchmark of a box, the oldest first."""
    chance = random.Random(f"{plan.seed}/{box.number}/days")  # noqa: S311 - as above
    step_ms = DAY_MS / plan.per_day
    ends = chance.uniform(0.4, 0.7) if box.trouble is Trouble.GOES_SILENT else 1.0
    clock_ms = chance.choice(_CLOCKS_MS) if box.trouble is Trouble.WRONG_CLOCK else 0
    for number in range(math.ceil(plan.days * plan.per_day)):
        at_ms = int(plan.begin_ms + number * step_ms + box.hour / 24 * min(step_ms, DAY_MS))
        at_ms += chance.randrange(10 * 60_000)
        share = (at_ms - plan.begin_ms) / max(plan.end_ms - plan.begin_ms, 1)
        if share >= ends:
            return
        if box.trouble is Trouble.JUMPING_CLOCK:
            jumps = chance.random() < _JUMPS_SHARE
            clock_ms = chance.randrange(-3 * _HOUR_MS, 400 * DAY_MS) if jumps else 0
        yield Planned(box, number, _moment(box, at_ms, share, clock_ms, chance))


def deliveries_of(plan: Plan, box: Box) -> list[Delivery]:
    """Returns everything a box sends, as it arrives."""
    chance = random.Random(f"{plan.seed}/{box.number}/network")  # noqa: S311 - as above
    found: list[Delivery] = []
    waiting: list[Planned] = []
    for planned in benchmarks_of(plan, box):
        sent_ms = planned.moment.created_ms + chance.randrange(2_000, 15 * 60_000)
        back_ms = _network_back_ms(plan, box, planned.moment.created_ms)
        if back_ms is not None:
            waiting.append(planned)
            continue
        found.append(Delivery(sent_ms, (*waiting, planned)))
        waiting.clear()
        if box.trouble is Trouble.SENDS_TWICE and chance.random() < _TWICE_SHARE:
            found.append(Delivery(sent_ms + chance.randrange(_HOUR_MS), found[-1].reports, True))
    if waiting:
        found.append(Delivery(plan.end_ms, tuple(waiting)))
    return found


def deliveries(plan: Plan, boxes: Sequence[Box]) -> list[Delivery]:
    """Returns everything the fleet sends, in the order it arrives."""
    found = [each for box in boxes for each in deliveries_of(plan, box)]
    found.sort(key=lambda each: (each.at_ms, each.reports[0].box.number))
    return found


def report_of(plan: Plan, planned: Planned) -> Report:
    """Makes the report of a benchmark; always the same one."""
    seed = f"{plan.seed}/{planned.box.number}/{planned.number}"
    return make_report(planned.moment, random.Random(seed))  # noqa: S311 - as above


def release_at(box: Box, share: float) -> ReleasePlan:
    """Says what is installed on a box.

    Args:
        box: The box.
        share: How much of the days has passed, 0 to 1.
    """
    installed = RELEASES[0]
    for release in RELEASES[1:]:
        if share >= release.begins + box.wave * ROLLOUT:
            installed = release
    return installed


def _kinds(devices: int) -> list[BoxClass]:
    shares = [each.share for each in BOX_CLASSES]
    edges = [round(devices * sum(shares[:i]) / sum(shares)) for i in range(len(shares) + 1)]
    counts = [last - first for first, last in pairwise(edges)]
    if devices >= _SMALLEST_MIXED:
        for i, count in enumerate(counts):
            if count == 0:
                counts[counts.index(max(counts))] -= 1
                counts[i] = 1
    return [kind for kind, count in zip(BOX_CLASSES, counts, strict=True) for _ in range(count)]


def _troubles(kinds: Sequence[BoxClass], chance: random.Random) -> dict[int, Trouble]:
    found: dict[int, Trouble] = {}
    if len(kinds) < _SMALLEST_MIXED:
        return found
    for trouble, share in TROUBLE_SHARES.items():
        able = [i for i, kind in enumerate(kinds) if i not in found and _fits(kind, trouble)]
        wanted = max(round(share * len(kinds)), 1)
        found |= dict.fromkeys(chance.sample(able, min(wanted, len(able))), trouble)
    return found


def _fits(kind: BoxClass, trouble: Trouble) -> bool:
    if kind.emulated:
        return False
    if trouble is Trouble.FALLBACK:
        return kind.card is not None
    return trouble is not Trouble.UNDER_VOLTAGE or kind.key.startswith("rpi")


def _box(seed: int, number: int, kind: BoxClass, trouble: Trouble | None) -> Box:
    chance = random.Random(f"{seed}/{number}/box")  # noqa: S311 - as above
    name = uuid.UUID(int=chance.getrandbits(128), version=4)
    second = len(CANDIDATES[kind.target]) > 1 and chance.random() < SECOND_RUNTIME_SHARE
    usual = kind.governors[:1] * 4 + kind.governors
    return Box(
        number=number,
        device_id=str(name),
        kind=kind,
        trouble=trouble,
        factor=chance.lognormvariate(0, 0.035),
        enclosure_mc=chance.randrange(16_000 if kind.passive else 6_000),
        governor=chance.choice(usual) if usual else "",
        runtime=int(second),
        wave=chance.random(),
        hour=chance.uniform(0, 24),
        kernel_at=chance.uniform(0.1, 2.0),
        text=HOSTILE_TEXTS[number % len(HOSTILE_TEXTS)] if trouble is Trouble.HOSTILE else None,
    )


def _moment(box: Box, at_ms: int, share: float, clock_ms: int, chance: random.Random) -> Moment:
    candidates = CANDIDATES[box.kind.target][box.runtime]
    return Moment(
        box=box,
        release=release_at(box, share),
        candidate=_candidate(candidates, chance),
        candidates=candidates,
        created_ms=at_ms,
        clock_ms=clock_ms,
        room_mc=_room_mc(at_ms, share, chance),
        kernel=int(share >= box.kernel_at),
        duration=Duration.QUICK if box.number % _STANDARD_EVERY else Duration.STANDARD,
    )


def _candidate(candidates: tuple[Candidate, ...], chance: random.Random) -> Candidate:
    """Mostly what a box chose, the fastest; now and then a person measures another one."""
    if chance.random() < _OWN_CHOICE_SHARE:
        return min(candidates, key=lambda each: each.speed)
    return chance.choice(candidates)


def _room_mc(at_ms: int, share: float, chance: random.Random) -> int:
    hour = at_ms % DAY_MS / _HOUR_MS
    # Warmest at three in the afternoon.
    day = 4_500 * math.cos((hour - 15) / 24 * 2 * math.pi)
    heat = 8_500 if _HEAT[0] <= share < _HEAT[1] else 0
    return int(21_000 + day + heat + chance.gauss(0, 1_200))


def _network_back_ms(plan: Plan, box: Box, at_ms: int) -> int | None:
    """When the network that is lost at a time comes back; None where it is there."""
    if box.trouble is not Trouble.LOST_NETWORK:
        return None
    for first, last in _OUTAGES:
        shift = (box.wave - 0.5) * 0.2
        begin = plan.begin_ms + int((first + shift) * plan.days * DAY_MS)
        end = plan.begin_ms + int((last + shift) * plan.days * DAY_MS)
        if begin <= at_ms < max(end, begin + 2 * DAY_MS):
            return end
    return None
