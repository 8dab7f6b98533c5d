"""Cohere's v2 embed API: what Weaviate's ``text2vec-cohere`` speaks to a ``baseURL``, up to 96 texts a call.

Weaviate sends ``truncate=END`` with every call. An operator who chose to average windows would
never get it if that counted as a wish, so END is taken as "do not fail" and leaves the operator's
choice alone.
"""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from lusifer.errors import InvalidInputError, LusiferError, OverloadedError, RequestTooLargeError
from lusifer.service.routing import Answer, Dialect, post

if TYPE_CHECKING:
    from lusifer.service.embedding_service import Caller, EmbeddingService
    from lusifer.types import LongTextPolicy, Role

__all__ = ["DIALECT", "ROUTES"]

MAXIMUM_TEXTS = 96

_ROLES: dict[str, Role] = {
    "search_query": "query",
    "search_document": "document",
    "classification": "document",
    "clustering": "document",
}


class EmbedRequest(BaseModel):
    """Texts and what they are for."""

    model_config = ConfigDict(frozen=True, strict=True)

    texts: list[str]
    model: str | None = None
    input_type: Literal["search_document", "search_query", "classification", "clustering"]
    embedding_types: list[Literal["float", "base64"]] | None = None
    truncate: Literal["END", "NONE"] | None = None
    output_dimension: int | None = None


class EmbedAnswer(BaseModel):
    """The vectors by type, in the order of the texts."""

    id: str
    embeddings: dict[str, list[Any]]
    texts: list[str]
    response_type: Literal["embeddings_by_type"]
    meta: dict[str, Any]


def _error_body(error: LusiferError) -> dict[str, object]:
    return {"id": uuid.uuid4().hex, "message": str(error)}


# 503 and not 429: Weaviate's Python client sends the objects again after "failed with status: 503
# error".
DIALECT = Dialect("cohere", _error_body, {OverloadedError: 503})


async def _embed(body: EmbedRequest, service: EmbeddingService, caller: Caller) -> Answer:
    service.check_model(body.model)
    if len(body.texts) > MAXIMUM_TEXTS:
        raise RequestTooLargeError(
            f"The request has {len(body.texts)} texts, Cohere's API takes {MAXIMUM_TEXTS}.",
            next_step="Split it into smaller requests.",
        )
    answer = await service.embed(
        body.texts,
        _ROLES[body.input_type],
        caller=caller,
        dimension=body.output_dimension,
        long_text=_policy(body, service),
    )
    types = body.embedding_types or ["float"]
    if not types:
        raise InvalidInputError("embedding_types is empty.", next_step="Ask for float.")
    embeddings: dict[str, object] = {}
    if "float" in types:
        embeddings["float"] = answer.vectors
    if "base64" in types:
        embeddings["base64"] = [
            base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in answer.vectors
        ]
    meta: dict[str, Any] = {
        "api_version": {"version": "2"},
        "billed_units": {"input_tokens": sum(answer.tokens)},
    }
    if cut := np.flatnonzero(answer.truncated).tolist():
        meta["warnings"] = [f"The end of these texts was cut off: {', '.join(map(str, cut))}."]
    content = {
        "id": caller.request_id,
        "embeddings": embeddings,
        "texts": body.texts,
        "response_type": "embeddings_by_type",
        "meta": meta,
    }
    return Answer(content)


def _policy(body: EmbedRequest, service: EmbeddingService) -> LongTextPolicy | None:
    if body.truncate == "NONE":
        return "error"
    if service.settings.long_text == "error":
        # The caller asked for END, or for the API's default, which is END.
        return "truncate"
    return None


ROUTES = [
    # A baseURL may have a path of its own, and Weaviate's client doubles the slash after a bare
    # host.
    post(path, DIALECT, EmbedRequest, _embed, summary="Embed up to 96 texts", answer=EmbedAnswer)
    for path in ("/v2/embed", "//v2/embed", "/{base:path}/v2/embed")
]
