"""Rows that wait for the engine: who wants them, whose turn it is, and which make a good batch.

A plain data structure without threads or clocks; :mod:`lusifer.service.batcher` guards it with a
lock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Priority", "QueuedRow", "Request", "RequestQueue"]

Priority = Literal["query", "bulk"]
"""Questions that somebody waits for, or documents to be stored."""

_QUERY_BATCHES_IN_A_ROW = 4
"""After this many batches of queries one batch of bulk goes first, so that bulk never stops."""


class Request:
    """The rows of one request on their way through the engine.

    Args:
        lane: Where it waits.
        rows: How many rows R.
        dimension: Length D of their vectors.
    """

    def __init__(self, lane: Priority, rows: int, dimension: int) -> None:
        self.future: Future[NDArray[np.float32]] = Future()
        """``(R, D)`` checked unit vectors in the order of the rows, or the error of the first that
        failed."""
        self.lane: Priority = lane
        self.vectors: NDArray[np.float32] = np.empty((rows, dimension), dtype=np.float32)
        self.missing = rows
        """Rows without a vector yet."""
        self.units: list[QueuedRow] = []
        self.queues: dict[int, deque[QueuedRow]] = {}
        """Rows to take, by length in tokens; another job may have had some of them taken since."""

    def longest(self) -> int | None:
        """Length of the longest row still to take, None without any."""
        for length in sorted(self.queues, reverse=True):
            queue = self.queues[length]
            while queue and not queue[0].queued:
                queue.popleft()
            if queue:
                return length
            del self.queues[length]
        return None


@dataclass(eq=False)
class QueuedRow:
    """One distinct row of token ids, wanted by one or more jobs."""

    ids: NDArray[np.int32]
    key: bytes
    since_s: float
    waiters: list[tuple[Request, int]] = field(default_factory=list)
    """The jobs and the row's index in each."""
    queued: bool = True


class RequestQueue:
    """Two lanes of jobs. Queries go first; within a lane jobs take turns; equal rows are one unit.

    Args:
        batch_tokens: Most padded tokens in a batch; a longer single row still goes alone.
    """

    def __init__(self, batch_tokens: int) -> None:
        self.queued_tokens = 0
        """Tokens of the distinct rows not taken yet."""
        self._batch_tokens = batch_tokens
        self._jobs: dict[Priority, OrderedDict[Request, None]] = {
            "query": OrderedDict(),
            "bulk": OrderedDict(),
        }
        self._units: dict[bytes, QueuedRow] = {}
        self._query_batches = 0

    def add(self, job: Request, rows: Sequence[NDArray[np.int32]], now_s: float) -> None:
        """Queue the rows ``(T_i,)`` of a new job."""
        for index, ids in enumerate(rows):
            key = ids.tobytes()
            unit = self._units.get(key)
            if unit is None:
                unit = self._units[key] = QueuedRow(ids, key, now_s)
                self.queued_tokens += len(ids)
            unit.waiters.append((job, index))
            job.units.append(unit)
            if unit.queued:
                # In this job's queue too: a question may overtake the bulk job that wanted the row
                # first.
                job.queues.setdefault(len(ids), deque()).append(unit)
        if job.queues:
            self._jobs[job.lane][job] = None

    def remove(self, job: Request) -> None:
        """Take a job out; rows that nobody else wants and nobody took are forgotten."""
        self._jobs[job.lane].pop(job, None)
        for unit in job.units:
            unit.waiters = [waiter for waiter in unit.waiters if waiter[0] is not job]
            if unit.queued and not unit.waiters:
                unit.queued = False
                self.queued_tokens -= len(unit.ids)
                del self._units[unit.key]
        job.units, job.queues = [], {}

    def take(self) -> tuple[Priority, list[QueuedRow]]:
        """The next batch, never empty; call it only while ``queued_tokens`` is above 0."""
        lane = self._choose()
        head = self._first(lane)
        own = head.longest() if head else None
        if head is None or own is None:
            raise AssertionError("take() was called on empty lanes")
        # Longer rows of others may come along, if the budget still reaches the row whose turn it
        # is.
        longer = (
            n
            for job in self._jobs[lane]
            for n, queue in job.queues.items()
            if queue and n < 2 * own
        )
        units = self._fill(lane, max([own, *longer]))
        if not any(job is head for unit in units for job, _ in unit.waiters):
            units = self._fill(lane, own)
        for unit in units:
            unit.queued = False
            self.queued_tokens -= len(unit.ids)
        self._jobs[lane].move_to_end(head)
        return lane, units

    def forget(self, unit: QueuedRow) -> None:
        """The unit was computed: the same row, asked for again, is a new one."""
        del self._units[unit.key]

    def _choose(self) -> Priority:
        has_query, has_bulk = (self._first(lane) is not None for lane in ("query", "bulk"))
        if has_query and (not has_bulk or self._query_batches < _QUERY_BATCHES_IN_A_ROW):
            self._query_batches += 1
            return "query"
        self._query_batches = 0
        return "bulk"

    def _first(self, lane: Priority) -> Request | None:
        """The job whose turn it is, after dropping those whose rows were all taken."""
        jobs = self._jobs[lane]
        while jobs:
            job = next(iter(jobs))
            if job.longest() is not None:
                return job
            del jobs[job]
        return None

    def _fill(self, lane: Priority, start: int) -> list[QueuedRow]:
        """Rows of ``start`` tokens and less, as many as the budget takes when they are padded."""
        units: list[QueuedRow] = []
        for unit in self._downwards(lane, start):
            longest = len(units[0].ids) if units else len(unit.ids)
            # Rows of half the length or less would be more padding than row: they make a batch of
            # their own.
            if units and (
                (len(units) + 1) * longest > self._batch_tokens or 2 * len(unit.ids) <= longest
            ):
                break
            units.append(unit)
        return units

    def _downwards(self, lane: Priority, longest: int) -> Iterator[QueuedRow]:
        """Rows by length from ``longest`` downwards, of each length one from every job in turn."""
        seen: set[int] = set()
        for length in range(longest, 0, -1):
            turns = deque(
                iter(tuple(job.queues[length])) for job in self._jobs[lane] if length in job.queues
            )
            while turns:
                rows = turns.popleft()
                unit = next((unit for unit in rows if unit.queued and id(unit) not in seen), None)
                if unit is not None:
                    seen.add(id(unit))
                    turns.append(rows)
                    yield unit
