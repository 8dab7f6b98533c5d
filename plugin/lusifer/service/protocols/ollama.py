"""Ollama's API for embeddings, which n8n, Dify and Open WebUI speak.

It has no role, so as in OpenAI's API the model's name gives it: ``NAME:query``, ``NAME:document``.
Ollama's clients write a name without a suffix as ``NAME:latest``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

from lusifer.service.answers import Answer, Dialect
from lusifer.service.protocols.common import (
    TextOrTexts,
    long_text_policy,
    model_and_role,
    texts_of,
)
from lusifer.service.protocols.foreign import OllamaForeign
from lusifer.service.routing import get, post

if TYPE_CHECKING:
    from lusifer.service.embedding_service import Caller, EmbeddingService
    from lusifer.types import Embeddings

__all__ = ["DIALECT", "ROUTES"]

_LATEST = ":latest"


class OllamaRequest(OllamaForeign):
    """One text or a list of them."""

    input: TextOrTexts
    model: str | None = None
    truncate: bool = True
    dimensions: int | None = None


class OllamaPrompt(OllamaForeign):
    """One text, in the older form of the API."""

    prompt: str
    model: str | None = None


class OllamaAnswer(BaseModel):
    """The vectors in the order of the texts."""

    model: str
    embeddings: list[list[float]]
    prompt_eval_count: int


class OllamaPromptAnswer(BaseModel):
    """The vector of the text."""

    embedding: list[float]


DIALECT = Dialect("ollama", lambda error: {"error": str(error)})


async def _embed(body: OllamaRequest, service: EmbeddingService, caller: Caller) -> Answer:
    answer = await _embedded(
        texts_of(body.input),
        body.model,
        service,
        caller,
        may_cut=body.truncate,
        dimension=body.dimensions,
    )
    content = {
        "model": body.model or service.accepted_models()[0],
        "embeddings": answer.vectors,
        "prompt_eval_count": sum(answer.tokens),
    }
    return Answer(content)


async def _prompt(body: OllamaPrompt, service: EmbeddingService, caller: Caller) -> Answer:
    answer = await _embedded([body.prompt], body.model, service, caller, may_cut=True)
    return Answer({"embedding": answer.vectors[0]})


async def _embedded(
    texts: list[str],
    model: str | None,
    service: EmbeddingService,
    caller: Caller,
    *,
    may_cut: bool,
    dimension: int | None = None,
) -> Embeddings:
    name, role = model_and_role(model and model.removesuffix(_LATEST))
    service.check_model(name)
    return await service.embed(
        texts,
        role or "document",
        caller=caller,
        dimension=dimension,
        long_text=long_text_policy(may_cut=may_cut, operator=service.settings.long_text),
    )


def _tags(service: EmbeddingService) -> Answer:
    manifest = service.vectorizer.bundle.manifest if service.vectorizer else None
    return Answer(
        {
            "models": [
                {
                    "name": name + _LATEST,
                    "model": name + _LATEST,
                    "digest": manifest.fingerprint if manifest else "",
                    "details": {"family": "lusifer"},
                }
                for name in service.accepted_models()
            ]
        }
    )


ROUTES = [
    post("/api/embed", DIALECT, OllamaRequest, _embed, summary="Embed texts", answer=OllamaAnswer),
    post(
        "/api/embeddings",
        DIALECT,
        OllamaPrompt,
        _prompt,
        summary="Embed one text",
        answer=OllamaPromptAnswer,
    ),
    get("/api/tags", DIALECT, _tags, summary="Names that a request may give the model"),
]
