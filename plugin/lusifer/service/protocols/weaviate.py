"""Weaviate's module ``text2vec-transformers``: one text a call, and a role since Weaviate 1.31.

Its Go client sends no Content-Type, follows no redirect, takes only status 200 for success, reads
errors from the field ``error``, and stores an object without a vector, silently, if the vector is
missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lusifer._version import __version__
from lusifer.errors import LusiferError, MalformedRequestError, NotReadyError, OverloadedError
from lusifer.service.routing import Answer, Dialect, get, post

if TYPE_CHECKING:
    from lusifer.service.embedding_service import Caller, EmbeddingService
    from lusifer.types import Role

__all__ = ["DIALECT", "ROUTES"]

_ROLES: dict[str | None, Role] = {
    None: "document",
    "": "document",
    "passage": "document",
    "query": "query",
}


class VectorConfig(BaseModel):
    """Options of a request. ``pooling_strategy`` is read and ignored: pooling is part of the model."""

    model_config = ConfigDict(frozen=True, strict=True)

    task_type: str | None = None
    dimensions: int | None = None
    pooling_strategy: str | None = None


class VectorRequest(BaseModel):
    """One text. The fields ``dims``, ``vector`` and ``error``, which Weaviate also sends, are ignored."""

    model_config = ConfigDict(frozen=True, strict=True)

    text: str
    config: VectorConfig | None = None


class VectorAnswer(BaseModel):
    """The vector; ``dim`` as the reference server says it, ``dims`` as Weaviate's client reads it."""

    text: str
    vector: list[float]
    dim: int
    dims: int
    truncated: bool


def _error_body(error: LusiferError) -> dict[str, object]:
    status = DIALECT.status(error)
    # Weaviate puts our text into its own error; its Python client retries where it finds this
    # phrase.
    prefix = f"failed with status: {status} error: " if error.retryable else ""
    return {"error": f"{prefix}{error}"}


DIALECT = Dialect("weaviate", _error_body, {OverloadedError: 503, NotReadyError: 503})


async def _vectors(body: VectorRequest, service: EmbeddingService, caller: Caller) -> Answer:
    config = body.config or VectorConfig()
    if config.task_type not in _ROLES:
        raise MalformedRequestError(
            f"config.task_type is {config.task_type[:50]!r}."
            if config.task_type
            else "config.task_type?",
            next_step="Use 'query' or 'passage'.",
        )
    answer = await service.embed(
        [body.text], _ROLES[config.task_type], caller=caller, dimension=config.dimensions
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
    meta: dict[str, Any] = {
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
    # The client appends the path to the URL it was given, with or without a slash at its end.
    *(
        post(path, DIALECT, VectorRequest, _vectors, summary="Embed one text", answer=VectorAnswer)
        for path in ("/vectors", "/vectors/", "//vectors")
    ),
    get("/meta", DIALECT, _meta, summary="What is served"),
    get("/.well-known/live", DIALECT, _live, summary="Whether the process lives", public=True),
    get("/.well-known/ready", DIALECT, _ready, summary="Whether requests are served", public=True),
]
