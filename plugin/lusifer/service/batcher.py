"""The micro-batcher: rows of tokens from many requests meet in one batch of the engine.

::

    submit(rows, "query") ─┐  lane of queries ─┐                        ┌─▶ Request.future
    submit(rows, "bulk")  ─┴▶ lane of bulk    ─┴▶ batch under a token ──┴─▶ Request.future
                                                  budget, like lengths

One thread owns the engine. It takes the next batch the moment the last one ends, so a batch is
decided as late as possible and a question waits for at most one running batch. Within a lane jobs
take turns row by row, so a request of ten thousand texts does not hold up one of three. Rows with
the same token ids are computed once. A batch that fails is cut in halves until only the row at
fault fails.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
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

_LOG = logging.getLogger(__name__)

_SPEED_DECAY = 0.95
"""What a batch counts in the measured speed once the next one is done."""

_ARRIVALS = 32
"""Gaps between requests whose median tells how fast they come."""

_BUSY_WINDOW_S = 60.0


@dataclass(frozen=True)
class BatchReport:
    """What one call of the engine did, for metrics."""

    lane: Priority
    rows: int
    tokens: int
    padded_tokens: int
    """Rows times the longest row."""
    duration_s: float
    waited_s: float
    """How long its oldest row had waited."""


class MicroBatcher:
    """Runs the rows of all requests through one engine, in a thread of its own.

    Args:
        engine: What computes; only the batcher's thread calls it.
        dimension: Length D of the engine's vectors.
        pad_token_id: Fills rows up to the longest of a batch.
        batch_tokens: Most padded tokens in one batch (a longer single row still goes alone). It
            bounds how long a question waits behind documents.
        maximum_wait_s: Longest time an idle engine waits for company before a batch that is not
            full.
        on_batch: Called in the batcher's thread after each batch; must be quick.
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
        self._engine = engine
        self._dimension = dimension
        self._pad_token_id = pad_token_id
        self._batch_tokens = batch_tokens
        self._maximum_wait_s = maximum_wait_s
        self._on_batch = on_batch
        self._condition = threading.Condition()
        self._lanes = RequestQueue(batch_tokens)
        self._running_tokens = 0
        self._speed = (0.0, 0.0)
        self._gaps_s: deque[float] = deque(maxlen=_ARRIVALS)
        self._last_arrival_s = time.monotonic()
        self._busy: deque[tuple[float, float]] = deque()
        self._started_s = time.monotonic()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="lusifer-engine", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[NDArray[np.int32]], lane: Priority) -> Request:
        """Queue R rows of token ids ``(T_i,)`` and return at once.

        Raises:
            NotReadyError: The batcher is closing.
        """
        job = Request(lane, len(rows), self._dimension)
        if not rows:
            job.future.set_result(job.vectors)
            return job
        now_s = time.monotonic()
        with self._condition:
            if self._closing:
                raise NotReadyError(
                    "The service is stopping.", next_step="Send the request again.", retry_after_s=5
                )
            self._lanes.add(job, rows, now_s)
            self._gaps_s.append(now_s - self._last_arrival_s)
            self._last_arrival_s = now_s
            self._condition.notify()
        return job

    def cancel(self, job: Request) -> None:
        """Forget the job's rows that were not started and that nobody else wants; twice is fine."""
        with self._condition:
            if job.future.cancel():
                self._lanes.remove(job)

    @property
    def queued_tokens(self) -> int:
        """Tokens that wait or are being computed."""
        return self._lanes.queued_tokens + self._running_tokens

    @property
    def tokens_per_s(self) -> float:
        """Measured speed over the last batches, padding not counted; 0 before the first."""
        tokens, duration_s = self._speed
        return tokens / duration_s if duration_s else 0.0

    @property
    def busy_ratio(self) -> float:
        """Share of the last minute in which the engine computed, 0 to 1."""
        now_s = time.monotonic()
        begin_s = max(self._started_s, now_s - _BUSY_WINDOW_S)
        with self._condition:
            busy_s = sum(end - max(start, begin_s) for start, end in self._busy if end > begin_s)
        return min(1.0, busy_s / (now_s - begin_s)) if now_s > begin_s else 0.0

    def close(self) -> None:
        """Finish what is queued, refuse what comes, and end the thread; the engine stays open."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()

    def _await_batch(self) -> tuple[Priority, list[QueuedRow]] | None:
        """Block until there is a batch; None when the batcher is closing and nothing is left."""
        with self._condition:
            while True:
                while not self._lanes.queued_tokens:
                    if self._closing:
                        return None
                    self._condition.wait()
                self._gather()
                if self._lanes.queued_tokens:  # else everything was cancelled meanwhile
                    lane, units = self._lanes.take()
                    self._running_tokens = sum(len(unit.ids) for unit in units)
                    return lane, units

    def _gather(self) -> None:
        """Wait for company while requests come faster than the longest wait; a lone request goes at once."""
        # The median, since clients that wait for one batch come back together after one long gap.
        quiet_s = max(2 * median(self._gaps_s), 0.0005)
        deadline_s = time.monotonic() + self._maximum_wait_s
        while 0 < self._lanes.queued_tokens < self._batch_tokens and not self._closing:
            now_s = time.monotonic()
            ends_s = min(deadline_s, self._last_arrival_s + quiet_s)
            if quiet_s > self._maximum_wait_s or now_s >= ends_s:
                return
            self._condition.wait(ends_s - now_s)

    def _work(self) -> None:
        while (batch := self._await_batch()) is not None:
            lane, units = batch
            start_s = time.monotonic()
            outcomes = self._compute(units)
            end_s = time.monotonic()
            report = BatchReport(
                lane=lane,
                rows=len(units),
                tokens=sum(len(unit.ids) for unit in units),
                padded_tokens=len(units) * max(len(unit.ids) for unit in units),
                duration_s=end_s - start_s,
                waited_s=start_s - min(unit.since_s for unit in units),
            )
            with self._condition:
                self._running_tokens = 0
                self._note(start_s, end_s, report.tokens)
                ended = self._deliver(units, outcomes)
            for job, error in ended.items():
                if error is None:
                    job.future.set_result(job.vectors)
                else:
                    job.future.set_exception(error)
            try:
                self._on_batch(report)
            except Exception:  # this thread must outlive whatever counts its batches
                _LOG.exception("the report of a batch failed")

    def _compute(self, units: Sequence[QueuedRow]) -> list[NDArray[np.float32] | LusiferError]:
        # An engine that always answers nonsense would otherwise be asked twice for every row of
        # every batch.
        retries = 8 + 2 * len(units).bit_length()

        def attempt(part: Sequence[QueuedRow]) -> list[NDArray[np.float32] | LusiferError]:
            nonlocal retries
            try:
                rows = [unit.ids for unit in part]
                return list(
                    run_batch(
                        self._engine,
                        rows,
                        dimension=self._dimension,
                        pad_token_id=self._pad_token_id,
                    )
                )
            except (EngineBusyError, EngineOutputError) as error:
                if isinstance(error, EngineOutputError):
                    retries -= 1
                if len(part) == 1 or retries < 0:
                    return [error] * len(part)
            except LusiferError as error:
                return [error] * len(part)
            except Exception as error:  # whatever it is, the requests must be answered
                return [_unexpected(self._engine.name, error)] * len(part)
            half = len(part) // 2
            return attempt(part[:half]) + attempt(part[half:])

        return attempt(units)

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
        self, units: Sequence[QueuedRow], outcomes: Sequence[NDArray[np.float32] | LusiferError]
    ) -> dict[Request, LusiferError | None]:
        """Hand vectors to their jobs; returns the jobs that end with this batch, and the error of each."""
        ended: dict[Request, LusiferError | None] = {}
        for unit, outcome in zip(units, outcomes, strict=True):
            self._lanes.forget(unit)
            for job, index in unit.waiters:
                if isinstance(outcome, LusiferError):
                    # The job's other rows are of no use to anybody now, but its neighbours go on.
                    ended.setdefault(job, outcome)
                    continue
                job.vectors[index] = outcome
                job.missing -= 1
                if job.missing == 0:
                    ended.setdefault(job, None)
        for job in ended:
            self._lanes.remove(job)
        # A client that left a moment ago has cancelled its future.
        return {
            job: error for job, error in ended.items() if job.future.set_running_or_notify_cancel()
        }


def _unexpected(engine: str, error: Exception) -> EngineError:
    wrapped = EngineError(
        f"The engine {engine} failed: {type(error).__name__}: {error}.",
        next_step="Look at the service's log; restart the service if it repeats.",
    )
    wrapped.__cause__ = error
    return wrapped
