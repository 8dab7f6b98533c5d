"""OpenTelemetry spans of requests. Without an endpoint the packages are not even imported."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

__all__ = ["Tracer"]


class Tracer:
    """Makes a span for each request. No span contains a text."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("lusifer") if provider else None

    @classmethod
    def start(cls, endpoint: str | None, version: str) -> Tracer:
        """Start a tracer that sends spans by OTLP over HTTP.

        Args:
            endpoint: URL of the collector, such as ``http://localhost:4318/v1/traces``. Without it
                ``OTEL_EXPORTER_OTLP_ENDPOINT`` counts. Without that nothing is sent.
            version: Version of the service.

        Raises:
            MissingExtraError: There is an endpoint and OpenTelemetry is not installed.
        """
        names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        if endpoint is None and not any(map(os.environ.get, names)):
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise MissingExtraError(
                f"Traces need OpenTelemetry: {error}.", next_step="Run pip install 'lusifer[otel]'."
            ) from error
        resource = Resource.create({"service.name": "lusifer", "service.version": version})
        provider = TracerProvider(resource=resource)
        # Without an endpoint the exporter reads its own environment variables.
        exporter = OTLPSpanExporter(endpoint=endpoint) if endpoint else OTLPSpanExporter()
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[Span | None]:
        """Yield the span of a request, a child of the caller's ``traceparent``, None when off."""
        if self._tracer is None:
            yield None
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract(dict(headers))
        with self._tracer.start_as_current_span(
            name, context=context, kind=SpanKind.SERVER
        ) as span:
            yield span

    def close(self) -> None:
        """Send the remaining spans."""
        if self._provider is not None:
            self._provider.shutdown()
