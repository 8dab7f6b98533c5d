"""The core behind every protocol: from the texts of a request to checked vectors.

::

    texts ─ limits ─ admission ─┬─ cache ──────────────────────────────────────┬─ vectors
                                └─ check, tokenise (a thread) ─ micro-batcher ─┘
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, get_args

from lusifer.bundle.names import check_name
from lusifer.errors import (
    DeadlineExceededError,
    InvalidInputError,
    NotReadyError,
    RequestTooLargeError,
)
from lusifer.service.admission import (
    TOKENS_PER_TEXT,
    Admission,
    KeyRateLimits,
    estimate_tokens,
)
from lusifer.service.batcher import BatchReport, MicroBatcher
from lusifer.service.in_flight import BytesInFlight
from lusifer.service.prepared_texts import finish, prepare
from lusifer.service.worker_lanes import WorkerLanes, lane_of
from lusifer.types import Embeddings, LongTextPolicy, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.embedding.tokenization import TokenRows
    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer.service.cache import VectorCache
    from lusifer.service.in_flight import RequestBytes
    from lusifer.service.metrics import Metrics, Stage
    from lusifer.service.queue import Priority
    from lusifer.service.settings import Settings
    from lusifer.service.worker_lanes import Lane

__all__ = ["Caller", "EmbeddingService", "Status"]

_Answer = TypeVar("_Answer")

_NUMBER_BYTES = 20
"""Bytes of a number of an answer: twice as float32, once in at most 12 characters."""

_TEXT_BYTES = 1024
"""Bytes of a text's token rows, its places in queue and cache, and Python's overhead for them."""

_STARTING = "The model is being loaded and warmed up."


@dataclass(frozen=True)
class Caller:
    """The client of one request, for limits, logs and metrics."""

    key: str | None
    """Name of the API key, None where keys are off."""
    request_id: str
    protocol: str
    held: RequestBytes
    """The request's part of the account of bytes in flight."""
    maximum_texts: int | None = None
    """Maximum texts in one request with this key, None for the service's own limit."""
    tokens_per_minute: int | None = None
    """Tokens that this key may embed in a minute, None for no limit."""
    path_model: str | None = None
    """Model that the path names, None in most protocols."""


@dataclass(frozen=True)
class Status:
    """Load of the service at one moment."""

    queued_tokens: int
    capacity_tokens: int
    tokens_per_s: float
    engine_busy: float
    """Share of the last minute in which the engine computed, from 0 to 1."""
    in_flight_requests: int
    uptime_s: float


