"""The one rate limiter: a budget that grows with time and that one request may overdraw."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RateLimit"]


class RateLimit:
    """A token bucket, for callers that wait (:meth:`spend`) and callers that refuse (:meth:`take`).

    Args:
        per_s: Units that are added in a second; 0 is no limit.
        burst: Largest number of units that the bucket saves up.
        clock: Returns a monotonic time in seconds.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        per_s: float,
        *,
        burst: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_s = per_s
        self.burst = burst
        self._clock, self._sleep = clock, sleep
        self._level, self._since_s = burst, clock()

    def take(self, units: float) -> float:
        """Take units if they are there.

        A request larger than the burst is admitted when the bucket is full, and paid off
        afterwards. Otherwise it would never be admitted.

        Returns:
            0 if the units were taken, else the seconds after which they can be taken.
        """
        if not self.per_s:
            return 0.0
        self._refill()
        needed = min(units, self.burst)
        if self._level < needed:
            return (needed - self._level) / self.per_s
        self._level -= units
        return 0.0

    def spend(self, units: float) -> None:
        """Wait until the bucket is no longer overdrawn, then take units."""
        if not self.per_s:
            return
        self._refill()
        if self._level < 0:
            self._sleep(-self._level / self.per_s)
            self._refill()
        self._level -= units

    def give_back(self, units: float) -> None:
        """Return units that were taken too much; a negative number takes the missing ones."""
        self._level += units

    def change(self, per_s: float, *, burst: float) -> None:
        """Set other limits; what was spent stays spent."""
        self._refill()
        self.per_s, self.burst = per_s, burst
        self._level = min(burst, self._level)

    def _refill(self) -> None:
        now_s = self._clock()
        self._level = min(self.burst, self._level + (now_s - self._since_s) * self.per_s)
        self._since_s = now_s
