"""The micro-batcher: rows of tokens from many requests share one batch of the engine.

::

    submit(rows, "query") ─┐                 batch under a ┌─▶ Request.future
    submit(rows, "bulk")  ─┴▶ RequestQueue ─▶ token budget ┴─▶ Request.future
                                              of like lengths

One thread owns the engine. It takes the next batch the moment the last one ends. A batch is thus
decided as late as possible, and a query waits for at most one running batch. Requests of one
priority take turns row by row: a request of ten thousand texts does not hold up one of three. Rows
with the same token ids are computed once. A batch that fails is halved until only the row at fault
fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from lusifer.embedding.batching import run_batch
from lusifer.errors import (
    EngineBusyError,
    EngineError,
    EngineOutputError,
    LusiferError,
    NotReadyError,
)
from lusifer.service.queue import Priority, QueuedRow, Request, RequestQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.engines.base import Engine

__all__ = ["BatchReport", "MicroBatcher"]

_SPEED_DECAY = 0.95
"""Factor by which each new batch reduces the weight of earlier ones in the measured speed."""

_ARRIVALS = 32
"""Number of gaps between requests whose median says how fast requests arrive."""

_BUSY_WINDOW_S = 60.0
"""Seconds over which the share of computing time is measured."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchReport:
    """Figures of one call of the engine, for metrics."""

    priority: Priority
    rows: int
    tokens: int
    padded_tokens: int
    """Number of rows times the length of the longest row."""
    duration_s: float
    waited_s: float
    """Seconds that the oldest row of the batch had waited."""


