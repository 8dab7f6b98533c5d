"""Not faster than so much a second, so that production keeps its latency."""

from __future__ import annotations

import time

__all__ = ["Pace"]


class Pace:
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
