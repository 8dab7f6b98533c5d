"""The API of Hugging Face's Text Embeddings Inference: ``/embed`` and ``/info``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import RootModel, ValidationError

from lusifer._version import __version__
from lusifer.errors import InvalidInputError, LusiferError, NotReadyError, TextTooLongError
from lusifer.service.answers import Answer, Dialect
from lusifer.service.protocols.common import ROLES, Body, TextOrTexts, texts_of
from lusifer.service.protocols.foreign import TeiForeign
from lusifer.service.routing import Variant, get, post

if TYPE_CHECKING:
    from lusifer.service.embedding_service import Caller, EmbeddingService
    from lusifer.types import LongTextPolicy

__all__ = ["AT_ROOT", "DIALECT", "ROUTES"]


class EmbedRequest(TeiForeign):
    """One text or a list of them.

    Without ``truncate`` a text over the limit is refused, as by TEI.
    """

    inputs: TextOrTexts
    normalize: bool = True
    """Makes no difference: the model's vectors are of unit norm."""
    truncate: bool = False
    truncation_direction: Literal["Left", "Right", "left", "right"] = "Right"
    prompt_name: Literal["query", "document", "passage"] | None = None
    dimensions: int | None = None


class EmbedAnswer(RootModel[list[list[float]]]):
    """One vector for each text."""


def _error_body(error: LusiferError) -> dict[str, object]:
    if error.status == 429:
        kind = "overloaded"
    elif isinstance(error, NotReadyError):
        kind = "unhealthy"
    else:
        kind = "validation" if error.status < 500 else "backend"
    return {"error": str(error), "error_type": kind}


# At 413 Elasticsearch halves a text and sends it again.
DIALECT = Dialect("tei", _error_body, {TextTooLongError: 413})


async def _embed(body: EmbedRequest, service: EmbeddingService, caller: Caller) -> Answer:
    if body.truncate and body.truncation_direction.lower() == "left":
        raise InvalidInputError(
            "Texts can't be cut at their beginning.", next_step="Set truncation_direction to Right."
        )
    answer = await service.embed(
        texts_of(body.inputs),
        ROLES[body.prompt_name or "document"],
        caller=caller,
        dimension=body.dimensions,
        long_text=_policy(body, service),
    )
    return Answer(answer.vectors)


def _policy(body: EmbedRequest, service: EmbeddingService) -> LongTextPolicy | None:
    """Return the caller's policy, None where the operator averages windows."""
    if service.settings.long_text == "mean_of_windows":
        return None
    return "truncate" if body.truncate else "error"


class _Inference(Body):
    """The one field by which requests of Qdrant are told apart."""

    inference: object = None


def _is_not_of_qdrant(raw: bytearray) -> bool:
    try:
        return _Inference.model_validate_json(raw).inference is None
    except ValidationError:
        return False


AT_ROOT = Variant(DIALECT, EmbedRequest, _embed, _is_not_of_qdrant)
"""Hugging Face's clients post to the URL as they were given it."""


def _info(service: EmbeddingService) -> Answer:
    names = service.accepted_models()
    manifest = service.vectorizer.bundle.manifest if service.vectorizer else None
    return Answer(
        {
            "model_id": names[0] if names else None,
            "model_sha": manifest.fingerprint if manifest else None,
            "model_dtype": manifest.precision if manifest else None,
            "model_type": {"embedding": {"pooling": "mean"}},
            "max_input_length": manifest.maximum_tokens if manifest else None,
            "max_batch_tokens": service.settings.batch_tokens,
            "max_client_batch_size": service.settings.maximum_texts,
            "max_concurrent_requests": service.settings.maximum_connections,
            # What happens to a long text where a request does not say: only windows are taken.
            "auto_truncate": service.settings.long_text == "mean_of_windows",
            "version": __version__,
        }
    )


def _health(service: EmbeddingService) -> Answer:
    service.check_model(None)
    return Answer({"status": "ok"})


ROUTES = [
    post("/embed", DIALECT, EmbedRequest, _embed, summary="Embed texts", answer=EmbedAnswer),
    get("/info", DIALECT, _info, summary="Describe the served model"),
    *(
        get(path, DIALECT, _health, summary="Show whether requests are served", public=True)
        for path in ("/health", "/ping")
    ),
]
