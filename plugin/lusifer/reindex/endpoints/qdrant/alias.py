"""Cutover of a Qdrant server: another collection behind an alias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.qdrant.connection import client_errors
from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata, parse_metadata
from lusifer.qdrant.schema import create_collection
from lusifer.reindex.endpoints.alias import AliasCutover

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

__all__ = ["QdrantAliasCutover"]


@dataclass(eq=False)
class QdrantAliasCutover(AliasCutover):
    """An alias of a Qdrant server."""

    client: QdrantClient
    """Client of the server; its owner closes it."""
    metadata: CollectionMetadata
    """Metadata of the target collection."""
    template: str | None = None
    """Collection whose settings the target gets; None where the documents come from elsewhere."""
    replaced_vector: str = ""
    """Vector of the template that the new one replaces; empty for an unnamed one."""

    def prepare(self) -> bool:
        """Create the target with the template's settings, unless it is there.

        These are its other vectors, quantization, graph and payload indexes.
        """
        with client_errors(self.target):
            if self.client.collection_exists(self.target):
                found = parse_metadata(self.target, self.client.get_collection(self.target))
                found.check(fingerprint=self.metadata.fingerprint, model=self.metadata.model)
                return False
        if self.template is None:
            create_collection(self.client, self.metadata)
            return True
        with client_errors(self.target):
            info = self.client.get_collection(self.template)
            self._create_like(info)
            for field, schema in (info.payload_schema or {}).items():
                self.client.create_payload_index(
                    self.target, field, schema.params or schema.data_type, wait=True
                )
        return True

    def _find_alias(self) -> str | None:
        with client_errors(""):
            found = self.client.get_aliases().aliases
        return {each.alias_name: each.collection_name for each in found}.get(self._name)

    def _set_alias(self, collection: str) -> None:
        from qdrant_client import models

        # Creating an alias that exists overwrites it, in one action.
        created = models.CreateAlias(collection_name=collection, alias_name=self._name)
        with client_errors(collection):
            self.client.update_collection_aliases(
                [models.CreateAliasOperation(create_alias=created)]
            )

    def _delete_alias(self) -> None:
        from qdrant_client import models

        deleted = models.DeleteAlias(alias_name=self._name)
        with client_errors(self.target):
            self.client.update_collection_aliases(
                [models.DeleteAliasOperation(delete_alias=deleted)]
            )

    def _delete_collection(self, collection: str) -> str:
        with client_errors(collection):
            self.client.delete_collection(collection)
        return f"the collection {collection}"

    def _create_like(self, info: models.CollectionInfo) -> None:
        from qdrant_client import models

        params = info.config.params
        named = params.vectors if isinstance(params.vectors, dict) else {}
        kept = {name: vector for name, vector in named.items() if name != self.replaced_vector}
        replaced = (
            params.vectors
            if isinstance(params.vectors, models.VectorParams)
            else named.get(self.replaced_vector)
        )
        dense = models.VectorParams(
            size=self.metadata.dimension,
            distance=models.Distance.COSINE,
            hnsw_config=replaced.hnsw_config if replaced else None,
            quantization_config=replaced.quantization_config if replaced else None,
            on_disk=replaced.on_disk if replaced else None,
        )
        hnsw = info.config.hnsw_config
        self.client.create_collection(
            collection_name=self.target,
            vectors_config={**kept, self.metadata.vector_name: dense},
            sparse_vectors_config=params.sparse_vectors,
            shard_number=params.shard_number,
            replication_factor=params.replication_factor,
            write_consistency_factor=params.write_consistency_factor,
            on_disk_payload=params.on_disk_payload,
            hnsw_config=models.HnswConfigDiff(**hnsw.model_dump(exclude_none=True))
            if hnsw
            else None,
            quantization_config=info.config.quantization_config,
            metadata={
                **(info.config.metadata or {}),
                METADATA_KEY: self.metadata.model_dump(mode="json", exclude_none=True),
            },
        )
