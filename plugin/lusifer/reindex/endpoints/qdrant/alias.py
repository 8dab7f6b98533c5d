"""A Qdrant server's way: another collection behind an alias."""

from __future__ import annotations

from typing import Any

from lusifer.errors import CollectionMismatchError
from lusifer.qdrant.connection import client_errors, import_client
from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata, parse_metadata
from lusifer.qdrant.schema import create_collection

__all__ = ["QdrantAlias"]


class QdrantAlias:
    """An alias.

    Args:
        client: A ``QdrantClient``.
        alias: What applications name.
        old: The collection that it means before; None where there is none.
        card: Of the new collection.
        like: The collection whose settings the new one gets; None where the documents come from
            elsewhere.
        old_vector: Name of its dense vector; empty for an unnamed one.
    """

    def __init__(
        self,
        client: Any,
        *,
        alias: str | None,
        old: str | None,
        card: CollectionMetadata,
        like: str | None = None,
        old_vector: str = "",
    ) -> None:
        self.client = client
        self.alias = alias
        self.old = old
        self.card = card
        self.like = like
        self.old_vector = old_vector

    def prepare(self) -> None:
        """Make the new collection as the old one is: other vectors, quantization, graph, payload indexes."""
        new = self.card.collection
        with client_errors(new):
            if self.client.collection_exists(new):
                found = parse_metadata(new, self.client.get_collection(new))
                found.check(fingerprint=self.card.fingerprint, model=self.card.model)
                return
        if self.like is None:
            create_collection(self.client, self.card)
            return
        with client_errors(new):
            info = self.client.get_collection(self.like)
            self.client.create_collection(**self._arguments(info))
            for field, schema in (info.payload_schema or {}).items():
                self.client.create_payload_index(
                    new, field, schema.params or schema.data_type, wait=True
                )

    def shows_new(self) -> bool:
        """Whether the alias means the new collection."""
        return (
            self.alias is not None and _aliases(self.client).get(self.alias) == self.card.collection
        )

    def show_new(self) -> None:
        """Let the alias mean the new collection: creating it again overwrites it, in one action."""
        self._mean(self.card.collection)

    def show_old(self) -> None:
        """Let the alias mean the old collection, or nothing where there was none."""
        if self.old is not None:
            self._mean(self.old)
        elif self.shows_new():
            models = import_client().models
            action = models.DeleteAliasOperation(
                delete_alias=models.DeleteAlias(alias_name=self.alias)
            )
            with client_errors(self.card.collection):
                self.client.update_collection_aliases([action])

    def remove_old(self) -> str:
        """Delete the old collection."""
        return self._remove(self.old) if self.old is not None else "nothing"

    def remove_new(self) -> str:
        """Delete the new collection."""
        return self._remove(self.card.collection)

    def _mean(self, collection: str) -> None:
        if self.alias is None:
            raise CollectionMismatchError(
                "The plan names no alias to switch.", next_step="Make a new plan with --alias NAME."
            )
        models = import_client().models
        action = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=self.alias)
        )
        with client_errors(collection):
            self.client.update_collection_aliases([action])

    def _remove(self, collection: str) -> str:
        with client_errors(collection):
            self.client.delete_collection(collection)
        return f"the collection {collection}"

    def _arguments(self, info: Any) -> dict[str, Any]:
        models = import_client().models
        params = info.config.params
        named = params.vectors if isinstance(params.vectors, dict) else {}
        kept = {name: vector for name, vector in named.items() if name != self.old_vector}
        old = named.get(self.old_vector) if named else params.vectors
        dense = models.VectorParams(
            size=self.card.dimension,
            distance=models.Distance.COSINE,
            hnsw_config=getattr(old, "hnsw_config", None),
            quantization_config=getattr(old, "quantization_config", None),
            on_disk=getattr(old, "on_disk", None),
        )
        hnsw = info.config.hnsw_config
        return {
            "collection_name": self.card.collection,
            "vectors_config": {**kept, self.card.vector_name: dense},
            "sparse_vectors_config": params.sparse_vectors,
            "shard_number": params.shard_number,
            "replication_factor": params.replication_factor,
            "write_consistency_factor": params.write_consistency_factor,
            "on_disk_payload": params.on_disk_payload,
            "hnsw_config": models.HnswConfigDiff(**hnsw.model_dump(exclude_none=True))
            if hnsw
            else None,
            "quantization_config": info.config.quantization_config,
            "metadata": {
                **(info.config.metadata or {}),
                METADATA_KEY: self.card.model_dump(mode="json", exclude_none=True),
            },
        }


def _aliases(client: Any) -> dict[str, str]:
    with client_errors(""):
        return {each.alias_name: each.collection_name for each in client.get_aliases().aliases}
