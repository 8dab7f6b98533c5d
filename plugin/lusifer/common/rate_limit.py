"""Not faster than so much a second, so that production keeps its latency."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RateLimit", "TokenRate"]


class RateLimit:
    """Spends from a budget that grows with time; nothing is saved up while nobody spends.

    Args:
        per_s: Units in a second; 0 is no limit.
    """

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self._free_at_s = 0.0

    def spend(self, units: int) -> None:
        """Wait until what was spent before is paid off, then note these units."""
        if not self.per_s:
            return
        now_s = time.monotonic()
        if self._free_at_s > now_s:
            time.sleep(self._free_at_s - now_s)
        self._free_at_s = max(now_s, self._free_at_s) + units / self.per_s


class TokenRate:
    """Tokens a minute for each key, as buckets that refill steadily and hold one minute's worth.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, tokens: int, tokens_per_minute: int) -> float:
        """Take tokens from the key's bucket.

        A request larger than the bucket is let in when the bucket is full, and paid off afterwards:
        it would never get in otherwise.

        Returns:
            0 if they were taken, else the seconds after which they can be.
        """
        now_s = self._clock()
        level, since_s = self._buckets.get(name, (float(tokens_per_minute), now_s))
        per_s = tokens_per_minute / 60
        level = min(float(tokens_per_minute), level + (now_s - since_s) * per_s)
        needed = min(tokens, tokens_per_minute)
        if level < needed:
            self._buckets[name] = (level, now_s)
            return (needed - level) / per_s
        self._buckets[name] = (level - tokens, now_s)
        return 0.0

    def correct(self, name: str | None, tokens: int) -> None:
        """Give back what was taken too much, or take what was too little (below 0)."""
        if name in self._buckets:
            level, since_s = self._buckets[name]
            self._buckets[name] = (level + tokens, since_s)
