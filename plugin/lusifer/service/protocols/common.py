"""Parts that several protocols share: strict bodies, words for roles, lists of texts, base64."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from lusifer.errors import RequestTooLargeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.types import Role

__all__ = ["ROLES", "Body", "Texts", "check_count", "texts_of", "to_base64"]

Texts = Annotated[list[str], Field(fail_fast=True)]
"""List of texts that is refused at its first item that is none."""

ROLES: Mapping[str, Role] = {
    "query": "query",
    "search": "query",
    "search_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
    "update": "document",
    "classification": "document",
    "clustering": "document",
}
"""Word of a protocol -> role. Each protocol's body limits the words that it accepts."""


class Body(BaseModel):
    """Body of a request: no value is converted to another type."""

    model_config = ConfigDict(frozen=True, strict=True)


def texts_of(texts: str | list[str]) -> list[str]:
    """Return the texts of a field that holds one text or a list of them."""
    return [texts] if isinstance(texts, str) else texts


def check_count(texts: Sequence[str], maximum: int, api: str) -> None:
    """Refuse more texts than the API of the protocol allows.

    Raises:
        RequestTooLargeError: There are more than ``maximum`` texts.
    """
    if len(texts) > maximum:
        raise RequestTooLargeError(
            f"The request has {len(texts)} texts, {api}'s API takes {maximum}.",
            next_step="Split it into smaller requests.",
        )


def to_base64(vector: NDArray[np.float32]) -> str:
    """Encode a vector ``(D,)`` as little-endian float32 in base64."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
