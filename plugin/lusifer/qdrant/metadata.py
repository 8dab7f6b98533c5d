"""Metadata of a Qdrant collection about the model that filled it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from lusifer.errors import CollectionMismatchError
from lusifer.qdrant.connection import client_errors
from lusifer.qdrant.keywords import (  # noqa: TC001  (pydantic needs one at run time)
    KeywordOptions,
    StoredKeywords,
)
from lusifer.stores import metadata as shared
from lusifer.stores.fields import FieldRules

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.models import CollectionInfo, VectorParams

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
"""Key of a collection's metadata that holds ours."""

_STORED = (
    "schema_version",
    "collection",
    "fingerprint",
    "model",
    "dimension",
    "role_prompts",
    "vector_name",
    "keywords",
    "text_field",
    "template",
)
"""Order in which the fields have always been written."""

_ADVICE = "Make one with: lusifer qdrant setup"


class CollectionMetadata(shared.CollectionMetadata):
    """Metadata stored under the key ``lusifer`` of a collection's metadata."""

    role_prompts: dict[str, str] = Field(default_factory=dict)
    """Prompts put before a text of each role, ``query`` and ``document``."""
    keywords: StoredKeywords = None
    """Set where points have a BM25 vector too."""
    text_field: str = "text"
    """Payload field with the text; see :class:`lusifer.stores.fields.FieldRules`."""
    template: str = ""
    """Text made of several payload fields; empty takes ``text_field`` alone."""

    @property
    def rules(self) -> FieldRules:
        """Rules that find the text of a payload."""
        return FieldRules(self.text_field, self.template)

    @model_serializer(mode="wrap")
    def _in_stored_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        fields = handler(self)
        # Where they are as always, older versions can read the metadata.
        usual = {"text_field": "text", "template": ""}
        return {
            name: fields[name]
            for name in _STORED
            if name in fields and (name not in usual or fields[name] != usual[name])
        }


def metadata_for(
    collection: str, embedder: Embedder, *, keywords: KeywordOptions | None = None
) -> CollectionMetadata:
    """Return the metadata of a collection that ``embedder`` is going to fill."""
    return CollectionMetadata(
        collection=collection,
        role_prompts=dict(embedder.role_prompts),
        keywords=keywords,
        **shared.identity_of(embedder),
    )


def parse_metadata(collection: str, config: CollectionInfo) -> CollectionMetadata:
    """Return the metadata of a collection, checked against its real schema.

    Args:
        collection: Its name or an alias, for the errors.
        config: What the client's ``get_collection`` returns.

    Raises:
        CollectionMismatchError: It was not made for LUSIFER, or its schema contradicts the
            metadata.
    """
    stored = config.config.metadata or {}
    vectors = config.config.params.vectors
    if METADATA_KEY not in stored:
        kind = (
            f"vectors named {', '.join(sorted(vectors)) or '(none)'}"
            if isinstance(vectors, dict)
            else "one unnamed vector"
        )
        raise CollectionMismatchError(
            f"The metadata of the collection {collection} names no LUSIFER model; it has {kind}.",
            next_step=_ADVICE,
        )
    try:
        metadata = CollectionMetadata.model_validate(stored[METADATA_KEY])
    except ValidationError as error:
        raise CollectionMismatchError(
            f"The metadata of the collection {collection} can't be read: "
            f"{' '.join(str(error).split())}.",
            next_step="Upgrade LUSIFER, or make the collection again with: lusifer qdrant setup",
        ) from error
    _check_vector(collection, metadata, vectors)
    return metadata


def _check_vector(
    collection: str,
    metadata: CollectionMetadata,
    vectors: VectorParams | dict[str, VectorParams] | None,
) -> None:
    params = vectors.get(metadata.vector_name) if isinstance(vectors, dict) else None
    if params is None:
        raise CollectionMismatchError(
            f"The collection {collection} has no vector named {metadata.vector_name!r}.",
            next_step=_ADVICE,
        )
    distance = str(getattr(params.distance, "value", params.distance))
    if params.size != metadata.dimension or distance != "Cosine":
        raise CollectionMismatchError(
            f"The vector {metadata.vector_name!r} of the collection {collection} has dimension "
            f"{params.size} and distance {distance}; its metadata says {metadata.dimension} and "
            "Cosine.",
            next_step=_ADVICE,
        )


def find_metadata(
    client: QdrantClient, collection: str
) -> tuple[CollectionMetadata, CollectionInfo]:
    """Return metadata and configuration of a collection or alias, whatever its model.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: It was not made for LUSIFER.
        StoreUnavailableError: The server does not answer.
    """
    with client_errors(collection):
        config = client.get_collection(collection)
    return parse_metadata(collection, config), config


def open_metadata(
    client: QdrantClient,
    collection: str,
    *,
    fingerprint: str,
    model: str,
    dimension: int | None = None,
) -> tuple[CollectionMetadata, CollectionInfo]:
    """Return metadata and configuration, checked against the model about to be used.

    Raises:
        FingerprintMismatchError: It holds vectors of another model.
        InvalidDimensionError: It holds vectors of another dimension D.
        StoreError: As :func:`find_metadata`.
    """
    metadata, config = find_metadata(client, collection)
    metadata.check(fingerprint=fingerprint, model=model, dimension=dimension)
    return metadata, config
