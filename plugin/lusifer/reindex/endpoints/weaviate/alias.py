"""A Weaviate server's way: another collection behind an alias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.reindex.endpoints.weaviate.collection import let_writers_in
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import parse_metadata, without_metadata
from lusifer.weaviate.schema import create_collection

if TYPE_CHECKING:
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["WeaviateAlias"]


class WeaviateAlias:
    """An alias.

    Args:
        client: A connected ``WeaviateClient``.
        alias: What applications name.
        old: The collection that it means before; None where there is none.
        new: The new collection.
        card: Of the new collection.
        like: The collection whose schema the new one gets; None where the documents come from
            elsewhere.
        old_vector: Name of its vector that the new one takes the place of.
        service_address: Where the server reaches the service of the new model; None keeps the
            address.
        service_dimension: Length of vectors that it asks for; None is the model's own.
    """

    def __init__(
        self,
        client: Any,
        *,
        alias: str,
        old: str | None,
        new: str,
        card: CollectionMetadata,
        like: str | None,
        old_vector: str,
        service_address: str | None,
        service_dimension: int | None,
    ) -> None:
        self.client = client
        self.alias = alias
        self.old = old
        self.new = new
        self.card = card
        self.like = like
        self.old_vector = old_vector
        self.service_address = service_address
        self.service_dimension = service_dimension

    def prepare(self) -> None:
        """Make the new collection with the schema, the tenants and the settings of the old one."""
        from weaviate.classes.tenants import Tenant

        with client_errors(self.new):
            if self.client.collections.exists(self.new):
                found = parse_metadata(self.new, self.client.collections.get(self.new).config.get())
                found.check(fingerprint=self.card.fingerprint, model=self.card.model)
                return
            if self.like is None:
                address = self.service_address or "http://localhost:8000"
                create_collection(
                    self.client,
                    self.card,
                    service_url=address,
                    dimensions=self.service_dimension,
                )
                return
            old = self.client.collections.get(self.like)
            config = old.config.get()
            self.client.collections.create_from_dict(self._schema(config))
            if config.multi_tenancy_config.enabled and (names := sorted(old.tenants.get())):
                new = self.client.collections.get(self.new)
                new.tenants.create([Tenant(name=name) for name in names])

    def shows_new(self) -> bool:
        """Whether the alias means the new collection."""
        return self._meant() == self.new

    def show_new(self) -> None:
        """Let the alias mean the new collection."""
        self._mean(self.new)

    def show_old(self) -> None:
        """Let the alias mean the old collection, or nothing where there was none.

        It takes writes again, if a switch that was killed had them held.
        """
        if self.old is not None:
            with client_errors(self.old):
                let_writers_in(self.client.collections.get(self.old))
            self._mean(self.old)
        elif self._meant() is not None:
            with client_errors(self.new):
                self.client.alias.delete(alias_name=self.alias)

    def remove_old(self) -> str:
        """Delete the old collection."""
        return self._remove(self.old) if self.old is not None else "nothing"

    def remove_new(self) -> str:
        """Delete the new collection."""
        return self._remove(self.new)

    def _meant(self) -> str | None:
        with client_errors(self.new):
            found = self.client.alias.get(alias_name=self.alias)
        return None if found is None else str(found.collection)

    def _mean(self, collection: str) -> None:
        with client_errors(collection):
            if self.client.alias.get(alias_name=self.alias) is None:
                self.client.alias.create(alias_name=self.alias, target_collection=collection)
            else:
                self.client.alias.update(alias_name=self.alias, new_target_collection=collection)

    def _remove(self, collection: str) -> str:
        with client_errors(collection):
            self.client.collections.delete(collection)
        return f"the collection {collection}"

    def _schema(self, config: Any) -> dict[str, Any]:
        schema: dict[str, Any] = config.to_dict()
        old = schema["vectorConfig"].pop(self.old_vector)
        for module, settings in old["vectorizer"].items():
            if not isinstance(settings, dict):
                continue
            settings.pop("dimensions", None)
            if self.service_dimension is not None and module != "none":
                settings["dimensions"] = self.service_dimension
            if self.service_address is not None and "inferenceUrl" in settings:
                settings["inferenceUrl"] = self.service_address.rstrip("/")
            if self.service_address is not None and "baseURL" in settings:
                settings["baseURL"] = f"{self.service_address.rstrip('/')}/cohere"
                settings["model"] = self.card.model
        schema["vectorConfig"][self.card.vector_name] = old
        schema["class"] = self.new
        schema["description"] = self.card.in_description(without_metadata(config.description))
        for each in schema.get("properties", []):
            # A reference to the collection itself goes with the copy.
            each["dataType"] = [
                self.new if kind == config.name else kind for kind in each["dataType"]
            ]
        return schema