class EmbeddingService:
    """Embeds texts for many callers at once without blocking the event loop.

    It raises NotReadyError until :meth:`start` has been given a vectorizer and :meth:`set_ready`
    was called.

    Args:
        settings: Limits and defaults.
        metrics: Counters of this service.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.vectorizer: Vectorizer | None = None
        self.in_flight_requests = 0
        self._cache: VectorCache | None = None
        self._batcher: MicroBatcher | None = None
        self._reason: str | None = _STARTING
        self._started_s = time.monotonic()
        self.lanes = WorkerLanes()
        self.bytes_in_flight = BytesInFlight(settings.in_flight_bytes, key_share=settings.key_share)
        self._rate_limits = KeyRateLimits()
        self.admission = Admission(
            settings.queue_tokens,
            key_share=settings.key_share,
            tokens_per_s=lambda: self._batcher.tokens_per_s if self._batcher else 0.0,
        )

    def start(self, vectorizer: Vectorizer, cache: VectorCache | None) -> None:
        """Take a loaded model. The service is not ready before :meth:`set_ready`."""
        manifest = vectorizer.bundle.manifest
        self.vectorizer, self._cache = vectorizer, cache
        self._batcher = MicroBatcher(
            vectorizer.engine,
            dimension=manifest.dimension,
            pad_token_id=manifest.pad_token_id,
            batch_tokens=self.settings.batch_tokens,
            maximum_wait_s=self.settings.maximum_wait_ms / 1000,
            on_batch=self._on_batch,
        )

    def set_ready(self, reason: str | None) -> None:
        """Set the service ready (None) or not ready, with the reason in one sentence."""
        self._reason = reason

    def clear_cache(self) -> None:
        """Clear the cache, whose vectors may date from before a fault of the model was found.

        It blocks, so call it in a thread.
        """
        if self._cache is not None:
            self._cache.clear()

    def not_ready_reason(self) -> str | None:
        """Return why requests are refused, None when they are served."""
        return self._reason

    def stop(self) -> None:
        """Finish queued texts and release threads, cache and model.

        It blocks, so call it in a thread.
        """
        self._reason = "The service is stopping."
        if self._batcher is not None:
            self._batcher.close()
        self.lanes.close()
        if self._cache is not None:
            self._cache.close()
        if self.vectorizer is not None:
            self.vectorizer.close()

    def accepted_models(self) -> tuple[str, ...]:
        """Return the names a request may give the model.

        These are the manifest's name, ``lusifer/`` and that name, and the operator's aliases; each
        of them may be followed by ``@`` and the first digits of the fingerprint.
        """
        if self.vectorizer is None:
            return self.settings.model_aliases
        name = self.vectorizer.model_name
        return (name, f"lusifer/{name}", *self.settings.model_aliases)

    def check_model(self, model: str | None) -> None:
        """Refuse a model that is not served; a request without a name gets the served one.

        Raises:
            UnknownModelError: The name is not one of :meth:`accepted_models`, or is followed by
                another model's fingerprint.
            NotReadyError: The model is still being loaded, so its name is not known.
        """
        self._check_ready()
        if model:
            fingerprint = self.vectorizer.fingerprint if self.vectorizer else ""
            check_name(model, self.accepted_models(), fingerprint)

    def completed_batches(self) -> int:
        """Return the number of batches that the engine has ended."""
        return self._batcher.completed_batches if self._batcher else 0

    def cache_bytes(self) -> int:
        """Return the bytes that the cache uses."""
        return self._cache.size_bytes() if self._cache else 0

    def status(self) -> Status:
        """Measure the load at this moment."""
        batcher = self._batcher
        return Status(
            queued_tokens=self.admission.held_tokens,
            capacity_tokens=self.admission.capacity_tokens,
            tokens_per_s=batcher.tokens_per_s if batcher else 0.0,
            engine_busy=batcher.busy_ratio if batcher else 0.0,
            in_flight_requests=self.in_flight_requests,
            uptime_s=time.monotonic() - self._started_s,
        )

    async def embed(
        self,
        texts: Sequence[str],
        role: Role,
        *,
        caller: Caller,
        dimension: int | None = None,
        long_text: LongTextPolicy | None = None,
    ) -> Embeddings:
        """Embed the N texts of one request and return vectors ``(N, D)`` in their order.

        Cancelling the call takes the texts out of the queue.

        Args:
            texts: Texts as the caller sent them.
            role: Role of all texts. Queries overtake documents.
            caller: Client of the request.
            dimension: Length D, by default the model's own.
            long_text: Policy for texts over the token limit, by default the operator's.

        Raises:
            InvalidTextError: A text can't be embedded. The message names its index.
            TextTooLongError: The policy is ``error`` and a text is over the token limit.
            InvalidDimensionError: The model was not trained for this dimension.
            InvalidInputError: There is no text, or the policy is unknown.
            RequestTooLargeError: There are too many texts, a text is too large, or the request has
                more tokens than the queue may hold.
            OverloadedError: The queue or the account of bytes is full, or the share or rate of the
                caller's key is used up.
            NotReadyError: The service is starting or stopping, or its canary failed.
            DeadlineExceededError: The request was not computed within ``deadline_s``.
            EngineError: The model failed on texts of this request.
        """
        vectorizer = self._check_ready()
        sizes = self._check_limits(texts, caller)
        if dimension is not None:
            vectorizer.check_dimension(dimension)
        if long_text is not None and long_text not in get_args(LongTextPolicy):
            raise InvalidInputError(
                f"The long-text policy is {long_text!r}.",
                next_step=f"Use one of {', '.join(get_args(LongTextPolicy))}.",
            )
        length = dimension or vectorizer.dimension
        policy = long_text or vectorizer.long_text
        limit = vectorizer.bundle.manifest.maximum_tokens
        size_bytes = sum(sizes)
        # Before any work, and for equal texts too: each has a vector of its own in the answer.
        caller.held.take(
            sum(map(sys.getsizeof, texts))
            + size_bytes  # some protocols send the texts back
            + len(texts) * (_TEXT_BYTES + _NUMBER_BYTES * length)
        )
        lane = lane_of(len(texts), size_bytes)
        estimate = sum(
            estimate_tokens(size, limit, truncates=policy == "truncate") for size in sizes
        )
        with self.admission.hold(caller.key, estimate) as hold:
            # After admission, or a refused request would use up the key's minute.
            self._rate_limits.take(caller.key, caller.tokens_per_minute, estimate)
            try:
                async with asyncio.timeout(self.settings.deadline_s):
                    prepared = await self._in_thread(
                        lane,
                        "tokenize",
                        lambda between: prepare(
                            texts,
                            role,
                            length,
                            policy,
                            vectorizer=self._check_ready(),
                            cache=self._cache,
                            between=between,
                        ),
                    )
                    self.admission.settle(caller.key, hold, prepared.tokens)
                    # The vector of a repeated text costs no computing, and fills the answer.
                    used = prepared.tokens + TOKENS_PER_TEXT * prepared.repeated
                    self._rate_limits.give_back(caller.key, estimate - used)
                    priority: Priority = "query" if role == "query" else "bulk"
                    computed = await self._compute(prepared.rows, priority)
                    answer = await self._in_thread(
                        lane,
                        "finish",
                        lambda _: finish(
                            prepared,
                            computed,
                            length,
                            vectorizer=self._check_ready(),
                            cache=self._cache,
                        ),
                    )
            except TimeoutError:
                wait_s = max(1.0, self.admission.wait_s(self.admission.held_tokens))
                raise DeadlineExceededError(
                    f"{len(texts)} texts were not embedded within {self.settings.deadline_s:g} s.",
                    next_step=f"Send fewer texts at once, or the same again in {wait_s:.0f} s.",
                    retry_after_s=wait_s,
                ) from None
        self._count(role, texts, answer, prepared.cached, caller)
        return answer

    async def embed_canary(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors ``(N, D)`` of N documents, computed by the engine before all other rows.

        It works when the service is not ready, and never uses the cache. Thread and queue are its
        own, because a busy service must not delay the check of the model.
        """
        vectorizer = self.vectorizer
        if vectorizer is None:
            raise _not_ready(_STARTING)
        rows = await self._in_thread(
            "canary",
            "tokenize",
            lambda between: vectorizer.tokenize(
                texts, "document", long_text="truncate", between=between
            ),
        )
        return vectorizer.assemble(rows, await self._compute(rows, "canary")).vectors

    def _check_ready(self) -> Vectorizer:
        if self._reason is not None or self.vectorizer is None:
            raise _not_ready(self._reason or _STARTING)
        return self.vectorizer

    def _check_limits(self, texts: Sequence[str], caller: Caller) -> list[int]:
        """Return the UTF-8 size of each text; refuse too many or too large ones."""
        if not texts:
            raise InvalidInputError(
                "The list of texts is empty.", next_step="Send at least one text."
            )
        most = min(self.settings.maximum_texts, caller.maximum_texts or self.settings.maximum_texts)
        if len(texts) > most:
            raise RequestTooLargeError(
                f"The request has {len(texts)} texts, at most {most} are taken at once.",
                next_step="Split it into smaller requests.",
            )
        sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
        if (largest := max(sizes)) > self.settings.maximum_text_bytes:
            raise RequestTooLargeError(
                f"Text {sizes.index(largest)} has {largest} bytes, at most "
                f"{self.settings.maximum_text_bytes} are taken.",
                next_step="Split the text into passages: the model reads a few hundred tokens at "
                "once.",
            )
        return sizes

    async def _in_thread(
        self, lane: Lane, stage: Stage, work: Callable[[Callable[[], None]], _Answer]
    ) -> _Answer:
        start_s = time.perf_counter()
        try:
            return await self.lanes.run(lane, work)
        finally:
            self.metrics.stage(stage, time.perf_counter() - start_s)

    async def _compute(self, rows: Sequence[TokenRows], priority: Priority) -> NDArray[np.float32]:
        if self._batcher is None:
            raise _not_ready(_STARTING)
        windows = [window for text in rows for window in text.windows]
        request = self._batcher.submit(windows, priority)
        try:
            return await asyncio.wrap_future(request.future)
        except asyncio.CancelledError:
            self._batcher.cancel(request)
            raise

    def _count(
        self, role: Role, texts: Sequence[str], answer: Embeddings, cached: int, caller: Caller
    ) -> None:
        self.metrics.texts(caller.protocol, role, texts, sum(answer.tokens), sum(answer.truncated))
        if self._cache is not None:
            self.metrics.cache(hits=cached, misses=len(texts) - cached)

    def _on_batch(self, report: BatchReport) -> None:
        self.metrics.batch(
            rows=report.rows,
            tokens=report.tokens,
            padded_tokens=report.padded_tokens,
            priority=report.priority,
            budget_tokens=self.settings.batch_tokens,
        )
        self.metrics.stage("queue", report.waited_s)
        self.metrics.stage("engine", report.duration_s)


def _not_ready(reason: str) -> NotReadyError:
    return NotReadyError(reason, next_step="Try again in a few seconds.", retry_after_s=5)
