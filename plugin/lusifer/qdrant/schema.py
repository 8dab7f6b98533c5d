"""Collections made the right way, and the card in their metadata that says which model filled them.

Named vectors always: only they take documents for server-side inference in every place, and only beside them
a second vector can be added when the model changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.errors import (
    CollectionMismatchError,
    FingerprintMismatchError,
    InvalidDimensionError,
    StoreError,
)
from lusifer.qdrant.connection import import_client, qdrant_errors
from lusifer.qdrant.keywords import KeywordOptions  # noqa: TC001  (pydantic needs it at run time)
from lusifer.qdrant.points import KEYWORD_VECTOR, VECTOR_NAME, unknown_quantization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lusifer.choices import Quantization
    from lusifer.embedder import Embedder

__all__ = [
    "METADATA_KEY",
    "CollectionCard",
    "aliases",
    "card_of",
    "collection_arguments",
    "create_collection",
    "open_card",
    "read_card",
    "read_collection",
    "refuse_used_alias",
    "set_alias",
]

METADATA_KEY = "lusifer"


class CollectionCard(BaseModel):
    """What lies under the key ``lusifer`` of a collection's metadata."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    collection: str
    """The collection's own name, so that a search through an alias stays with the collection it checked."""
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


def card_of(collection: str, embedder: Embedder, *, keywords: KeywordOptions | None = None) -> CollectionCard:
    """The card for a collection that ``embedder`` is going to fill."""
    return CollectionCard(
        collection=collection,
        fingerprint=embedder.fingerprint,
        model=embedder.model_name,
        dimension=embedder.dimension,
        role_prompts=dict(embedder.role_prompts),
        keywords=keywords,
    )


def collection_arguments(card: CollectionCard, *, quantization: Quantization = "none") -> dict[str, Any]:
    """Arguments of the client's ``create_collection``, sync or async.

    Raises:
        MissingExtraError: ``qdrant-client`` is not installed.
        InvalidInputError: An unknown quantization.
    """
    models = import_client().models
    arguments: dict[str, Any] = {
        "collection_name": card.collection,
        "vectors_config": {
            card.vector_name: models.VectorParams(size=card.dimension, distance=models.Distance.COSINE)
        },
        "metadata": {METADATA_KEY: card.model_dump(mode="json", exclude_none=True)},
    }
    if card.keywords is not None:
        arguments["sparse_vectors_config"] = {
            KEYWORD_VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF)
        }
    if quantization != "none":
        arguments["quantization_config"] = _quantization(models, quantization)
    return arguments


def create_collection(
    client: Any,
    card: CollectionCard,
    *,
    quantization: Quantization = "none",
    index_fields: Sequence[str] = ("lang",),
) -> None:
    """Create a collection for the documents of one model.

    Args:
        client: A ``QdrantClient``.
        card: From :func:`card_of`.
        quantization: How vectors are kept in memory.
        index_fields: Metadata fields to be filtered by; they get a keyword index.

    Raises:
        StoreError: It exists already, or the server refuses.
        StoreUnavailableError: The server does not answer.
    """
    models = import_client().models
    with qdrant_errors(card.collection):
        if client.collection_exists(card.collection):
            raise StoreError(
                f"The collection {card.collection} exists already.",
                next_step="Choose another name, or look at it with: lusifer doctor qdrant URL --collection "
                f"{card.collection}",
            )
        client.create_collection(**collection_arguments(card, quantization=quantization))
        for name in index_fields:
            client.create_payload_index(
                card.collection, f"metadata.{name}", models.PayloadSchemaType.KEYWORD, wait=True
            )


def aliases(client: Any) -> dict[str, str]:
    """Alias to collection, of a whole server."""
    with qdrant_errors(""):
        return {each.alias_name: each.collection_name for each in client.get_aliases().aliases}


def set_alias(client: Any, alias: str, collection: str) -> None:
    """Let an alias mean a collection, at one stroke: a search sees the old one or the new one.

    Raises:
        IndexNotFoundError: There is no such collection.
        StoreError: The server refused, as it does where a collection has the alias' name.
    """
    models = import_client().models
    # One action: creating an alias that is there already overwrites it, and no search finds none.
    switch = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
    )
    with qdrant_errors(collection):
        client.update_collection_aliases([switch])


def refuse_used_alias(alias: str, used: Mapping[str, str]) -> None:
    """Refuse to take an alias from a full collection and give it to a new one, which is empty.

    Raises:
        StoreError: The alias means a collection.
    """
    if alias in used:
        raise StoreError(
            f"The alias {alias} means the collection {used[alias]}.",
            next_step="Fill the new collection first, then switch with: lusifer qdrant alias",
        )


def read_card(collection: str, info: Any) -> CollectionCard:
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
        card = CollectionCard.model_validate(metadata[METADATA_KEY])
    except ValidationError as error:
        raise CollectionMismatchError(
            f"The metadata of the collection {collection} can't be read: {' '.join(str(error).split())}.",
            next_step="Upgrade LUSIFER, or make the collection anew with: lusifer qdrant setup",
        ) from error
    params = vectors.get(card.vector_name) if isinstance(vectors, dict) else None
    if params is None:
        raise CollectionMismatchError(
            f"The collection {collection} has no vector named {card.vector_name!r}.", next_step=advice
        )
    distance = str(getattr(params.distance, "value", params.distance))
    if params.size != card.dimension or distance != "Cosine":
        raise CollectionMismatchError(
            f"The vector {card.vector_name!r} of the collection {collection} has dimension {params.size} and "
            f"distance {distance}; its metadata says {card.dimension} and Cosine.",
            next_step=advice,
        )
    return card


def read_collection(client: Any, collection: str) -> CollectionCard:
    """The card of a collection or alias of a server, whatever the model; raises as :func:`open_card`."""
    with qdrant_errors(collection):
        return read_card(collection, client.get_collection(collection))


def open_card(
    client: Any, collection: str, *, fingerprint: str, model: str, dimension: int | None = None
) -> CollectionCard:
    """The card of a collection or alias, checked against the model about to be used.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: It was not made for LUSIFER.
        FingerprintMismatchError: It holds vectors of another model.
        InvalidDimensionError: It holds vectors of another dimension.
        StoreUnavailableError: The server does not answer.
    """
    card = read_collection(client, collection)
    card.check(fingerprint=fingerprint, model=model, dimension=dimension)
    return card


def _quantization(models: Any, kind: Quantization) -> Any:
    if kind in {"turbo4", "turbo2"}:
        bits = models.TurboQuantBitSize.BITS4 if kind == "turbo4" else models.TurboQuantBitSize.BITS2
        return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=bits))
    if kind == "scalar":
        return models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        )
    if kind == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    raise unknown_quantization(kind)
