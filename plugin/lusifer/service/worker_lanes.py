"""Threads for the work on texts, in lanes, so that large requests can't hold up the others.

A cancelled piece of work ends at its next slice, and the caller waits for that. What a request
holds (tokens of the queue, bytes in flight) is thus given back when its work has ended, not when
its client has left.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lane", "WorkerLanes", "lane_of"]

_Result = TypeVar("_Result")

Lane = Literal["small", "large", "parse", "canary"]
"""``small`` and ``large``: texts of requests by their size. ``parse``: large bodies, one at a time,
because the parser holds Python's lock. ``canary``: the check of the model."""

_THREADS: dict[Lane, int] = {"small": 2, "large": 4, "parse": 1, "canary": 1}

_SMALL_BYTES = 64 * 2**10
_SMALL_TEXTS = 64


class _CancelledError(Exception):
    """The client of the work has gone."""


def lane_of(texts: int, size_bytes: int) -> Lane:
    """Return the lane of a request with so many texts of so many UTF-8 bytes together."""
    return "small" if texts <= _SMALL_TEXTS and size_bytes <= _SMALL_BYTES else "large"


class WorkerLanes:
    """Thread pools by lane."""

    def __init__(self) -> None:
        self._pools = {
            lane: ThreadPoolExecutor(_THREADS[lane], thread_name_prefix=f"lusifer-{lane}")
            for lane in get_args(Lane)
        }

    async def run(self, lane: Lane, work: Callable[[Callable[[], None]], _Result]) -> _Result:
        """Do the work in a thread of a lane and return its result.

        Cancelling the call ends the work at its next slice, and the call with it.

        Args:
            lane: Where it waits and runs.
            work: Gets a function that it calls between two slices. It raises once the work is
                cancelled.
        """
        cancelled = False

        def between() -> None:
            if cancelled:
                raise _CancelledError

        job = self._pools[lane].submit(work, between)
        waiting = asyncio.wrap_future(job)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            cancelled = True
            job.cancel()
            while not waiting.done():
                try:
                    await asyncio.wait({waiting})
                except asyncio.CancelledError:  # once is enough
                    continue
            if not waiting.cancelled():
                waiting.exception()
            raise

    def close(self) -> None:
        """Wait for the work that has begun and release the threads. It blocks."""
        for pool in self._pools.values():
            pool.shutdown()
