"""Counts what a box is asked and what its model answers, in the bins of its bundle.

Counting costs under 2 us and no memory that grows. Two windows follow each other, so that old
traffic fades; they are turned where somebody looks, not where a request is answered. It is not
aware of files. Used by the server.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgepack.formats.canonical import canonical_json, sha256_hex
from edgepack.formats.drift import (
    MIN_DRIFT_COUNT,
    DriftFacts,
    DriftFeature,
    jensen_shannon_distance,
)
from edgepack.runner.clock import Clock, rfc3339
from edgepack.runner.drift.bins import Bins, Reference, read_reference

#: A shop has a rhythm of a week; what is read covers one to two of them.
WINDOW_NS = 7 * 86_400 * 1_000_000_000
FEATURES = ("history_length", "top_score", "score_spread")
#: Up to this length a history's bin is looked up; longer ones are in the last.
_LONGEST = 512


@dataclass(slots=True)
class Window:
    """The counts of one stretch of time.

    Attributes:
        since: When it began, RFC 3339.
        age_ns: How long it had lasted when it was written down; 0 for one begun here.
        bins: Each feature's counts; empty without bins.
    """

    since: str
    age_ns: int = 0
    histories: int = 0
    empty_histories: int = 0
    items: int = 0
    unknown_items: int = 0
    bins: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DriftReading:
    """One figure of drift.

    Attributes:
        feature: `unknown_items`, whose value is their share of all items, or one of `FEATURES`,
            whose value is the Jensen-Shannon distance from the bundle's reference.
        value: 0 to 1; None: it cannot be told.
        count: From how many values.
        reason: Why it cannot be told; None when it can.
    """

    feature: str
    value: float | None
    count: int
    reason: str | None


class DriftCounters:
    """The counters of one release's traffic.

    Attributes:
        fingerprint: Of the model and its bins; counts of another one do not fit.
    """

    def __init__(self, model: str, reference: Mapping[str, Any], clock: Clock) -> None:
        """Makes counters that stand at nothing.

        Args:
            model: The model's name and version.
            reference: `manifest.reference`.
            clock: Tells when windows are to be turned.
        """
        bins = read_reference(reference)
        self._bins: dict[str, Bins] = {
            name: each for name in FEATURES if (each := getattr(bins, name)) is not None
        }
        self.fingerprint = _fingerprint(model, bins)
        self._clock = clock
        self._spread_at = bins.spread_rank - 1
        self._length_bins: tuple[int, ...] = ()
        if bins.history_length is not None:
            edges = bins.history_length.edges
            self._length_bins = tuple(bisect_right(edges, n) for n in range(_LONGEST + 1))
        self._top_edges = bins.top_score.edges if bins.top_score else ()
        self._spread_edges = bins.score_spread.edges if bins.score_spread else ()
        self._earlier: Window | None = None
        self._begin_window()

    def observe(self, history_length: int, unknown: int, scores: Sequence[float]) -> None:
        """Counts one answered history; two threads may at worst lose a count.

        Args:
            history_length: Items in it.
            unknown: How many of them the model does not know.
            scores: Everything the model ranked, best first; empty when it did not.
        """
        now = self._now
        now.histories += 1
        if not history_length:
            now.empty_histories += 1
        else:
            now.items += history_length
            now.unknown_items += unknown
            if self._length_bins:
                longest = min(_LONGEST, history_length)
                self._lengths[self._length_bins[longest]] += 1
        if scores:
            top = scores[0]
            if self._top_edges:
                self._tops[bisect_right(self._top_edges, top)] += 1
            if self._spread_edges and len(scores) > self._spread_at:
                spread = top - scores[self._spread_at]
                self._spreads[bisect_right(self._spread_edges, spread)] += 1

    def readings(self) -> tuple[DriftReading, ...]:
        """Computes how far the box has drifted, in the last one to two weeks."""
        facts = self.facts()
        enough = facts.items >= MIN_DRIFT_COUNT
        share = facts.unknown_items / facts.items if enough else None
        found = [DriftReading("unknown_items", share, facts.items, _too_few(facts.items))]
        for name in FEATURES:
            each = facts.features.get(name)
            if each is None:
                found.append(DriftReading(name, None, 0, "the bundle has no reference for it"))
            else:
                count = sum(each.counts)
                found.append(DriftReading(name, each.distance, count, _too_few(count)))
        return tuple(found)

    def facts(self) -> DriftFacts:
        """Returns the counts of both windows as a report has them."""
        return facts_of(self.windows(), self._bins, rfc3339(self._clock.utc_now()))

    def windows(self) -> tuple[Window, ...]:
        """Returns the windows, the earlier first, after turning them if it is time."""
        self._now.age_ns = self._age_ns()
        if self._now.age_ns >= WINDOW_NS:
            # After a longer silence than a window the earlier traffic is gone as well.
            long_ago = self._now.age_ns >= 2 * WINDOW_NS
            self._earlier = None if long_ago else self._now
            self._begin_window()
        return (self._now,) if self._earlier is None else (self._earlier, self._now)

    def restore(self, windows: Sequence[Window]) -> bool:
        """Goes on from windows that were written down.

        Args:
            windows: One or two, the earlier first.

        Returns:
            Whether they fit these bins; nothing is changed when they do not.
        """
        shapes = {name: len(each.expected) for name, each in self._bins.items()}
        for each in windows:
            if {name: len(counts) for name, counts in each.bins.items()} != shapes:
                return False
        if not 1 <= len(windows) <= 2:  # noqa: PLR2004 - the present one and the one before
            return False
        self._earlier = windows[0] if len(windows) > 1 else None
        self._enter(windows[-1])
        return True

    def _begin_window(self) -> None:
        counts = {name: [0] * len(each.expected) for name, each in self._bins.items()}
        self._enter(Window(rfc3339(self._clock.utc_now()), bins=counts))

    def _enter(self, window: Window) -> None:
        # Kept apart, so that counting looks nothing up by name.
        self._lengths = window.bins.get("history_length", [])
        self._tops = window.bins.get("top_score", [])
        self._spreads = window.bins.get("score_spread", [])
        self._began_ns = self._clock.monotonic_ns() - window.age_ns
        self._now = window

    def _age_ns(self) -> int:
        return self._clock.monotonic_ns() - self._began_ns


def facts_of(windows: Sequence[Window], bins: Mapping[str, Bins], until: str) -> DriftFacts:
    """Adds windows up.

    Args:
        windows: At least one, the earlier first, with these bins.
        bins: By feature.
        until: When they were looked at, RFC 3339.

    Returns:
        Their sums, with distances where there are enough values.
    """
    features = {}
    for name, each in bins.items():
        counts = tuple(map(sum, zip(*(window.bins[name] for window in windows), strict=True)))
        count = sum(counts)
        reason = _too_few(count)
        distance = None if reason else jensen_shannon_distance(counts, each.expected)
        missing = {"distance": reason} if reason else {}
        features[name] = DriftFeature(each.edges, each.expected, counts, distance, missing)
    return DriftFacts(
        since=windows[0].since,
        until=until,
        histories=sum(each.histories for each in windows),
        empty_histories=sum(each.empty_histories for each in windows),
        items=sum(each.items for each in windows),
        unknown_items=sum(each.unknown_items for each in windows),
        features=features,
    )


def _too_few(count: int) -> str | None:
    if count >= MIN_DRIFT_COUNT:
        return None
    return f"{count} values, {MIN_DRIFT_COUNT} are needed"


def _fingerprint(model: str, reference: Reference) -> str:
    bins = {
        name: [list(each.edges), list(each.expected)]
        for name in FEATURES
        if (each := getattr(reference, name)) is not None
    }
    return sha256_hex(canonical_json({"model": model, "bins": bins, "rank": reference.spread_rank}))
