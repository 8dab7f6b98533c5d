"""Queue of rows for the engine: which requests want a row, whose turn it is, what a batch holds.

A plain data structure without threads or clocks. :mod:`lusifer.service.batcher` guards it with a
lock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Priority", "QueuedRow", "Request", "RequestQueue"]

Priority = Literal["canary", "query", "bulk"]
"""``canary``: the check of the model, a few rows before all others. ``query``: a user waits for the
vectors. ``bulk``: they are documents to be stored."""

_QUERY_BATCHES_IN_A_ROW = 4
"""Number of query batches after which one bulk batch goes first, so that bulk never stops."""


class Request:
    """The rows of one request on their way through the engine.

    Args:
        priority: Priority of all rows.
        rows: Number of rows R.
        dimension: Length D of their vectors.
    """

    def __init__(self, priority: Priority, rows: int, dimension: int) -> None:
        self.future: Future[NDArray[np.float32]] = Future()
        """``(R, D)`` checked unit vectors in the order of the rows, or the error of the first row
        that failed."""
        self.priority: Priority = priority
        self.vectors: NDArray[np.float32] = np.empty((rows, dimension), dtype=np.float32)
        self.missing = rows
        """Number of rows without a vector."""
        self.rows: list[QueuedRow] = []
        self.by_length: dict[int, deque[QueuedRow]] = {}
        """Rows to take, by length in tokens. A batch of another request may have taken some."""

    def longest(self) -> int | None:
        """Return the length of the longest row that no batch has taken, None if there is none."""
        for length in sorted(self.by_length, reverse=True):
            rows = self.by_length[length]
            while rows and not rows[0].queued:
                rows.popleft()
            if rows:
                return length
            del self.by_length[length]
        return None


@dataclass(eq=False)
class QueuedRow:
    """One distinct row of token ids, wanted by one or more requests."""

    ids: NDArray[np.int32]
    key: bytes
    since_s: float
    waiters: list[tuple[Request, int]] = field(default_factory=list)
    """The requests that want the row, and its index in each."""
    queued: bool = True


class RequestQueue:
    """A queue of requests for each priority.

    The canary goes first, then queries. Requests of one priority take turns. Equal rows are stored
    once.

    Args:
        batch_tokens: Maximum padded tokens in a batch. A longer row still goes, alone.
    """

    def __init__(self, batch_tokens: int) -> None:
        self.queued_tokens = 0
        """Tokens of the distinct rows that no batch has taken."""
        self._batch_tokens = batch_tokens
        self._requests: dict[Priority, OrderedDict[Request, None]] = {
            priority: OrderedDict() for priority in get_args(Priority)
        }
        self._rows: dict[bytes, QueuedRow] = {}
        self._query_batches = 0

    def add(self, request: Request, rows: Sequence[NDArray[np.int32]], now_s: float) -> None:
        """Queue the rows ``(T_i,)`` of a new request."""
        for index, ids in enumerate(rows):
            key = ids.tobytes()
            row = self._rows.get(key)
            if row is None:
                row = self._rows[key] = QueuedRow(ids, key, now_s)
                self.queued_tokens += len(ids)
            row.waiters.append((request, index))
            request.rows.append(row)
            if row.queued:
                # In this request's queue too: a query may overtake the bulk request that wanted
                # the row first.
                request.by_length.setdefault(len(ids), deque()).append(row)
        if request.by_length:
            self._requests[request.priority][request] = None

    def remove(self, request: Request) -> None:
        """Remove a request, and its rows that no batch has taken and no other request wants."""
        self._requests[request.priority].pop(request, None)
        for row in request.rows:
            row.waiters = [waiter for waiter in row.waiters if waiter[0] is not request]
            if row.queued and not row.waiters:
                row.queued = False
                self.queued_tokens -= len(row.ids)
                del self._rows[row.key]
        request.rows, request.by_length = [], {}

    def take(self) -> tuple[Priority, list[QueuedRow]]:
        """Take the next batch, which is never empty.

        Call it only while ``queued_tokens`` is above 0.
        """
        priority = self._choose()
        head = self._first(priority)
        own = head.longest() if head else None
        if head is None or own is None:
            raise AssertionError("take() was called on an empty queue")
        # Longer rows of other requests may join, if the budget still reaches the row whose turn it
        # is.
        longer = (
            length
            for request in self._requests[priority]
            for length, rows in request.by_length.items()
            if rows and length < 2 * own
        )
        batch = self._fill(priority, max([own, *longer]))
        if not any(request is head for row in batch for request, _ in row.waiters):
            batch = self._fill(priority, own)
        for row in batch:
            row.queued = False
            self.queued_tokens -= len(row.ids)
        self._requests[priority].move_to_end(head)
        return priority, batch

    def forget(self, row: QueuedRow) -> None:
        """Forget a computed row: an equal row that arrives later is queued again."""
        del self._rows[row.key]

    def _choose(self) -> Priority:
        if self._first("canary") is not None:
            return "canary"
        has_query, has_bulk = (self._first(each) is not None for each in ("query", "bulk"))
        if has_query and (not has_bulk or self._query_batches < _QUERY_BATCHES_IN_A_ROW):
            self._query_batches += 1
            return "query"
        self._query_batches = 0
        return "bulk"

    def _first(self, priority: Priority) -> Request | None:
        """Return the request whose turn it is, after dropping requests without rows to take."""
        requests = self._requests[priority]
        while requests:
            request = next(iter(requests))
            if request.longest() is not None:
                return request
            del requests[request]
        return None

    def _fill(self, priority: Priority, start: int) -> list[QueuedRow]:
        """Collect rows of at most ``start`` tokens, as many as the padded budget allows."""
        batch: list[QueuedRow] = []
        for row in self._downwards(priority, start):
            longest = len(batch[0].ids) if batch else len(row.ids)
            # Rows of at most half the length would be mostly padding: they make a batch of their
            # own.
            if batch and (
                (len(batch) + 1) * longest > self._batch_tokens or 2 * len(row.ids) <= longest
            ):
                break
            batch.append(row)
        return batch

    def _downwards(self, priority: Priority, longest: int) -> Iterator[QueuedRow]:
        """Yield rows from ``longest`` downwards, within a length one from each request in turn."""
        seen: set[int] = set()
        for length in range(longest, 0, -1):
            turns = deque(
                iter(tuple(request.by_length[length]))
                for request in self._requests[priority]
                if length in request.by_length
            )
            while turns:
                rows = turns.popleft()
                row = next((row for row in rows if row.queued and id(row) not in seen), None)
                if row is not None:
                    seen.add(id(row))
                    turns.append(rows)
                    yield row
