"""The page at ``/`` and the figures that it shows."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lusifer._version import __version__
from lusifer.service.routing import authenticated

if TYPE_CHECKING:
    from starlette.requests import Request

    from lusifer.service.embedding_service import EmbeddingService

__all__ = ["PAGE_ROUTES"]

_FILES = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_HEADERS = {
    # The page sends an API key, so it loads nothing from elsewhere and may not be framed.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def _file(name: str) -> Route:
    source, kind = _FILES[name]
    content = (files("lusifer.service") / "static" / source).read_bytes()

    async def endpoint(_: Request) -> Response:
        return Response(content, headers=_HEADERS, media_type=f"{kind}; charset=utf-8")

    return Route(f"/page/{name}" if name else "/", endpoint, methods=["GET"])


async def _status(request: Request) -> Response:
    service: EmbeddingService = request.app.state.service
    reason = service.not_ready_reason()
    keys = request.app.state.keys is not None
    content: dict[str, object] = {"ready": reason is None, "keys": keys, "version": __version__}
    if authenticated(request):
        load = service.status()
        hits, misses = service.metrics.cache_counts()
        content |= {
            "reason": reason,
            "model": _model(service),
            "load": {
                "queued_tokens": load.queued_tokens,
                "capacity_tokens": load.capacity_tokens,
                "tokens_per_s": load.tokens_per_s,
                "engine_busy": load.engine_busy,
                "in_flight_requests": load.in_flight_requests,
                "uptime_s": load.uptime_s,
            },
            "last_minute": service.metrics.last_minute(),
            "cache": {"hits": hits, "misses": misses, "bytes": service.cache_bytes()},
        }
    return JSONResponse(content, headers={"cache-control": "no-store"})


def _model(service: EmbeddingService) -> dict[str, object] | None:
    vectorizer = service.vectorizer
    if vectorizer is None:
        return None
    manifest = vectorizer.bundle.manifest
    return {
        "name": manifest.name,
        "fingerprint": manifest.fingerprint,
        "dimensions": manifest.matryoshka_dimensions,
        "maximum_tokens": manifest.maximum_tokens,
        "precision": manifest.precision,
        "languages_evaluated": manifest.languages_evaluated,
        "long_text": vectorizer.long_text,
        "engine": vectorizer.engine.name,
    }


PAGE_ROUTES = [*map(_file, _FILES), Route("/status", _status, methods=["GET"])]
