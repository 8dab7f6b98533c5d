"""Weaviate in place: a second named vector of the same objects.

Weaviate has no conditional writes, so a vector may come to lie beside a text that was edited a
moment before. In the same operation comes a *mark*: a number made from the content that the vector
is of. The next pass finds that mark and content differ, and makes the vector anew. So after a pass
that found nothing every vector is that of its text.

* The mark is a number: if any property with text changes, Weaviate embeds the object's other
  vectors anew by their modules, even where the property is not among their sources (seen on 1.39).
* A vector without a mark may have been carried over from an older text by who replaced the object.
  Only when the new vector is in use, it is what an application sent along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.errors import IndexNotFoundError
from lusifer.reindex.endpoints.base import parts
from lusifer.reindex.endpoints.weaviate.collection import WeaviateSide
from lusifer.reindex.endpoints.weaviate.objects import hash_of, mark_of
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.metadata import module_of, parse_metadata, without_metadata
from lusifer.weaviate.schema import MARK_PROPERTY, vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.reindex.endpoints.base import Record
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["WeaviateInPlaceSide", "WeaviateVector"]

_COMPARED_AT_ONCE = 32
"""Objects that are looked at just before they are written, one after the other."""


class WeaviateInPlaceSide(WeaviateSide):
    """The new vector of objects that are there.

    Args:
        client: As of :class:`WeaviateSide`, like the rest.
        collection: As there.
        vector_name: As there.
        in_use: Tells whether applications use the new vector already.
        options: As there.
    """

    def __init__(
        self,
        client: Any,
        collection: str,
        vector_name: str,
        *,
        in_use: Callable[[], bool],
        **options: Any,
    ) -> None:
        super().__init__(client, collection, vector_name, **options)
        self._in_use = in_use

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Content hash of the objects whose vector is of their content."""
        found = {}
        unmarked = {None} if self._in_use() else set()
        for key, each in self._fetch(keys, vectors=[self.vector_name]):
            sha256, mark = hash_of(each), each.properties.get(MARK_PROPERTY)
            if each.vector.get(self.vector_name) and mark in {mark_of(sha256), *unmarked}:
                found[key] = sha256
        return found

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """The same: there are no copies to tell apart."""
        return self.hashes(keys)

    def write(
        self,
        records: Sequence[Record],
        vectors: Sequence[NDArray[np.float32] | None],
        seen: Mapping[str, str],
    ) -> int:
        """See :class:`lusifer.reindex.endpoints.base.Target`."""
        made = [
            (record, vector)
            for record, vector in zip(records, vectors, strict=True)
            if vector is not None
        ]
        written = 0
        for part in parts(made, _COMPARED_AT_ONCE):
            now = super().hashes([record.key for record, _ in part])
            for record, vector in part:
                if now.get(record.key) == record.sha256:
                    written += self._update(record, vector)
        return written

    def _update(self, record: Record, vector: NDArray[np.float32]) -> bool:
        tenant, _, key = record.key.rpartition("/")
        handle = self._handle(tenant)
        mark = {MARK_PROPERTY: mark_of(record.sha256)}
        try:
            self._ask(
                lambda: handle.data.update(
                    key, properties=mark, vector={self.vector_name: vector.tolist()}
                )
            )
        except IndexNotFoundError:
            # The client says so of an object that was deleted meanwhile, too.
            if self.present([record.key]):
                raise
            return False
        return True


class WeaviateVector:
    """The card in the collection's description says which vector is in use.

    Args:
        client: A connected ``WeaviateClient``.
        collection: Its own name.
        old: Its card as it was planned.
        new: The same with the new vector's name and model.
        service_address: Where the server reaches the service of the new model, for a collection
            that is embedded by a module.
        service_dimension: Length of vectors that it asks for; None is the model's own.
    """

    def __init__(
        self,
        client: Any,
        collection: str,
        *,
        old: CollectionMetadata,
        new: CollectionMetadata,
        service_address: str | None,
        service_dimension: int | None,
    ) -> None:
        self.client = client
        self.collection = collection
        self.old = old
        self.new = new
        self.service_address = service_address
        self.service_dimension = service_dimension

    def prepare(self) -> None:
        """Add the named vector, which is empty at first, and the property of the mark."""
        from weaviate.classes.config import Configure, DataType, Property

        with client_errors(self.collection):
            handle = self.client.collections.get(self.collection)
            config = handle.config.get()
            if MARK_PROPERTY not in {each.name for each in config.properties}:
                handle.config.add_property(
                    Property(name=MARK_PROPERTY, data_type=DataType.INT, index_filterable=False)
                )
            if self.new.vector_name in config.vector_config:
                return
            module = module_of(config, self.old.vector_name)
            if module == "none":
                vector = Configure.Vectors.self_provided(name=self.new.vector_name)
            else:
                old = config.vector_config[self.old.vector_name].vectorizer
                vector = vectors(
                    self.service_address or "",
                    source_properties=old.source_properties,
                    route="cohere" if module == "text2vec-cohere" else "transformers",
                    name=self.new.vector_name,
                    model=self.new.model,
                    dimensions=self.service_dimension,
                )
            handle.config.add_vector(vector_config=vector)

    def shows_new(self) -> bool:
        """Whether the card names the new vector."""
        return parse_metadata(self.collection, self._config()).vector_name == self.new.vector_name

    def show_new(self) -> None:
        """Write the card of the new vector, in one operation."""
        self._write(self.new)

    def show_old(self) -> None:
        """Write the card of the old vector."""
        self._write(self.old)

    def remove_old(self) -> str:
        """Weaviate has no way to remove a vector."""
        return f"nothing: Weaviate keeps the vector {self.old.vector_name}, once it is there"

    def remove_new(self) -> str:
        """Weaviate has no way to remove a vector."""
        return f"nothing: Weaviate keeps the vector {self.new.vector_name}, once it is there"

    def _write(self, card: CollectionMetadata) -> None:
        description = card.in_description(without_metadata(self._config().description))
        with client_errors(self.collection):
            self.client.collections.get(self.collection).config.update(description=description)

    def _config(self) -> Any:
        with client_errors(self.collection):
            return self.client.collections.get(self.collection).config.get()
