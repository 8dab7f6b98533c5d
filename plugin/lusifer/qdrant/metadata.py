"""What a collection's metadata says about the model that filled it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.errors import CollectionMismatchError, FingerprintMismatchError, InvalidDimensionError
from lusifer.qdrant.connection import qdrant_errors
from lusifer.qdrant.keywords import KeywordOptions  # noqa: TC001  (pydantic needs it at run time)
from lusifer.stores.payloads import VECTOR_NAME

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder

__all__ = [
    "METADATA_KEY",
    "CollectionMetadata",
    "find_metadata",
    "metadata_for",
    "open_metadata",
    "parse_metadata",
]

METADATA_KEY = "lusifer"


class CollectionMetadata(BaseModel):
    """What lies under the key ``lusifer`` of a collection's metadata."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    collection: str
    """The collection's own name, so that a search through an alias stays with the collection it
    checked."""
    fingerprint: Annotated[str, Field(min_length=1)]
    model: str
    dimension: Annotated[int, Field(gt=0)]
    role_prompts: dict[str, str] = {}
    vector_name: str = VECTOR_NAME
    keywords: KeywordOptions | None = None
    """Set where points carry a BM25 vector too."""

    def check(self, *, fingerprint: str, model: str, dimension: int | None = None) -> None:
        """Refuse a model other than the one that filled the collection, or another length of its vectors.

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
                f"The collection {self.collection} holds vectors of {self.model} ({self.fingerprint}), the "
                f"model in use is {model} ({fingerprint}).",
                next_step="Use the model it was made with, or index into a new collection and switch the "
                "alias.",
            )
        if dimension is not None and dimension != self.dimension:
            raise InvalidDimensionError(
                f"The collection {self.collection} holds vectors of dimension {self.dimension}, the model in "
                f"use makes {dimension}.",
                next_step=f"Load the model with dimension={self.dimension}.",
            )


def metadata_for(
    collection: str, embedder: Embedder, *, keywords: KeywordOptions | None = None
) -> CollectionMetadata:
    """The card for a collection that ``embedder`` is going to fill."""
    return CollectionMetadata(
        collection=collection,
        fingerprint=embedder.fingerprint,
        model=embedder.model_name,
        dimension=embedder.dimension,
        role_prompts=dict(embedder.role_prompts),
        keywords=keywords,
    )


def parse_metadata(collection: str, info: Any) -> CollectionMetadata:
    """The card of a collection, checked against its real schema.

    Args:
        collection: Its name or an alias, for the errors.
        info: ``CollectionInfo`` from the client's ``get_collection``.

    Raises:
        CollectionMismatchError: It was not made for LUSIFER, or its schema contradicts the card.
    """
    metadata = getattr(info.config, "metadata", None) or {}
    vectors = info.config.params.vectors
    advice = "Make one with: lusifer qdrant setup"
    if METADATA_KEY not in metadata:
        kind = (
            f"vectors named {', '.join(sorted(vectors)) or '(none)'}"
            if isinstance(vectors, dict)
            else "one unnamed vector"
        )
        raise CollectionMismatchError(
            f"The collection {collection} says nothing of a LUSIFER model in its metadata; it has {kind}.",
            next_step=advice,
        )
    try:
        card = CollectionMetadata.model_validate(metadata[METADATA_KEY])
    except ValidationError as error:
        raise CollectionMismatchError(
            f"The metadata of the collection {collection} can't be read: {' '.join(str(error).split())}.",
            next_step="Upgrade LUSIFER, or make the collection anew with: lusifer qdrant setup",
        ) from error
    params = vectors.get(card.vector_name) if isinstance(vectors, dict) else None
    if params is None:
        raise CollectionMismatchError(
            f"The collection {collection} has no vector named {card.vector_name!r}.",
            next_step=advice,
        )
    distance = str(getattr(params.distance, "value", params.distance))
    if params.size != card.dimension or distance != "Cosine":
        raise CollectionMismatchError(
            f"The vector {card.vector_name!r} of the collection {collection} has dimension {params.size} and "
            f"distance {distance}; its metadata says {card.dimension} and Cosine.",
            next_step=advice,
        )
    return card


def find_metadata(client: Any, collection: str) -> CollectionMetadata:
    """The card of a collection or alias of a server, whatever the model; raises as :func:`open_metadata`."""
    with qdrant_errors(collection):
        return parse_metadata(collection, client.get_collection(collection))


def open_metadata(
    client: Any, collection: str, *, fingerprint: str, model: str, dimension: int | None = None
) -> CollectionMetadata:
    """The card of a collection or alias, checked against the model about to be used.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: It was not made for LUSIFER.
        FingerprintMismatchError: It holds vectors of another model.
        InvalidDimensionError: It holds vectors of another dimension.
        StoreUnavailableError: The server does not answer.
    """
    card = find_metadata(client, collection)
    card.check(fingerprint=fingerprint, model=model, dimension=dimension)
    return card
