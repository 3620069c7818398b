"""How often each sender may come: a token bucket for each key.

It is not aware of what is counted. Used by `web`; for one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST_KEYS: Final = 100_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float


class RateLimiter:
    """Lets each key through so many times a minute, and some more in a burst."""

    def __init__(
        self,
        per_minute: float,
        burst: int,
        monotonic: Callable[[], float],
        most_keys: int = _MOST_KEYS,
    ) -> None:
        """Makes a limiter.

        Args:
            per_minute: What each key gets back a minute.
            burst: What a key that was away for long may take at once.
            monotonic: Seconds.
            most_keys: Keys that are remembered; the one that was longest away is forgotten.
        """
        self._per_s = per_minute / 60
        self._burst = burst
        self._monotonic = monotonic
        self._most_keys = most_keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, key: str, count: int = 1) -> float:
        """Takes from a key's bucket.

        Args:
            key: Who comes.
            count: How much.

        Returns:
            0: it may; else nothing was taken, and it may in so many seconds.
        """
        now = self._monotonic()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(self._burst), now)
            if len(self._buckets) > self._most_keys:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.left = min(float(self._burst), bucket.left + (now - bucket.at_s) * self._per_s)
        bucket.at_s = now
        # More than a burst at once is let through by a full bucket, which then is in debt.
        if bucket.left >= min(count, self._burst):
            bucket.left -= count
            return 0.0
        return (min(count, self._burst) - bucket.left) / self._per_s
