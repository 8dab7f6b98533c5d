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
from lusifer.reindex.endpoints.weaviate.schema_copy import Replacement, replaced_vector
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import CollectionMetadata, parse_metadata, without_metadata
from lusifer.weaviate.schema import MARK_PROPERTY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weaviate import WeaviateClient

    from lusifer.reindex.endpoints.base import Record, Vector
    from lusifer.reindex.endpoints.weaviate.schema_copy import Schema
    from lusifer.weaviate.rest import RestApi

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
    """The metadata in a collection's description, which names the vector in use.

    The schema is changed as JSON: the client would drop settings that it does not know.
    """

    client: WeaviateClient
    """Connected client; its owner closes it."""
    rest: RestApi
    """REST API of the same server; its owner closes it."""
    service: Service
    """Service that Weaviate requests the new vectors from, if a module embeds the collection."""

    def prepare(self) -> bool:
        """Add the named vector, which is empty at first, and the property of the mark.

        It has the index settings of the old one.

        Returns:
            Whether the vector was added.
        """
        schema = self._schema()
        if MARK_PROPERTY not in {each["name"] for each in schema.get("properties") or ()}:
            mark = {"name": MARK_PROPERTY, "dataType": ["int"], "indexFilterable": False}
            self.rest.send("POST", f"/schema/{self.collection}/properties", mark, self.collection)
            schema = self._schema()
        if self.target.vector_name in (schema.get("vectorConfig") or {}):
            return False
        replacement = Replacement(
            self.source.vector_name, self.target.vector_name, self.service, self.target.model
        )
        vectors = {
            **schema["vectorConfig"],
            self.target.vector_name: replaced_vector(schema, replacement),
        }
        self._write_schema({**schema, "vectorConfig": vectors})
        return True

    def _read_metadata(self) -> CollectionMetadata:
        with client_errors(self.collection):
            config = self.client.collections.get(self.collection).config.get()
        return parse_metadata(self.collection, config)

    def _write_metadata(self, metadata: CollectionMetadata) -> None:
        schema = self._schema()
        description = metadata.in_description(without_metadata(schema.get("description")))
        self._write_schema({**schema, "description": description})

    def _delete_vector(self, vector_name: str) -> str:
        return f"nothing: Weaviate keeps the vector {vector_name}, once it is there"

    def _schema(self) -> Schema:
        found: Schema = self.rest.get(f"/schema/{self.collection}", self.collection)
        return found

    def _write_schema(self, schema: Schema) -> None:
        self.rest.send("PUT", f"/schema/{self.collection}", schema, self.collection)
