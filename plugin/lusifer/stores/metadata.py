"""Metadata of every collection about the model that filled it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from lusifer.errors import FingerprintMismatchError, InvalidDimensionError
from lusifer.stores.payloads import VECTOR_NAME

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder

__all__ = ["CollectionMetadata", "ModelIdentity", "identity_of"]


class ModelIdentity(TypedDict):
    """Identity of a model, compared with a collection before the model uses it."""

    fingerprint: str
    """Identity of the model."""
    model: str
    """The model's name for people."""
    dimension: int
    """Length D of its vectors."""


def identity_of(embedder: Embedder) -> ModelIdentity:
    """Return the identity of the model about to be used."""
    return ModelIdentity(
        fingerprint=embedder.fingerprint,
        model=embedder.model_name,
        dimension=embedder.dimension,
    )


class CollectionMetadata(BaseModel):
    """The model of a collection's vectors; each database adds its own fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    collection: str
    """The collection's own name, so that a search through an alias stays with the collection it
    checked."""
    fingerprint: Annotated[str, Field(min_length=1)]
    """Identity of the model."""
    model: str
    """The model's name for people."""
    dimension: Annotated[int, Field(gt=0)]
    """Length D of the vectors."""
    vector_name: str = VECTOR_NAME
    """Name of the vector that searches use."""

    def check(self, *, fingerprint: str, model: str, dimension: int | None = None) -> None:
        """Refuse a model other than the one that filled the collection, or another dimension.

        Args:
            fingerprint: The model about to be used.
            model: Its name for people.
            dimension: Length D of the vectors it is going to make; None skips the comparison.

        Raises:
            FingerprintMismatchError: It is another model.
            InvalidDimensionError: It is another dimension.
        """
        if fingerprint != self.fingerprint:
            raise FingerprintMismatchError(
                f"The collection {self.collection} holds vectors of {self.model} "
                f"({self.fingerprint}), the model in use is {model} ({fingerprint}).",
                next_step="Use the model it was made with, or index into a new collection and "
                "switch the alias.",
            )
        if dimension is not None and dimension != self.dimension:
            raise InvalidDimensionError(
                f"The collection {self.collection} holds vectors of dimension {self.dimension}, "
                f"the model in use makes {dimension}.",
                next_step=f"Load the model with dimension={self.dimension}.",
            )
