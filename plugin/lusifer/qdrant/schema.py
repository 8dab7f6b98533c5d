"""Collections made the right way, and the card in their metadata that says which model filled them.

Named vectors always: only they take documents for server-side inference in every place, and only
beside them a second vector can be added when the model changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.errors import (
    StoreError,
)
from lusifer.qdrant.connection import import_client, qdrant_errors
from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata
from lusifer.qdrant.points import KEYWORD_VECTOR, unknown_quantization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lusifer.types import Quantization

__all__ = ["aliases", "collection_arguments", "create_collection", "refuse_used_alias", "set_alias"]


def collection_arguments(
    card: CollectionMetadata, *, quantization: Quantization = "none"
) -> dict[str, Any]:
    """Arguments of the client's ``create_collection``, sync or async.

    Raises:
        MissingExtraError: ``qdrant-client`` is not installed.
        InvalidInputError: An unknown quantization.
    """
    models = import_client().models
    arguments: dict[str, Any] = {
        "collection_name": card.collection,
        "vectors_config": {
            card.vector_name: models.VectorParams(
                size=card.dimension, distance=models.Distance.COSINE
            )
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
    card: CollectionMetadata,
    *,
    quantization: Quantization = "none",
    index_fields: Sequence[str] = ("lang",),
) -> None:
    """Create a collection for the documents of one model.

    Args:
        client: A ``QdrantClient``.
        card: From :func:`metadata_for`.
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


def _quantization(models: Any, kind: Quantization) -> Any:
    if kind in {"turbo4", "turbo2"}:
        bits = (
            models.TurboQuantBitSize.BITS4 if kind == "turbo4" else models.TurboQuantBitSize.BITS2
        )
        return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=bits))
    if kind == "scalar":
        return models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        )
    if kind == "binary":
        return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    raise unknown_quantization(kind)
