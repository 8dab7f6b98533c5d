"""The ASGI application: loads the model, checks it from then on, and routes every protocol."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Match, Route

from lusifer._version import __version__
from lusifer.common.language_detection import detect_language
from lusifer.common.native import return_free_memory
from lusifer.common.paths import cache_directory
from lusifer.embedding.vectorizer import Vectorizer
from lusifer.errors import LusiferError, MethodNotAllowedError, NotServedError, ServiceError
from lusifer.service.answers import Answer, Dialect
from lusifer.service.auth import ApiKeys
from lusifer.service.browsers import browser_middleware
from lusifer.service.cache import MemoryCache
from lusifer.service.canary import check
from lusifer.service.disk_cache import DiskCache
from lusifer.service.embedding_service import EmbeddingService
from lusifer.service.metrics import Metrics
from lusifer.service.openapi import openapi_document
from lusifer.service.page import PAGE_ROUTES
from lusifer.service.paths import NormalizedPaths
from lusifer.service.protocols import cohere, ollama, openai, qdrant, tei, weaviate
from lusifer.service.routing import dialect_of, get, respond
from lusifer.service.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from lusifer.service.cache import VectorCache
    from lusifer.service.in_flight import BytesInFlight
    from lusifer.service.settings import Settings

__all__ = ["create_app"]

_LOG = logging.getLogger("lusifer.service")

_CANARY_RETRY_S = 10.0
"""Seconds until a failed canary is checked again."""

_KEYS_INTERVAL_S = 1.0
"""Seconds between two looks at the keys file."""

_MEMORY_INTERVAL_S = 10.0
"""Seconds between two looks at whether free memory is worth giving back."""
_FREED_BYTES = 64 * 2**20
"""Bytes of requests that have come and gone, after which it is."""

_SERVICE = Dialect("service", lambda error: {"error": str(error), "type": type(error).__name__})
_PROTOCOLS = (weaviate, cohere, qdrant, openai, tei, ollama)


def create_app(
    settings: Settings,
    *,
    vectorizer: Vectorizer | None = None,
    on_failure: Callable[[LusiferError], None] | None = None,
) -> Starlette:
    """Build the application; the model is loaded in the background when it starts.

    Args:
        settings: All settings of the service.
        vectorizer: A loaded model to serve instead of the one that the settings name.
        on_failure: Called when the model can't be loaded. The application stays up, not ready.

    Raises:
        SettingsError: The API keys can't be read.
    """
    metrics = Metrics()
    service = EmbeddingService(settings, metrics)
    _bind(service)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(_run_model(service, vectorizer, on_failure)),
            asyncio.create_task(_return_memory(service.bytes_in_flight)),
        ]
        if app.state.keys is not None:
            tasks.append(asyncio.create_task(_refresh_keys(app.state.keys)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # uvicorn has waited for the requests in flight, so nobody waits for what is queued now.
        await asyncio.to_thread(service.stop)
        app.state.tracer.close()

    routes: list[BaseRoute] = [route for protocol in _PROTOCOLS for route in protocol.ROUTES]
    routes += PAGE_ROUTES if settings.page else []
    routes += [
        get(
            "/metrics",
            _SERVICE,
            _reused(_metrics),
            summary="Prometheus metrics",
            media_type="text/plain",
        ),
        get("/openapi.json", _SERVICE, lambda _: Answer(document), summary="This document"),
    ]
    document = openapi_document(routes)
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(NormalizedPaths), *browser_middleware(settings, _refuse)],
        exception_handlers={HTTPException: _not_served},
    )
    # NormalizedPaths has done what a redirect would do.
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.keys = ApiKeys(settings.api_keys_file) if settings.api_keys_file else None
    app.state.tracer = Tracer.start(settings.otlp_endpoint, __version__)
    return app


async def _run_model(
    service: EmbeddingService,
    given: Vectorizer | None,
    on_failure: Callable[[LusiferError], None] | None,
) -> None:
    """Load and warm up the model, then check the canary for as long as the service runs."""
    try:
        vectorizer, cache = await asyncio.to_thread(_prepare, service.settings, given)
        service.start(vectorizer, cache)
        _describe(service, vectorizer)
        await _warm_up(service)
    except Exception as error:  # a library may raise anything, and the process must report it
        failure = (
            error if isinstance(error, LusiferError) else _unexpected("loading the model", error)
        )
        _LOG.error("the model can't be loaded: %s", failure)
        service.set_ready(f"The model can't be loaded: {failure}")
        if on_failure is not None:
            on_failure(failure)
        return
    while True:
        before = service.not_ready_reason()
        reason = await _canary(service) if service.settings.canary else None
        if reason != before:
            _LOG.log(logging.ERROR if reason else logging.INFO, reason or "ready")
        service.set_ready(reason)
        await asyncio.sleep(_CANARY_RETRY_S if reason else service.settings.canary_interval_s)


async def _refresh_keys(keys: ApiKeys) -> None:
    """Take over changes of the keys file; reading 20,000 keys would block the event loop."""
    while True:
        await asyncio.sleep(_KEYS_INTERVAL_S)
        await asyncio.to_thread(keys.refresh)


async def _return_memory(account: BytesInFlight) -> None:
    """Give back to the system what large requests have left, again and again."""
    before = account.entered_bytes
    while True:
        await asyncio.sleep(_MEMORY_INTERVAL_S)
        gone = account.entered_bytes - account.held_bytes
        if gone - before >= _FREED_BYTES:
            before = gone
            await asyncio.to_thread(return_free_memory)


def _prepare(settings: Settings, given: Vectorizer | None) -> tuple[Vectorizer, VectorCache | None]:
    """Load what requests use: the model, the cache and the language detector. It blocks."""
    vectorizer = _load(settings) if given is None else given
    # The detector loads its model at its first text. That takes 0.5 to 1 s on the event loop.
    detect_language("warm up")
    return vectorizer, _cache(settings)


def _load(settings: Settings) -> Vectorizer:
    if settings.engine != "triton":
        return Vectorizer.load(
            settings.bundle,
            long_text=settings.long_text,
            threads=settings.threads,
            engine=settings.engine,
        )
    from lusifer.bundle.default import default_bundle
    from lusifer.bundle.format import Bundle
    from lusifer.engines.triton import TritonEngine

    bundle = Bundle.open(settings.bundle or default_bundle())
    engine = TritonEngine(
        settings.triton_url or "", settings.triton_model, fingerprint=bundle.manifest.fingerprint
    )
    return Vectorizer(bundle, engine, long_text=settings.long_text)


def _cache(settings: Settings) -> VectorCache | None:
    if settings.cache == "off":
        return None
    if settings.cache == "memory":
        return MemoryCache(settings.cache_bytes)
    return DiskCache(
        settings.cache_path or cache_directory() / "vectors.sqlite", settings.cache_bytes
    )


async def _warm_up(service: EmbeddingService) -> None:
    """Compute a full batch and a short row: the first use of memory is slow."""
    texts = [
        f"{number} " + "word " * 48 for number in range(max(1, service.settings.batch_tokens // 64))
    ]
    await service.embed_canary(texts)
    await service.embed_canary(["warm up"])


async def _canary(service: EmbeddingService) -> str | None:
    """Return why the model's vectors can't be served, None when the canary passes."""
    limit_s = service.settings.deadline_s
    batches = service.completed_batches()
    try:
        async with asyncio.timeout(limit_s):
            report = await check(service.embed_canary)
    except TimeoutError:
        if service.completed_batches() > batches:
            # An engine that completes batches is busy, not dead.
            _LOG.warning("the canary was not embedded within %g s: the engine is busy", limit_s)
            return service.not_ready_reason()
        return f"The canary was not embedded within {limit_s:g} s: the engine hangs."
    except LusiferError as error:
        return f"The canary could not be embedded: {error}"
    except Exception as error:  # an engine may raise anything, and the checks must go on
        return str(_unexpected("the canary", error))
    if report.passed:
        return None
    # Not ready first, so that no request stores again what is deleted here.
    service.set_ready(report.reason)
    await asyncio.to_thread(service.clear_cache)
    return report.reason


def _unexpected(where: str, error: Exception) -> ServiceError:
    _LOG.error("%s failed", where, exc_info=error)
    return ServiceError(
        f"{type(error).__name__} in {where}: {error}.", next_step="Read the service's log."
    )


def _bind(service: EmbeddingService) -> None:
    bind = service.metrics.bind
    bind("queue_tokens", lambda: service.admission.held_tokens, "Tokens of requests being served.")
    bind(
        "queue_capacity_tokens",
        lambda: service.admission.capacity_tokens,
        "Maximum tokens of requests being served.",
    )
    bind(
        "engine_busy_ratio",
        lambda: service.status().engine_busy,
        "Share of the last minute in which the engine computed.",
    )
    bind(
        "engine_tokens_per_second",
        lambda: service.status().tokens_per_s,
        "Measured speed of the engine.",
    )
    bind(
        "in_flight_bytes",
        lambda: service.bytes_in_flight.held_bytes,
        "Bytes of bodies, texts and answers.",
    )
    bind(
        "in_flight_capacity_bytes",
        lambda: service.bytes_in_flight.capacity_bytes,
        "Maximum bytes of bodies, texts and answers.",
    )
    bind("in_flight_requests", lambda: service.in_flight_requests, "Requests being served.")
    bind("cache_bytes", service.cache_bytes, "Bytes of cached vectors.")
    bind("ready", lambda: service.not_ready_reason() is None, "1 if requests are served.")


def _describe(service: EmbeddingService, vectorizer: Vectorizer) -> None:
    manifest = vectorizer.bundle.manifest
    service.metrics.model(manifest.name, manifest.fingerprint, vectorizer.engine.name, __version__)


def _metrics(service: EmbeddingService) -> Answer:
    content, content_type = service.metrics.render()
    return Answer(content, {"content-type": content_type})


def _reused(
    handle: Callable[[EmbeddingService], Answer],
) -> Callable[[EmbeddingService], Answer]:
    """Return a handler whose answer is made again only after 20 times the time that it took.

    So a client that asks without pause takes no more than a twentieth of the event loop.
    """
    until_s = 0.0
    answer = Answer(None)

    def reuse(service: EmbeddingService) -> Answer:
        nonlocal until_s, answer
        start_s = time.perf_counter()
        if start_s >= until_s:
            answer = handle(service)
            end_s = time.perf_counter()
            until_s = end_s + 20 * (end_s - start_s)
        return answer

    return reuse


async def _not_served(request: Request, error: Exception) -> Response:
    """Answer 404 or 405; it is logged, because a wrong address is a common fault."""
    what = f"{request.method} {request.scope['path'][:200]} is not served here."
    next_step = "The paths are listed in /openapi.json."
    refusal: LusiferError
    if isinstance(error, HTTPException) and error.status_code == 405:
        refusal = MethodNotAllowedError(what, next_step=next_step)
    else:
        if _not_found_dialect(request) is openai.DIALECT:
            next_step = (
                "OpenAI's API is served at /v1/embeddings, so end the base URL in /v1. The other "
                "paths are listed in /openapi.json."
            )
        refusal = NotServedError(what, next_step=next_step)
    response = await _refuse(request, refusal)
    # The header Allow names the methods of the path.
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _refuse(request: Request, error: LusiferError) -> Response:
    """Answer with an error in the form of the path's protocol, whatever the method."""
    dialect = _not_found_dialect(request)
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            dialect = dialect_of(route) or dialect

    async def fail(_: Request) -> Answer:
        raise error

    return await respond(request, dialect, fail)


def _not_found_dialect(request: Request) -> Dialect:
    """Return the dialect of errors at a path without a route.

    What posts to a wrong path is mostly an OpenAI client with a wrong base URL, and it shows only
    errors in its own form.
    """
    if request.method == "POST" or request.scope["path"].startswith("/v1/"):
        return openai.DIALECT
    return _SERVICE