class MicroBatcher:
    """Runs the rows of all requests through one engine, in a thread of its own.

    Args:
        engine: Computes the vectors. Only the batcher's thread calls it.
        dimension: Length D of the engine's vectors.
        pad_token_id: Token id that fills rows up to the longest of a batch.
        batch_tokens: Maximum padded tokens in one batch. A longer row still goes, alone. It bounds
            how long a query waits behind documents.
        maximum_wait_s: Maximum seconds an idle engine waits for more rows before it starts a batch
            that is not full.
        on_batch: Called in the batcher's thread after each batch. It must be quick.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        dimension: int,
        pad_token_id: int,
        batch_tokens: int,
        maximum_wait_s: float = 0.005,
        on_batch: Callable[[BatchReport], None] = lambda report: None,
    ) -> None:
        self._engine_name = engine.name
        self._run = partial(run_batch, engine, dimension=dimension, pad_token_id=pad_token_id)
        self._dimension = dimension
        self._batch_tokens = batch_tokens
        self._maximum_wait_s = maximum_wait_s
        self._on_batch = on_batch
        self._condition = threading.Condition()
        self._queue = RequestQueue(batch_tokens)
        self._running_tokens = 0
        self.completed_batches = 0
        """Number of batches that the engine has ended, with or without success."""
        self._speed = (0.0, 0.0)
        self._gaps_s: deque[float] = deque(maxlen=_ARRIVALS)
        self._last_arrival_s = time.monotonic()
        self._busy: deque[tuple[float, float]] = deque()
        self._started_s = time.monotonic()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="lusifer-engine", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[NDArray[np.int32]], priority: Priority) -> Request:
        """Queue R rows of token ids ``(T_i,)`` and return at once.

        Raises:
            NotReadyError: The batcher is closing.
        """
        request = Request(priority, len(rows), self._dimension)
        if not rows:
            request.future.set_result(request.vectors)
            return request
        now_s = time.monotonic()
        with self._condition:
            if self._closing:
                raise NotReadyError(
                    "The service is stopping.", next_step="Send the request again.", retry_after_s=5
                )
            self._queue.add(request, rows, now_s)
            self._gaps_s.append(now_s - self._last_arrival_s)
            self._last_arrival_s = now_s
            self._condition.notify()
        return request

    def cancel(self, request: Request) -> None:
        """Remove the request's rows that were not started and that no other request wants.

        Calling it twice is fine.
        """
        with self._condition:
            if request.future.cancel():
                self._queue.remove(request)

    @property
    def queued_tokens(self) -> int:
        """Number of tokens that wait or are being computed."""
        return self._queue.queued_tokens + self._running_tokens

    @property
    def tokens_per_s(self) -> float:
        """Speed measured over the last batches without padding, 0 before the first batch."""
        tokens, duration_s = self._speed
        return tokens / duration_s if duration_s else 0.0

    @property
    def busy_ratio(self) -> float:
        """Share of the last minute in which the engine computed, from 0 to 1."""
        now_s = time.monotonic()
        begin_s = max(self._started_s, now_s - _BUSY_WINDOW_S)
        with self._condition:
            busy_s = sum(end - max(start, begin_s) for start, end in self._busy if end > begin_s)
        return min(1.0, busy_s / (now_s - begin_s)) if now_s > begin_s else 0.0

    def close(self) -> None:
        """Finish queued rows, refuse new ones and end the thread. The engine stays open."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def _await_batch(self) -> tuple[Priority, list[QueuedRow]] | None:
        """Wait for the next batch; return None when the batcher is closing and nothing is left."""
        with self._condition:
            while True:
                while not self._queue.queued_tokens:
                    if self._closing:
                        return None
                    self._condition.wait()
                self._gather()
                if self._queue.queued_tokens:  # else every request was cancelled meanwhile
                    priority, batch = self._queue.take()
                    self._running_tokens = sum(len(row.ids) for row in batch)
                    return priority, batch

    def _gather(self) -> None:
        """Wait for more rows while requests arrive faster than the longest wait.

        A lone request starts at once.
        """
        # The median, because clients that wait for one batch return together after one long gap.
        quiet_s = max(2 * median(self._gaps_s), 0.0005)
        deadline_s = time.monotonic() + self._maximum_wait_s
        while 0 < self._queue.queued_tokens < self._batch_tokens and not self._closing:
            now_s = time.monotonic()
            ends_s = min(deadline_s, self._last_arrival_s + quiet_s)
            if quiet_s > self._maximum_wait_s or now_s >= ends_s:
                return
            self._condition.wait(ends_s - now_s)

    def _work(self) -> None:
        while (taken := self._await_batch()) is not None:
            priority, batch = taken
            start_s = time.monotonic()
            outcomes = self._compute(batch)
            end_s = time.monotonic()
            report = BatchReport(
                priority=priority,
                rows=len(batch),
                tokens=sum(len(row.ids) for row in batch),
                padded_tokens=len(batch) * max(len(row.ids) for row in batch),
                duration_s=end_s - start_s,
                waited_s=start_s - min(row.since_s for row in batch),
            )
            with self._condition:
                self._running_tokens = 0
                self.completed_batches += 1
                self._note(start_s, end_s, report.tokens)
                ended = self._deliver(batch, outcomes)
            for request, error in ended.items():
                if error is None:
                    request.future.set_result(request.vectors)
                else:
                    request.future.set_exception(error)
            try:
                self._on_batch(report)
            except Exception:  # this thread must outlive a callback that fails
                _LOG.exception("the report of a batch failed")

    def _compute(self, batch: Sequence[QueuedRow]) -> list[NDArray[np.float32] | LusiferError]:
        # Without a limit an engine that always returns invalid vectors would be called twice for
        # every row of every batch.
        retries = 8 + 2 * len(batch).bit_length()

        def attempt(part: Sequence[QueuedRow]) -> list[NDArray[np.float32] | LusiferError]:
            nonlocal retries
            try:
                return list(self._run([row.ids for row in part]))
            except (EngineBusyError, EngineOutputError) as error:
                if isinstance(error, EngineOutputError):
                    retries -= 1
                if len(part) == 1 or retries < 0:
                    return [error] * len(part)
            except LusiferError as error:
                return [error] * len(part)
            except Exception as error:  # an engine may raise anything; requests need an answer
                return [_unexpected(self._engine_name, error)] * len(part)
            half = len(part) // 2
            return attempt(part[:half]) + attempt(part[half:])

        return attempt(batch)

    def _note(self, start_s: float, end_s: float, tokens: int) -> None:
        self._busy.append((start_s, end_s))
        while self._busy[0][1] < end_s - _BUSY_WINDOW_S:
            self._busy.popleft()
        before_tokens, before_s = self._speed
        self._speed = (
            _SPEED_DECAY * before_tokens + tokens,
            _SPEED_DECAY * before_s + end_s - start_s,
        )

    def _deliver(
        self, batch: Sequence[QueuedRow], outcomes: Sequence[NDArray[np.float32] | LusiferError]
    ) -> dict[Request, LusiferError | None]:
        """Give vectors to their requests; return the requests that are done, each with its error.

        The error is None for a request that has all its vectors.
        """
        ended: dict[Request, LusiferError | None] = {}
        for row, outcome in zip(batch, outcomes, strict=True):
            self._queue.forget(row)
            for request, index in row.waiters:
                if isinstance(outcome, LusiferError):
                    # Nobody needs the request's other rows now, but other requests go on.
                    ended.setdefault(request, outcome)
                    continue
                request.vectors[index] = outcome
                request.missing -= 1
                if request.missing == 0:
                    ended.setdefault(request, None)
        for request in ended:
            self._queue.remove(request)
        # A client that left a moment ago has cancelled its future.
        return {
            request: error
            for request, error in ended.items()
            if request.future.set_running_or_notify_cancel()
        }


def _unexpected(engine: str, error: Exception) -> EngineError:
    wrapped = EngineError(
        f"The engine {engine} failed: {type(error).__name__}: {error}.",
        next_step="Read the service's log. Restart the service if it happens again.",
    )
    wrapped.__cause__ = error
    return wrapped
