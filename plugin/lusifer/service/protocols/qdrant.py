"""Qdrant's server-side inference: one POST with every text of an upsert or a query.

The field ``inference`` gives the role. Qdrant pairs answers with inputs by position and checks
nothing else, so count and order must be right. The contract is undocumented but unchanged since
Qdrant 1.12. The tests have recorded requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.errors import EngineOutputError, InvalidInputError, UnknownModelError
from lusifer.service.answers import Answer, Dialect
from lusifer.service.protocols.common import ROLES, Body
from lusifer.service.protocols.tei import AT_ROOT
from lusifer.service.routing import post

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lusifer.service.embedding_service import Caller, EmbeddingService
    from lusifer.types import LongTextPolicy

__all__ = ["DIALECT", "ROUTES"]


class Options(Body):
    """The ``options`` of a Document. Unknown ones are refused, because they would do nothing."""

    model_config = ConfigDict(extra="forbid")

    dimensions: int | None = None
    long_text: Literal["truncate", "mean_of_windows", "error"] | None = None


class InferenceInput(Body):
    """One Document (``data_type`` text) of the caller's request."""

    data: object
    data_type: str = "text"
    model: str
    options: Options | None = None


class InferenceRequest(Body):
    """All Documents of one call to Qdrant, which are either stored or searched with."""

    inputs: Annotated[list[InferenceInput], Field(fail_fast=True)]
    inference: Literal["update", "search"]
    token: str | None = None


class InferenceAnswer(BaseModel):
    """One vector for each input, in their order."""

    embeddings: list[list[float]]
    usage: dict[str, object]


class _Token(Body):
    """The one field of a body that is read before the caller is known."""

    token: str | None = None


def _key_of(raw: bytearray) -> str | None:
    try:
        return _Token.model_validate_json(raw).token
    except ValidationError:
        return None


# Qdrant passes the message of a 400 on to its caller, and hides that of a 404.
DIALECT = Dialect(
    "qdrant",
    lambda error: {"error": str(error)},
    {UnknownModelError: 400},
    body_key=_key_of,
)


async def _infer(body: InferenceRequest, service: EmbeddingService, caller: Caller) -> Answer:
    groups: dict[tuple[str, int | None, LongTextPolicy | None], list[int]] = {}
    texts: list[str] = []
    for index, item in enumerate(body.inputs):
        if item.data_type != "text" or not isinstance(item.data, str):
            raise InvalidInputError(
                f"Input {index} is of type {item.data_type[:50]!r}: this model embeds text.",
                next_step="Send models.Document with a text.",
            )
        service.check_model(item.model)
        options = item.options or Options()
        groups.setdefault((item.model, options.dimensions, options.long_text), []).append(index)
        texts.append(item.data)
    if not texts:
        raise InvalidInputError(
            "The list of inputs is empty.", next_step="Send at least one Document."
        )
    try:
        async with asyncio.TaskGroup() as together:
            tasks = [
                together.create_task(
                    service.embed(
                        [texts[index] for index in indices],
                        ROLES[body.inference],
                        caller=caller,
                        dimension=dimensions,
                        long_text=long_text,
                    )
                )
                for (_, dimensions, long_text), indices in groups.items()
            ]
    except ExceptionGroup as failed:
        # The first error is the cause. The group has cancelled the other tasks.
        raise failed.exceptions[0] from None
    answers = [task.result() for task in tasks]
    embeddings: list[NDArray[np.float32] | None] = [None] * len(texts)
    tokens: dict[str, int] = {}
    for ((model, _, _), indices), answer in zip(groups.items(), answers, strict=True):
        tokens[model] = tokens.get(model, 0) + sum(answer.tokens)
        for index, vector in zip(indices, answer.vectors, strict=True):
            embeddings[index] = vector
    if any(vector is None for vector in embeddings):
        raise EngineOutputError(
            "An input was left without a vector.", next_step="Send the request again."
        )
    usage = {"models": {model: {"tokens": count} for model, count in tokens.items()}}
    return Answer({"embeddings": embeddings, "usage": usage})


ROUTES = [
    post(
        path,
        DIALECT,
        InferenceRequest,
        _infer,
        summary="Embed for Qdrant",
        answer=InferenceAnswer,
        variant=variant,
    )
    for path, variant in (("/", AT_ROOT), ("/qdrant", None))
]
