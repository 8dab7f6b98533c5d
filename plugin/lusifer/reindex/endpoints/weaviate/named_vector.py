"""Weaviate in place: a second named vector of the same objects.

Weaviate has no conditional writes, so a vector may be written beside a text that was edited a
moment before. The same operation writes a *mark*: a number made from the content that was embedded.
The next pass finds that mark and content differ, and embeds again. So after a pass that found
nothing, every vector is that of its text.

* The mark is a number. If any text property changes, Weaviate embeds the object's other vectors
  again by their modules, even where the property is not among their sources (observed on 1.39).
* A vector without a mark may have been carried over from an older text by whoever replaced the
  object. Only once the new vector is in use, it is what an application sent along.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lusifer.errors import IndexNotFoundError
from lusifer.reindex.endpoints.named_vector import NamedVectorCutover, NamedVectorTarget
from lusifer.reindex.endpoints.weaviate.collection import WeaviateEndpoint
from lusifer.reindex.endpoints.weaviate.objects import (
    Content,
    Service,
    hash_of,
    mark_of,
    vector_of,
)
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import (
    CollectionMetadata,
    module_of,
    parse_metadata,
    without_metadata,
)
from lusifer.weaviate.schema import MARK_PROPERTY, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weaviate import WeaviateClient
    from weaviate.collections.classes.config_vectors import _VectorConfigCreate
    from weaviate.outputs.config import CollectionConfig

    from lusifer.reindex.endpoints.base import Record, Vector

__all__ = ["WeaviateNamedVectorCutover", "WeaviateNamedVectorTarget"]


@dataclass(eq=False)
class WeaviateNamedVectorTarget(NamedVectorTarget[Content], WeaviateEndpoint):
    """The new vector of objects that are there already."""

    in_use: Callable[[], bool] = lambda: False
    """Returns whether applications use the new vector already."""

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of the objects whose vector was made from their content."""
        found = {}
        unmarked = {None} if self.in_use() else set()
        for key, each in self._reader.contents(keys, vectors=True):
            sha256, mark = hash_of(each), each["properties"].get(MARK_PROPERTY)
            if vector_of(each, self.vector_name) is not None and mark in {
                mark_of(sha256),
                *unmarked,
            }:
                found[key] = sha256
        return found

    def _write_vectors(self, rows: Sequence[tuple[Record[Content], Vector]]) -> set[str]:
        now = WeaviateEndpoint.hashes(self, [record.key for record, _ in rows])
        return {
            record.key
            for record, vector in rows
            if now.get(record.key) == record.sha256 and self._update(record, vector)
        }

    def _update(self, record: Record[Content], vector: Vector) -> bool:
        tenant, _, key = record.key.rpartition("/")
        try:
            self._reader.call(
                partial(
                    self._handle(tenant).data.update,
                    key,
                    properties={MARK_PROPERTY: mark_of(record.sha256)},
                    vector={self.vector_name: vector.tolist()},
                ),
                tenant,
            )
        except IndexNotFoundError:
            # The client raises this for an object that was deleted meanwhile, too.
            if self.present([record.key]):
                raise
            return False
        return True


@dataclass(eq=False)
class WeaviateNamedVectorCutover(NamedVectorCutover[CollectionMetadata]):
    """The metadata in a collection's description, which names the vector in use."""

    client: WeaviateClient
    """Connected client; its owner closes it."""
    service: Service
    """Service that Weaviate requests the new vectors from, if a module embeds the collection."""

    def prepare(self) -> bool:
        """Add the named vector, which is empty at first, and the property of the mark.

        Returns:
            Whether the vector was added.
        """
        from weaviate.classes.config import DataType, Property

        with client_errors(self.collection):
            handle = self.client.collections.get(self.collection)
            config = handle.config.get()
            if MARK_PROPERTY not in {each.name for each in config.properties}:
                handle.config.add_property(
                    Property(name=MARK_PROPERTY, data_type=DataType.INT, index_filterable=False)
                )
            if self.target.vector_name in (config.vector_config or {}):
                return False
            handle.config.add_vector(vector_config=self._vector(config))
        return True

    def _read_metadata(self) -> CollectionMetadata:
        return parse_metadata(self.collection, self._config())

    def _write_metadata(self, metadata: CollectionMetadata) -> None:
        description = metadata.in_description(without_metadata(self._config().description))
        with client_errors(self.collection):
            self.client.collections.get(self.collection).config.update(description=description)

    def _delete_vector(self, vector_name: str) -> str:
        return f"nothing: Weaviate keeps the vector {vector_name}, once it is there"

    def _config(self) -> CollectionConfig:
        with client_errors(self.collection):
            return self.client.collections.get(self.collection).config.get()

    def _vector(self, config: CollectionConfig) -> _VectorConfigCreate:
        from weaviate.classes.config import Configure

        module = module_of(config, self.source.vector_name)
        if module == "none":
            made: _VectorConfigCreate = Configure.Vectors.self_provided(
                name=self.target.vector_name
            )
            return made
        old = (config.vector_config or {})[self.source.vector_name].vectorizer
        return vectors(
            self.service.address or "",
            source_properties=old.source_properties or (),
            route="cohere" if module == "text2vec-cohere" else "transformers",
            name=self.target.vector_name,
            model=self.target.model,
            dimensions=self.service.dimension,
        )
