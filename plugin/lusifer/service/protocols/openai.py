"""OpenAI's embeddings API with a role added to it.

The API has no role. A client gives it by a field (``input_type``: the clients' ``extra_body``) or
by the model's name (``NAME:query``, ``NAME:document``). Without either a text is a document,
because callers that can't choose, such as Weaviate's ``text2vec-openai``, mostly store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel

from lusifer.errors import InvalidInputError, LusiferError, UnauthorizedError
from lusifer.service.answers import Answer, Dialect
from lusifer.service.protocols.common import (
    ROLES,
    TextOrTexts,
    check_count,
    long_text_policy,
    model_and_role,
    texts_of,
    to_base64,
)
from lusifer.service.protocols.foreign import OpenAIForeign
from lusifer.service.routing import get, post

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lusifer.service.embedding_service import Caller, EmbeddingService
    from lusifer.types import LongTextPolicy, Role

__all__ = ["DIALECT", "ROUTES"]

MAXIMUM_TEXTS = 2048

_RoleWord = Literal["query", "search_query", "document", "passage", "search_document"]
_Task = Literal["retrieval.query", "retrieval.passage"]
_Option = TypeVar("_Option")
# Outside the class, whose field "object" hides the type of that name.
_Item = dict[str, object]


class EmbeddingsRequest(OpenAIForeign):
    """One text or a list of them.

    Token ids are refused, because they would come from the tokenizer of another model.
    """

    input: TextOrTexts
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    input_type: _RoleWord | None = None
    truncate: Literal["END", "NONE"] | None = None
    """Option of NVIDIA NIM: NONE refuses a text over the limit."""
    truncation: bool | None = None
    """Option of Voyage AI: false refuses a text over the limit."""
    output_dimension: int | None = None
    """Voyage AI's name of ``dimensions``."""
    task: _Task | None = None
    """Option of Jina AI with the role."""


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
    model = caller.path_model or body.model
    name, named_role = model_and_role(model)
    service.check_model(name)
    roles: dict[str, Role | None] = {
        "the model's name": named_role,
        "input_type": ROLES[body.input_type] if body.input_type else None,
        "task": ROLES[body.task.removeprefix("retrieval.")] if body.task else None,
    }
    role: Role = _one_of("role", roles) or "document"
    dimension = _one_of(
        "dimension",
        {"dimensions": body.dimensions, "output_dimension": body.output_dimension},
    )
    texts = texts_of(body.input)
    check_count(texts, MAXIMUM_TEXTS, "OpenAI")
    answer = await service.embed(
        texts,
        role,
        caller=caller,
        dimension=dimension,
        long_text=_policy(body, service),
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
        "model": model or service.accepted_models()[0],
        # Shows a client in the middle of an import that the service has another model now.
        "system_fingerprint": service.vectorizer.fingerprint if service.vectorizer else None,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Answer(content, _rate_limits(service))


def _one_of(what: str, given: Mapping[str, _Option | None]) -> _Option | None:
    """Return the value that fields for the same thing have, None if none of them is given."""
    values = {name: value for name, value in given.items() if value is not None}
    if len(set(values.values())) > 1:
        described = ", ".join(f"{name} says {value}" for name, value in values.items())
        raise InvalidInputError(f"{described}.", next_step=f"Give one {what}.")
    return next(iter(values.values()), None)


def _policy(body: EmbeddingsRequest, service: EmbeddingService) -> LongTextPolicy | None:
    operator = service.settings.long_text
    if body.truncate == "NONE" or body.truncation is False:
        return long_text_policy(may_cut=False, operator=operator)
    if body.truncate or body.truncation:
        return long_text_policy(may_cut=True, operator=operator)
    return None


def _rate_limits(service: EmbeddingService) -> dict[str, str]:
    """Return headers with the free part of the queue, in the form of OpenAI's limits a minute.

    Weaviate's ``text2vec-openai`` sends object by object until it has received them once.
    """
    status = service.status()
    free = max(0, status.capacity_tokens - status.queued_tokens)
    reset_s = service.admission.wait_s(status.queued_tokens)
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
    # The second is for a base URL without /v1, the others are Azure's.
    *(
        post(
            path,
            DIALECT,
            EmbeddingsRequest,
            _embeddings,
            summary="Embed up to 2048 texts",
            answer=EmbeddingsAnswer,
        )
        for path in (
            "/v1/embeddings",
            "/embeddings",
            "/openai/v1/embeddings",
            "/openai/deployments/{model}/embeddings",
        )
    ),
    get("/v1/models", DIALECT, _models, summary="Names that a request may give the model"),
]
