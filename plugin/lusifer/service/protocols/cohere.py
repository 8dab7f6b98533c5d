"""Cohere's embed API: v2, which Weaviate's ``text2vec-cohere`` speaks to a ``baseURL``, and v1.

A call has up to 96 texts. Weaviate sends ``truncate=END`` with every call. If END counted as a
wish, an operator who chose to average windows would never get that. END is therefore read as "do
not fail", and the operator's policy stays.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from lusifer.errors import LusiferError, OverloadedError
from lusifer.service.answers import Answer, Dialect
from lusifer.service.protocols.common import (
    ROLES,
    Texts,
    check_count,
    long_text_policy,
    to_base64,
)
from lusifer.service.protocols.foreign import CohereForeign
from lusifer.service.routing import post

if TYPE_CHECKING:
    from lusifer.service.embedding_service import Caller, EmbeddingService

__all__ = ["DIALECT", "ROUTES"]

MAXIMUM_TEXTS = 96


class EmbedRequest(CohereForeign):
    """Texts and what they are for."""

    texts: Texts
    model: str | None = None
    input_type: Literal["search_document", "search_query", "classification", "clustering"]
    embedding_types: Annotated[list[Literal["float", "base64"]], Field(fail_fast=True)] | None = (
        None
    )
    truncate: Literal["END", "NONE"] | None = None
    output_dimension: int | None = None


class EmbedRequestV1(EmbedRequest):
    """Body of version 1, where texts without ``input_type`` are documents."""

    input_type: Literal["search_document", "search_query", "classification", "clustering"] = (
        "search_document"
    )


class EmbedAnswer(BaseModel):
    """The vectors by type, in the order of the texts."""

    id: str
    embeddings: dict[str, list[object]]
    texts: list[str]
    response_type: Literal["embeddings_by_type"]
    meta: dict[str, object]


def _error_body(error: LusiferError) -> dict[str, object]:
    return {"id": uuid.uuid4().hex, "message": str(error)}


# 503 and not 429: Weaviate's Python client sends the objects again after "failed with status: 503
# error".
DIALECT = Dialect("cohere", _error_body, {OverloadedError: 503})


async def _embed(body: EmbedRequest, service: EmbeddingService, caller: Caller) -> Answer:
    service.check_model(body.model)
    check_count(body.texts, MAXIMUM_TEXTS, "Cohere")
    answer = await service.embed(
        body.texts,
        ROLES[body.input_type],
        caller=caller,
        dimension=body.output_dimension,
        long_text=long_text_policy(
            may_cut=body.truncate != "NONE", operator=service.settings.long_text
        ),
    )
    types = body.embedding_types or ["float"]
    embeddings: dict[str, object] = {}
    if "float" in types:
        embeddings["float"] = answer.vectors
    if "base64" in types:
        embeddings["base64"] = [to_base64(vector) for vector in answer.vectors]
    meta: dict[str, object] = {
        "api_version": {"version": "2"},
        "billed_units": {"input_tokens": sum(answer.tokens)},
    }
    if cut := np.flatnonzero(answer.truncated).tolist():
        meta["warnings"] = [f"The end of these texts was cut off: {', '.join(map(str, cut))}."]
    content: dict[str, object] = {
        "id": caller.request_id,
        "embeddings": embeddings,
        "texts": body.texts,
        "response_type": "embeddings_by_type",
        "meta": meta,
    }
    if isinstance(body, EmbedRequestV1):
        meta["api_version"] = {"version": "1"}
        if body.embedding_types is None:
            content |= {"embeddings": answer.vectors, "response_type": "embeddings_floats"}
    return Answer(content)


ROUTES = [
    # A baseURL may have a path of its own.
    *(
        post(
            path, DIALECT, EmbedRequest, _embed, summary="Embed up to 96 texts", answer=EmbedAnswer
        )
        for path in ("/v2/embed", "/{base:path}/v2/embed")
    ),
    *(
        post(path, DIALECT, EmbedRequestV1, _embed, summary="Embed up to 96 texts")
        for path in ("/v1/embed", "/{base:path}/v1/embed")
    ),
]
