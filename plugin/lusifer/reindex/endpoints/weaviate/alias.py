"""Cutover of a Weaviate server: another collection behind an alias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.reindex.endpoints.alias import AliasCutover
from lusifer.reindex.endpoints.weaviate.collection import release_writes
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import parse_metadata, without_metadata
from lusifer.weaviate.schema import create_collection

if TYPE_CHECKING:
    from weaviate import WeaviateClient
    from weaviate.outputs.config import CollectionConfig

    from lusifer.reindex.endpoints.weaviate.objects import Service
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["WeaviateAliasCutover"]

_DEFAULT_SERVICE = "http://localhost:8000"


@dataclass(eq=False)
class WeaviateAliasCutover(AliasCutover):
    """An alias of a Weaviate server."""

    client: WeaviateClient
    """Connected client; its owner closes it."""
    metadata: CollectionMetadata
    """Metadata of the target collection."""
    template: str | None
    """Collection whose schema the target gets; None where the documents come from elsewhere."""
    replaced_vector: str
    """Vector of the template that the new one replaces."""
    service: Service
    """Service that Weaviate requests the new vectors from."""

    def prepare(self) -> bool:
        """Create the target with the template's schema, settings and tenants, unless it is there.

        Returns:
            Whether it was created.
        """
        from weaviate.classes.tenants import Tenant

        with client_errors(self.target):
            if self.client.collections.exists(self.target):
                config = self.client.collections.get(self.target).config.get()
                found = parse_metadata(self.target, config)
                found.check(fingerprint=self.metadata.fingerprint, model=self.metadata.model)
                return False
            if self.template is None:
                create_collection(
                    self.client,
                    self.metadata,
                    service_url=self.service.address or _DEFAULT_SERVICE,
                    dimensions=self.service.dimension,
                )
                return True
            template = self.client.collections.get(self.template)
            config = template.config.get()
            self.client.collections.create_from_dict(self._schema(config))
            if config.multi_tenancy_config.enabled and (names := sorted(template.tenants.get())):
                target = self.client.collections.get(self.target)
                target.tenants.create([Tenant(name=name) for name in names])
        return True

    def deactivate(self) -> None:
        """Point the alias at the source collection, or delete it if it did not exist before.

        The source takes writes again, if a cutover that was killed had held them.
        """
        if self.source is not None:
            with client_errors(self.source):
                release_writes(self.client.collections.get(self.source))
        super().deactivate()

    def _find_alias(self) -> str | None:
        with client_errors(self.target):
            found = self.client.alias.get(alias_name=self._name)
        return None if found is None else found.collection

    def _set_alias(self, collection: str) -> None:
        with client_errors(collection):
            if self.client.alias.get(alias_name=self._name) is None:
                self.client.alias.create(alias_name=self._name, target_collection=collection)
            else:
                self.client.alias.update(alias_name=self._name, new_target_collection=collection)

    def _delete_alias(self) -> None:
        with client_errors(self.target):
            self.client.alias.delete(alias_name=self._name)

    def _delete_collection(self, collection: str) -> str:
        with client_errors(collection):
            self.client.collections.delete(collection)
        return f"the collection {collection}"

    def _schema(self, config: CollectionConfig) -> dict[str, object]:
        schema = config.to_dict()
        vector = schema["vectorConfig"].pop(self.replaced_vector)
        for module, settings in vector["vectorizer"].items():
            if isinstance(settings, dict):
                self._change_service(module, settings)
        schema["vectorConfig"][self.metadata.vector_name] = vector
        schema["class"] = self.target
        schema["description"] = self.metadata.in_description(without_metadata(config.description))
        for each in schema.get("properties", []):
            # A reference from the collection to itself goes with the copy.
            each["dataType"] = [
                self.target if kind == config.name else kind for kind in each["dataType"]
            ]
        return schema

    def _change_service(self, module: str, settings: dict[str, object]) -> None:
        settings.pop("dimensions", None)
        if self.service.dimension is not None and module != "none":
            settings["dimensions"] = self.service.dimension
        if self.service.address is None:
            return
        address = self.service.address.rstrip("/")
        if "inferenceUrl" in settings:
            settings["inferenceUrl"] = address
        if "baseURL" in settings:
            settings["baseURL"] = f"{address}/cohere"
            settings["model"] = self.metadata.model
