"""One core behind every protocol: from the texts of a request to checked vectors.

::

    texts ─ limits ─ admission ─┬─ cache ─────────────────────────────────────┬─ vectors
                                └─ check, tokenise (a thread) ─ micro-batcher ─┘
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import numpy as np

from lusifer.common.rate_limit import RateLimit
from lusifer.common.validation import check_texts
from lusifer.embedding.batching import check_vectors
from lusifer.errors import (
    DeadlineExceededError,
    InvalidInputError,
    KeyLimitError,
    NotReadyError,
    RequestTooLargeError,
    UnknownModelError,
)
from lusifer.service.admission import Admission, estimate_tokens
from lusifer.service.batcher import BatchReport, MicroBatcher
from lusifer.service.cache import VectorCache, cache_key
from lusifer.types import Embedding, Embeddings, LongTextPolicy, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from lusifer.embedding.tokenization import TokenRows
    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer.service.metrics import Metrics, Stage
    from lusifer.service.queue import Priority
    from lusifer.service.settings import Settings

__all__ = ["Caller", "EmbeddingService", "Status"]

_Answer = TypeVar("_Answer")

_STARTING = "The model is being loaded and warmed up."


@dataclass(frozen=True)
class Caller:
    """Who asks, for shares, logs and metrics."""

    key: str | None
    """Name of the API key, None where keys are off."""
    request_id: str
    protocol: str
    maximum_texts: int | None = None
    """The key's own limit."""
    tokens_per_minute: int | None = None
    """The key's own limit."""


@dataclass(frozen=True)
class Status:
    """The load at this moment."""

    queued_tokens: int
    capacity_tokens: int
    tokens_per_s: float
    engine_busy: float
    """Share of the last minute, 0 to 1."""
    in_flight_requests: int
    uptime_s: float


@dataclass(frozen=True)
class _Prepared:
    """The texts of a request, each once, after the cache and the tokenizer."""

    order: list[int]
    """For each text of the request its place among the distinct ones."""
    found: list[Embedding | None]
    keys: list[bytes]
    """Under which the others are kept once they are computed."""
    rows: list[TokenRows]
    """Of the others, in their order."""


