"""OpenAI's embeddings API with a role added to it.

The API has no role. A client gives it by a field (``input_type``: the clients' ``extra_body``) or
by the model's name (``NAME:query``, ``NAME:document``). Without either a text is a document,
because callers that can't choose, such as Weaviate's ``text2vec-openai``, mostly store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from pydantic import BaseModel

from lusifer.errors import InvalidInputError, LusiferError, UnauthorizedError
from lusifer.service.answers import Answer, Dialect
from lusifer.service.protocols.common import ROLES, Body, Texts, check_count, texts_of, to_base64
from lusifer.service.routing import get, post

if TYPE_CHECKING:
    from lusifer.service.embedding_service import Caller, EmbeddingService

__all__ = ["DIALECT", "ROUTES"]

MAXIMUM_TEXTS = 2048

_RoleWord = Literal["query", "search_query", "document", "passage", "search_document"]
# Outside the class, whose field "object" hides the type of that name.
_Item = dict[str, object]


class EmbeddingsRequest(Body):
    """One text or a list of them.

    Token ids are refused, because they would come from the tokenizer of another model.
    """

    input: str | Texts
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: _RoleWord | None = None


class EmbeddingsAnswer(BaseModel):
    """The vectors in the order of the texts."""

    object: Literal["list"]
    data: list[_Item]
    model: str
    usage: dict[str, int]


def _error_body(error: LusiferError) -> dict[str, object]:
    if isinstance(error, UnauthorizedError):
        kind = "authentication_error"
    elif error.status == 429:
        kind = "rate_limit_error"
    else:
        kind = "invalid_request_error" if error.status < 500 else "server_error"
    body = {"message": str(error), "type": kind, "param": None, "code": type(error).__name__}
    return {"error": body}


DIALECT = Dialect("openai", _error_body)


async def _embeddings(body: EmbeddingsRequest, service: EmbeddingService, caller: Caller) -> Answer:
    name, colon, suffix = body.model.rpartition(":")
    named_role = ROLES[suffix] if colon and suffix in get_args(_RoleWord) else None
    service.check_model(name if named_role else body.model)
    field_role = ROLES[body.input_type] if body.input_type else None
    if named_role and field_role and named_role != field_role:
        raise InvalidInputError(
            f"The model's name has the role {suffix}, input_type is {body.input_type}.",
            next_step="Give one role.",
        )
    texts = texts_of(body.input)
    check_count(texts, MAXIMUM_TEXTS, "OpenAI")
    answer = await service.embed(
        texts, field_role or named_role or "document", caller=caller, dimension=body.dimensions
    )
    data: list[dict[str, object]] = []
    for index, embedding in enumerate(answer):
        encoded: object = embedding.vector
        if body.encoding_format == "base64":
            encoded = to_base64(embedding.vector)
        item: dict[str, object] = {"object": "embedding", "index": index, "embedding": encoded}
        if embedding.truncated:
            item["truncated"] = True
        data.append(item)
    tokens = sum(answer.tokens)
    content = {
        "object": "list",
        "data": data,
        "model": body.model,
        # Shows a client in the middle of an import that the service has another model now.
        "system_fingerprint": service.vectorizer.fingerprint if service.vectorizer else None,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Answer(content, _rate_limits(service))


def _rate_limits(service: EmbeddingService) -> dict[str, str]:
    """Return headers with the free part of the queue, in the form of OpenAI's limits a minute.

    Weaviate's ``text2vec-openai`` sends object by object until it has received them once.
    """
    status = service.status()
    free = max(0, status.capacity_tokens - status.queued_tokens)
    reset_s = status.queued_tokens / status.tokens_per_s if status.tokens_per_s else 0.0
    # The queue has no bound in requests.
    return {
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": str(status.capacity_tokens),
        "x-ratelimit-remaining-tokens": str(free),
        "x-ratelimit-reset-tokens": f"{max(1, round(reset_s))}s",
    }


def _models(service: EmbeddingService) -> Answer:
    return Answer(
        {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "lusifer"}
                for name in service.accepted_models()
            ],
        }
    )


ROUTES = [
    post(
        "/v1/embeddings",
        DIALECT,
        EmbeddingsRequest,
        _embeddings,
        summary="Embed up to 2048 texts",
        answer=EmbeddingsAnswer,
    ),
    get("/v1/models", DIALECT, _models, summary="Names that a request may give the model"),
]
