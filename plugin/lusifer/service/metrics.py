"""The Prometheus metrics of the service, and figures of the last minute for its page.

Every label comes from a closed list, because labels that a request can choose grow without bound.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Literal, get_args

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    generate_latest,
)

from lusifer.common.language_detection import detect_language

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer.service.queue import Priority
    from lusifer.types import Role

__all__ = ["Metrics", "Rejection", "Stage"]

Stage = Literal["parse", "tokenize", "queue", "engine", "finish", "serialize"]
"""Stage of a request whose time is measured."""

Rejection = Literal[
    "queue_full",
    "key_limit",
    "too_large",
    "deadline",
    "unauthorized",
    "invalid",
    "disconnected",
    "connection",
    "browser",
    "failed",
]
"""Reason why a request got no vectors."""

_PROTOCOLS = frozenset(
    {"weaviate", "cohere", "qdrant", "openai", "tei", "ollama", "service", "page"}
)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_MINUTE_S = 60.0


class Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(f"lusifer_{name}", documentation, labels, registry=registry)

        def histogram(
            name: str, documentation: str, buckets: Sequence[float], *labels: str
        ) -> Histogram:
            return Histogram(
                f"lusifer_{name}", documentation, labels, buckets=buckets, registry=registry
            )

        self._requests = histogram(
            "request_duration_seconds",
            "Seconds from the first byte of a request to its answer.",
            _SECONDS,
            "protocol",
            "status",
        )
        self._stages = histogram(
            "stage_duration_seconds", "Seconds in one stage of a request.", _SECONDS, "stage"
        )
        self._texts = counter("texts", "Texts embedded.", "protocol", "role")
        self._tokens = counter("tokens", "Tokens of embedded texts, cached ones included.", "role")
        self._truncated = counter("truncated_texts", "Texts whose end was cut off.", "protocol")
        self._languages = counter("texts_by_language", "Texts by detected language.", "language")
        self._cache = counter("cache_lookups", "Texts looked up in the cache.", "result")
        self._rejected = counter(
            "rejected_requests", "Requests without vectors, by reason.", "reason"
        )
        # Dashboards know the label by this name.
        self._batches = counter("batches", "Batches of the engine, by priority.", "lane")
        self._computed = counter("engine_tokens", "Tokens the engine computed.", "kind")
        self._fill = histogram(
            "batch_fill_ratio",
            "Padded tokens of a batch divided by its budget.",
            (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        )
        self._rows = histogram("batch_rows", "Rows of a batch.", (1, 2, 4, 8, 16, 32, 64, 128, 256))
        self._model = Info("lusifer_model", "The served model.", registry=registry)
        for reason in get_args(Rejection):
            self._rejected.labels(reason)
        for result in ("hit", "miss"):
            self._cache.labels(result)
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, float]] = deque(maxlen=10_000)
        self._hits = self._misses = 0

    def model(self, name: str, fingerprint: str, engine: str, version: str) -> None:
        """Set the labels of the served model."""
        self._model.info(
            {"name": name, "fingerprint": fingerprint, "engine": engine, "version": version}
        )

    def bind(self, name: str, value: Callable[[], float], documentation: str) -> None:
        """Add a gauge ``lusifer_<name>`` that calls ``value`` whenever it is read."""
        Gauge(f"lusifer_{name}", documentation, registry=self.registry).set_function(value)

    def request(self, protocol: str, status: int, duration_s: float) -> None:
        """Count an answered request."""
        protocol = protocol if protocol in _PROTOCOLS else "other"
        known = str(status) if 100 <= status < 600 else "other"
        self._requests.labels(protocol, known).observe(duration_s)
        if protocol not in {"service", "page"}:
            with self._lock:
                self._recent.append((time.monotonic(), duration_s))

    def stage(self, stage: Stage, duration_s: float) -> None:
        """Record the seconds that one stage of a request took."""
        self._stages.labels(stage).observe(duration_s)

    def batch(
        self, *, priority: Priority, rows: int, tokens: int, padded_tokens: int, budget_tokens: int
    ) -> None:
        """Count a batch of the engine."""
        self._batches.labels(priority).inc()
        self._rows.observe(rows)
        self._fill.observe(padded_tokens / budget_tokens)
        self._computed.labels("text").inc(tokens)
        self._computed.labels("padding").inc(padded_tokens - tokens)

    def texts(
        self, protocol: str, role: Role, texts: Sequence[str], tokens: int, truncated: int
    ) -> None:
        """Count texts that got their vectors, and their languages from a sample of at most 127."""
        protocol = protocol if protocol in _PROTOCOLS else "other"
        self._texts.labels(protocol, role).inc(len(texts))
        self._tokens.labels(role).inc(tokens)
        self._truncated.labels(protocol).inc(truncated)
        # A sample of a long list is enough for the shares of languages.
        step = max(1, len(texts) // 64)
        sample = texts[::step]
        for text in sample:
            self._languages.labels(detect_language(text)).inc(len(texts) / len(sample))

    def cache(self, *, hits: int, misses: int) -> None:
        """Count texts that were looked up in the cache."""
        self._cache.labels("hit").inc(hits)
        self._cache.labels("miss").inc(misses)
        with self._lock:
            self._hits += hits
            self._misses += misses

    def rejected(self, reason: Rejection) -> None:
        """Count a request without vectors."""
        self._rejected.labels(reason).inc()

    def cache_counts(self) -> tuple[int, int]:
        """Return the hits and misses since the start."""
        return self._hits, self._misses

    def last_minute(self) -> dict[str, float]:
        """Return ``p50_s``, ``p95_s`` and ``requests_per_s`` of the last minute, or zeros."""
        since_s = time.monotonic() - _MINUTE_S
        with self._lock:
            recent = [entry for entry in self._recent if entry[0] >= since_s]
        durations = sorted(duration for _, duration in recent)
        if not durations:
            return {"p50_s": 0.0, "p95_s": 0.0, "requests_per_s": 0.0}
        span_s = max(1.0, time.monotonic() - recent[0][0])
        last = len(durations) - 1
        return {
            "p50_s": durations[round(0.5 * last)],
            "p95_s": durations[round(0.95 * last)],
            "requests_per_s": len(durations) / span_s,
        }

    def render(self) -> tuple[bytes, str]:
        """Return the metrics in the text format of Prometheus, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