class EmbeddingService:
    """Embeds for many callers at once; every method that waits gives the event loop back.

    Args:
        settings: Limits and defaults.
        metrics: Where it counts.

    It answers NotReadyError until :meth:`start` has been given a vectorizer.
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
        # More than cores: a few huge requests must leave a thread for everybody else.
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="lusifer-texts")
        self._rates: dict[str, RateLimit] = {}
        """Tokens of each API key that has a limit; a bucket holds one minute's worth."""
        self.admission = Admission(
            settings.queue_tokens,
            key_share=settings.key_share,
            tokens_per_s=lambda: self._batcher.tokens_per_s if self._batcher else 0.0,
        )

    def start(self, vectorizer: Vectorizer, cache: VectorCache | None) -> None:
        """Take a loaded model; the service still says it is not ready until :meth:`set_ready`."""
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
        """Say that the service is ready (None), or why it is not, in one sentence."""
        self._reason = reason

    def forget(self) -> None:
        """Empty the cache, whose vectors may be the model's of the time before it was found wrong; blocks."""
        if self._cache is not None:
            self._cache.clear()

    def not_ready_reason(self) -> str | None:
        """Why requests are refused, None when they are served."""
        return self._reason

    def stop(self) -> None:
        """Finish what is queued and give back threads; blocks, so call it off the event loop."""
        self._reason = "The service is stopping."
        if self._batcher is not None:
            self._batcher.close()
        self._threads.shutdown()
        if self._cache is not None:
            self._cache.close()
        if self.vectorizer is not None:
            self.vectorizer.close()

    def accepted_models(self) -> tuple[str, ...]:
        """Names a request may give: the manifest's, ``lusifer/`` and that name, the operator's aliases."""
        if self.vectorizer is None:
            return self.settings.model_aliases
        name = self.vectorizer.model_name
        return (name, f"lusifer/{name}", *self.settings.model_aliases)

    def check_model(self, model: str | None) -> None:
        """Refuse a model that is not served; no name means ours.

        Raises:
            UnknownModelError: The name is not one of :meth:`accepted_models`.
            NotReadyError: The model is still being loaded, so its name is not known.
        """
        self._check_ready()
        if model and model not in (accepted := self.accepted_models()):
            raise UnknownModelError(
                f"The model {model[:200]!r} is not served here.",
                next_step=f"Use {' or '.join(map(repr, accepted))}, or add the name to model_aliases.",
            )

    def cache_bytes(self) -> int:
        """What the cache holds."""
        return self._cache.size_bytes() if self._cache else 0

    def status(self) -> Status:
        """The load at this moment."""
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
        """Embed N texts of one request; the answer has vectors ``(N, D)`` in their order.

        Cancelling the call takes the texts out of the queue.

        Args:
            texts: As the caller gave them.
            role: Of all texts; queries overtake documents.
            caller: Who asks.
            dimension: Length D, the model's own by default.
            long_text: Another policy than the operator's.

        Raises:
            InvalidTextError: A text can't be embedded; the message names its index.
            TextTooLongError: The policy is ``error`` and a text is over the token limit.
            InvalidDimensionError: The model was not trained for this dimension.
            InvalidInputError: No texts.
            RequestTooLargeError: Too many texts, a text too large, or more tokens than the queue
                may hold.
            OverloadedError: The queue is full, or what the caller's key may use of it.
            NotReadyError: The service is starting, stopping or distrusts its model.
            DeadlineExceededError: Not computed within ``deadline_s``.
            EngineError: The model failed on this request's texts.
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
        dimension = dimension or vectorizer.dimension
        long_text = long_text or vectorizer.long_text
        limit = vectorizer.bundle.manifest.maximum_tokens
        estimate = sum(
            estimate_tokens(size, limit, truncates=long_text == "truncate") for size in sizes
        )
        with self.admission.hold(caller.key, estimate) as hold:
            # After the queue, or a refused request would use up the key's minute.
            self._check_rate(caller, estimate)
            try:
                async with asyncio.timeout(self.settings.deadline_s):
                    prepared = await self._off_loop(
                        "tokenize", self._prepare, texts, role, dimension, long_text
                    )
                    tokens = sum(row.tokens for row in prepared.rows)
                    self.admission.correct(caller.key, hold, tokens)
                    if caller.key in self._rates:
                        self._rates[caller.key].give_back(estimate - tokens)
                    lane: Priority = "query" if role == "query" else "bulk"
                    computed = await self._compute(prepared.rows, lane)
                    answer = await self._off_loop(
                        "finish", self._finish, prepared, computed, dimension
                    )
            except TimeoutError:
                wait_s = max(1.0, self.admission.wait_s(self.admission.held_tokens))
                raise DeadlineExceededError(
                    f"{len(texts)} texts were not embedded within {self.settings.deadline_s:g} s.",
                    next_step=f"Send fewer texts at once, or the same again in {wait_s:.0f} s.",
                    retry_after_s=wait_s,
                ) from None
        found = sum(prepared.found[place] is not None for place in prepared.order)
        self._count(role, texts, answer, found, caller)
        return answer

    async def embed_uncached(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Vectors ``(N, D)`` through the engine itself, ready or not: what the canary looks at.

        Among the queries, whatever the role: a long import must not put off what watches the model.
        """
        if self.vectorizer is None:
            raise NotReadyError(_STARTING, next_step="Try again in a few seconds.", retry_after_s=5)
        tokenize = partial(self.vectorizer.tokenize, texts, role, long_text="truncate")
        rows = await self._off_loop("tokenize", tokenize)
        return self.vectorizer.assemble(rows, await self._compute(rows, "query")).vectors

    def _check_ready(self) -> Vectorizer:
        if self._reason is not None or self.vectorizer is None:
            raise NotReadyError(
                self._reason or _STARTING, next_step="Try again in a few seconds.", retry_after_s=5
            )
        return self.vectorizer

    def _check_limits(self, texts: Sequence[str], caller: Caller) -> list[int]:
        """Refuse what is too much before anything is computed; returns the UTF-8 size of each text."""
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
                next_step="Split the text into passages: the model reads a few hundred tokens at once.",
            )
        return sizes

    def _check_rate(self, caller: Caller, tokens: int) -> None:
        if caller.key is None or caller.tokens_per_minute is None:
            return
        per_s = caller.tokens_per_minute / 60
        rate = self._rates.get(caller.key)
        if rate is None or rate.per_s != per_s:  # new, or changed in the keys file
            rate = self._rates[caller.key] = RateLimit(per_s, burst=caller.tokens_per_minute)
        wait_s = rate.take(tokens)
        if wait_s:
            raise KeyLimitError(
                f"The key {caller.key!r} has used its {caller.tokens_per_minute} tokens a minute.",
                next_step=f"Send the request again in {wait_s:.0f} s.",
                retry_after_s=wait_s,
            )

    async def _off_loop(
        self, stage: Stage, function: Callable[..., _Answer], *arguments: Any
    ) -> _Answer:
        start_s = time.perf_counter()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._threads, function, *arguments
            )
        finally:
            self.metrics.stage(stage, time.perf_counter() - start_s)

    def _prepare(
        self, texts: Sequence[str], role: Role, dimension: int, long_text: LongTextPolicy
    ) -> _Prepared:
        vectorizer = self._check_ready()
        # Before the cache: a text that can't be embedded must be named by its index in the request.
        check_texts(texts)
        places: dict[str, int] = {}
        order = [places.setdefault(text, len(places)) for text in texts]
        distinct = list(places)
        found: list[Embedding | None] = [None] * len(distinct)
        if self._cache is not None:
            fingerprint = vectorizer.fingerprint
            # First as texts within the limit, which most are; the others are kept for each policy.
            for policy in (None, long_text):
                wanted = [index for index, hit in enumerate(found) if hit is None]
                asked = [
                    cache_key(fingerprint, role, dimension, policy, distinct[index])
                    for index in wanted
                ]
                for index, hit in zip(wanted, self._cache.get_many(asked), strict=True):
                    found[index] = hit
        missing = [text for text, hit in zip(distinct, found, strict=True) if hit is None]
        rows = vectorizer.tokenize(missing, role, long_text=long_text, index_of=texts.index)
        keys = [
            cache_key(
                vectorizer.fingerprint, role, dimension, None if _fits(row) else long_text, text
            )
            for text, row in zip(missing, rows, strict=True)
        ]
        return _Prepared(order, found, keys, rows)

    async def _compute(self, rows: Sequence[TokenRows], lane: Priority) -> NDArray[np.float32]:
        if self._batcher is None:
            raise NotReadyError(_STARTING, next_step="Try again in a few seconds.", retry_after_s=5)
        windows = [window for text in rows for window in text.windows]
        job = self._batcher.submit(windows, lane)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            self._batcher.cancel(job)
            raise

    def _finish(
        self, prepared: _Prepared, computed: NDArray[np.float32], dimension: int
    ) -> Embeddings:
        vectorizer = self._check_ready()
        fresh = vectorizer.assemble(prepared.rows, computed, dimension=dimension)
        others = iter(fresh)
        distinct = [hit if hit is not None else next(others) for hit in prepared.found]
        answer = Embeddings(
            np.stack([distinct[place].vector for place in prepared.order]),
            tuple(distinct[place].tokens for place in prepared.order),
            tuple(distinct[place].truncated for place in prepared.order),
        )
        # The batcher has checked what the engine answered; this is for the cache and for our own
        # arithmetic.
        check_vectors(answer.vectors, len(prepared.order), dimension, "engine or the cache")
        if self._cache is not None:
            self._cache.put_many(list(zip(prepared.keys, fresh, strict=True)))
        return answer

    def _count(
        self, role: Role, texts: Sequence[str], answer: Embeddings, found: int, caller: Caller
    ) -> None:
        self.metrics.texts(caller.protocol, role, texts, sum(answer.tokens), sum(answer.truncated))
        if self._cache is not None:
            self.metrics.cache(hits=found, misses=len(texts) - found)

    def _on_batch(self, report: BatchReport) -> None:
        self.metrics.batch(
            rows=report.rows,
            tokens=report.tokens,
            padded_tokens=report.padded_tokens,
            lane=report.lane,
            budget_tokens=self.settings.batch_tokens,
        )
        self.metrics.stage("queue", report.waited_s)
        self.metrics.stage("engine", report.duration_s)


def _fits(row: TokenRows) -> bool:
    return len(row.windows) == 1 and not row.truncated
