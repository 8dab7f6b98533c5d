"""Collections with the vectors, indexes and metadata that LUSIFER needs, and their aliases.

The vectors are always named. Only named vectors take documents for server-side inference in every
place, and only beside them a second vector can be added when the model changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.errors import StoreError
from lusifer.qdrant.connection import client_errors, import_client
from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata
from lusifer.qdrant.points import KEYWORD_VECTOR, unknown_quantization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from qdrant_client import QdrantClient
    from qdrant_client.models import QuantizationConfig

    from lusifer.types import Quantization

__all__ = ["aliases", "collection_arguments", "create_collection", "refuse_used_alias", "set_alias"]


def collection_arguments(
    metadata: CollectionMetadata, *, quantization: Quantization = "none"
) -> dict[str, Any]:  # keyword arguments of many types, which only Any passes on
    """Return arguments of the client's ``create_collection``, sync or async.

    Raises:
        MissingExtraError: ``qdrant-client`` is not installed.
        InvalidInputError: An unknown quantization.
    """
    models = import_client().models
    arguments: dict[str, Any] = {
        "collection_name": metadata.collection,
        "vectors_config": {
            metadata.vector_name: models.VectorParams(
                size=metadata.dimension, distance=models.Distance.COSINE
            )
        },
        "metadata": {METADATA_KEY: metadata.model_dump(mode="json", exclude_none=True)},
    }
    if metadata.keywords is not None:
        arguments["sparse_vectors_config"] = {
            KEYWORD_VECTOR: models.SparseVectorParams(modifier=models.Modifier.IDF)
        }
    if quantization != "none":
        arguments["quantization_config"] = _quantization(models, quantization)
    return arguments


def create_collection(
    client: QdrantClient,
    metadata: CollectionMetadata,
    *,
    quantization: Quantization = "none",
    index_fields: Sequence[str] = ("lang",),
) -> None:
    """Create a collection for the documents of one model.

    Args:
        client: A ``QdrantClient``.
        metadata: From :func:`lusifer.qdrant.metadata.metadata_for`.
        quantization: How vectors are kept in memory.
        index_fields: Metadata fields to filter by; they get a keyword index.

    Raises:
        StoreError: It exists already, or the server refuses.
        StoreUnavailableError: The server does not answer.
    """
    models = import_client().models
    with client_errors(metadata.collection):
        if client.collection_exists(metadata.collection):
            raise StoreError(
                f"The collection {metadata.collection} exists already.",
                next_step="Choose another name, or examine it with: lusifer doctor qdrant URL "
                f"--collection {metadata.collection}",
            )
        client.create_collection(**collection_arguments(metadata, quantization=quantization))
        for name in index_fields:
            client.create_payload_index(
                metadata.collection, f"metadata.{name}", models.PayloadSchemaType.KEYWORD, wait=True
            )


def aliases(client: QdrantClient) -> dict[str, str]:
    """Return all aliases of a server, alias to collection."""
    with client_errors(""):
        return {each.alias_name: each.collection_name for each in client.get_aliases().aliases}


def set_alias(client: QdrantClient, alias: str, collection: str) -> None:
    """Set an alias to a collection, atomically: a search sees the old one or the new one.

    Raises:
        IndexNotFoundError: There is no such collection.
        StoreError: The server refused, as it does where a collection has the alias' name.
    """
    models = import_client().models
    # One action: creating an alias that exists overwrites it, and every search finds one.
    switch = models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
    )
    with client_errors(collection):
        client.update_collection_aliases([switch])


def refuse_used_alias(alias: str, used: Mapping[str, str]) -> None:
    """Refuse to take an alias from a full collection and give it to a new one, which is empty.

    Raises:
        StoreError: The alias points at a collection.
    """
    if alias in used:
        raise StoreError(
            f"The alias {alias} already points to {used[alias]}.",
            next_step="Fill the new collection first, then switch with: lusifer qdrant alias",
        )


def _quantization(models: ModuleType, kind: Quantization) -> QuantizationConfig:
    config: QuantizationConfig
    if kind in {"turbo4", "turbo2"}:
        bits = (
            models.TurboQuantBitSize.BITS4 if kind == "turbo4" else models.TurboQuantBitSize.BITS2
        )
        config = models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=bits))
    elif kind == "scalar":
        config = models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        )
    elif kind == "binary":
        config = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    else:
        raise unknown_quantization(kind)
    return config
