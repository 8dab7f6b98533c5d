"""Weaviate's module ``text2vec-transformers``: one text a call, with a role since Weaviate 1.31.

Its Go client sends no Content-Type and follows no redirect. Only status 200 is success, and errors
are read from the field ``error``. If the vector is missing, Weaviate silently stores an object
without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from lusifer._version import __version__
from lusifer.errors import LusiferError, MalformedRequestError, NotReadyError, OverloadedError
from lusifer.service.answers import Answer, Dialect
from lusifer.service.protocols.common import ROLES, Body
from lusifer.service.routing import get, post

if TYPE_CHECKING:
    from lusifer.service.embedding_service import Caller, EmbeddingService

__all__ = ["DIALECT", "ROUTES"]

_TASK_TYPES = (None, "", "passage", "query")


class VectorConfig(Body):
    """Options of a request. ``pooling_strategy`` is ignored, because pooling is in the model."""

    task_type: str | None = None
    dimensions: int | None = None
    pooling_strategy: str | None = None


class VectorRequest(Body):
    """One text. Weaviate also sends ``dims``, ``vector`` and ``error``, which are ignored."""

    text: str
    config: VectorConfig | None = None


class VectorAnswer(BaseModel):
    """The vector. The reference server sends ``dim``, Weaviate's client reads ``dims``."""

    text: str
    vector: list[float]
    dim: int
    dims: int
    truncated: bool


def _error_body(error: LusiferError) -> dict[str, object]:
    status = DIALECT.status(error)
    # Weaviate puts this text into its own error. Its Python client retries where it finds the
    # phrase.
    prefix = f"failed with status: {status} error: " if error.retryable else ""
    return {"error": f"{prefix}{error}"}


DIALECT = Dialect("weaviate", _error_body, {OverloadedError: 503, NotReadyError: 503})


async def _vectors(body: VectorRequest, service: EmbeddingService, caller: Caller) -> Answer:
    config = body.config or VectorConfig()
    if config.task_type not in _TASK_TYPES:
        raise MalformedRequestError(
            f"config.task_type is {config.task_type[:50]!r}.",
            next_step="Use 'query' or 'passage'.",
        )
    answer = await service.embed(
        [body.text],
        ROLES[config.task_type or "passage"],
        caller=caller,
        dimension=config.dimensions,
    )
    vector = answer.vectors[0]
    content = {
        "text": body.text,
        "vector": vector,
        "dim": len(vector),
        "dims": len(vector),
        "truncated": answer.truncated[0],
    }
    return Answer(content)


def _meta(service: EmbeddingService) -> Answer:
    vectorizer = service.vectorizer
    meta: dict[str, object] = {
        "name": "lusifer",
        "version": __version__,
        "ready": not service.not_ready_reason(),
    }
    if vectorizer is not None:
        manifest = vectorizer.bundle.manifest
        meta |= {
            "model": manifest.name,
            "fingerprint": manifest.fingerprint,
            "dimension": manifest.dimension,
            "dimensions": list(manifest.matryoshka_dimensions),
            "role_prompts": manifest.role_prompts.model_dump(),
            "maximum_tokens": manifest.maximum_tokens,
            "long_text": vectorizer.long_text,
            "engine": vectorizer.engine.name,
        }
    return Answer(meta)


def _live(_: EmbeddingService) -> Answer:
    return Answer(None, status=204)


def _ready(service: EmbeddingService) -> Answer:
    if reason := service.not_ready_reason():
        raise NotReadyError(reason, next_step="Try again in a few seconds.", retry_after_s=5)
    return Answer(None, status=204)


ROUTES = [
    post(
        "/vectors", DIALECT, VectorRequest, _vectors, summary="Embed one text", answer=VectorAnswer
    ),
    get("/meta", DIALECT, _meta, summary="Describe the served model"),
    get("/.well-known/live", DIALECT, _live, summary="Show whether the process lives", public=True),
    get(
        "/.well-known/ready",
        DIALECT,
        _ready,
        summary="Show whether requests are served",
        public=True,
    ),
]
