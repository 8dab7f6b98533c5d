"""Cutover of a Qdrant server: another collection behind an alias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.qdrant.connection import client_errors
from lusifer.qdrant.metadata import CollectionMetadata, parse_metadata
from lusifer.qdrant.points import COPY_HASH
from lusifer.qdrant.schema import create_collection
from lusifer.reindex.endpoints.alias import AliasCutover
from lusifer.reindex.endpoints.qdrant.settings import copied_settings

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
        """Create the target with the template's settings and payload indexes, unless it is there.

        A repeated call completes what was interrupted.
        """
        with client_errors(self.target):
            created = not self.client.collection_exists(self.target)
            if not created:
                found = parse_metadata(self.target, self.client.get_collection(self.target))
                found.check(fingerprint=self.metadata.fingerprint, model=self.metadata.model)
        if self.template is None:
            if created:
                create_collection(self.client, self.metadata)
            return created
        with client_errors(self.target):
            info = self.client.get_collection(self.template)
            settings = copied_settings(info.config, self.metadata, self.replaced_vector)
            if created:
                self.client.create_collection(self.target, **settings.created)
            if settings.updated:
                self.client.update_collection(self.target, **settings.updated)
            self._create_indexes(info, strict=bool(settings.shown))
        return created

    def _create_indexes(self, info: models.CollectionInfo, *, strict: bool) -> None:
        """Create those payload indexes of the template that the target lacks."""
        from qdrant_client import models

        schemas = {
            name: schema.params or schema.data_type
            for name, schema in (info.payload_schema or {}).items()
            if name != COPY_HASH
        }
        if strict:
            # Strict mode may refuse filters on fields without an index; one guards deletions.
            schemas[COPY_HASH] = models.PayloadSchemaType.KEYWORD
        there = self.client.get_collection(self.target).payload_schema or {}
        for name, schema in schemas.items():
            if name not in there:
                self.client.create_payload_index(self.target, name, schema, wait=True)

    def activate(self) -> None:
        """Give the target the template's strict mode, then point the alias at it."""
        if self.template is not None:
            with client_errors(self.template):
                info = self.client.get_collection(self.template)
                settings = copied_settings(info.config, self.metadata, self.replaced_vector)
                if settings.shown:
                    self.client.update_collection(self.target, **settings.shown)
        super().activate()

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
