"""A collection on a Weaviate server as a source or target.

* Keys are UUIDs, or ``tenant/UUID`` in a collection with tenants. All tenants are re-embedded, one
  after the other.
* Weaviate has no conditional writes and takes whole objects. So a copy is compared just before it
  is written.
* With tenants Weaviate refuses a reference to an object that is not there yet. Such an object is
  copied without it. The next pass finds it incomplete and writes it whole. A reference to an object
  that the source does not have either is not copied.
* Objects are read and written as JSON; see :mod:`lusifer.weaviate.rest`. Only searches use the
  client, for ids alone.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.common.retry import RETRY_FOR_S
from lusifer.errors import IndexNotFoundError, InvalidInputError
from lusifer.reindex.endpoints.base import KeyRange, Page
from lusifer.reindex.endpoints.key_ranges import (
    cursor_count,
    sample_records,
    uuid_cursors,
    uuid_ranges,
)
from lusifer.reindex.endpoints.weaviate.objects import (
    copied_content,
    group_by_tenant,
    hash_of,
    join_key,
    new_object,
    record_of,
    tenant_order,
    vector_of,
    version_of,
)
from lusifer.reindex.endpoints.weaviate.reading import OBJECTS_PER_REQUEST, ObjectReader
from lusifer.reindex.endpoints.weaviate.schema_copy import add_missing_properties
from lusifer.reindex.endpoints.weaviate.shards import hold_writes, release_writes
from lusifer.reindex.endpoints.weaviate.writing import insert_objects
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.property_types import add_properties

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weaviate import WeaviateClient
    from weaviate.collections import Collection

    from lusifer.reindex.endpoints.base import Record, Vector
    from lusifer.reindex.endpoints.weaviate.objects import Content, NewObject, StoredObject
    from lusifer.reindex.endpoints.weaviate.tenants import Tenants
    from lusifer.weaviate.rest import RestApi
    from lusifer.weaviate.text_composition import TextRules

__all__ = ["WeaviateEndpoint"]

_KEYS_PER_REQUEST = 1000
_TENANTS_SAMPLED = 16
_LAST_WRITE_S = 1.0
"""Time in which a write ends that was accepted just before a shard was set to READONLY."""


@dataclass(eq=False)
class WeaviateEndpoint:
    """One vector of a collection."""

    client: WeaviateClient
    """Connected client; its owner closes it."""
    rest: RestApi
    """REST API of the same server; its owner closes it."""
    tenants: Tenants
    """Tenants of the collection; endpoints of one collection share them."""
    vector_name: str
    """Name of the vector; empty for the unnamed one."""
    rules: TextRules
    """Rules that compose the text of an object."""
    language_field: str = "lang"
    """Property with the language."""
    text_property: str = "text"
    """Property for the text of documents that come from a file."""
    copies_vectors: bool = False
    """Whether records carry the other vectors of an object, to be copied."""
    drops_dangling: bool = False
    """Whether records leave out references to objects that are gone: a copy with tenants could not
    have them."""
    template: str | None = None
    """Collection whose properties this one must have; None for no other."""
    placeholder: Sequence[float] = ()
    """Zeros as the vector of an object whose text can't be embedded, where Weaviate would have it
    embedded and so refuse the object; empty where an object needs no vector."""
    retry_for_s: float = RETRY_FOR_S
    """Seconds for which requests to a busy or unreachable server are retried."""
    _properties: set[str] = field(default_factory=set, init=False)
    """Properties that are known to be here."""

    @property
    def collection(self) -> str:
        """The collection's own name."""
        return self.tenants.collection

    @cached_property
    def _reader(self) -> ObjectReader:
        return ObjectReader(self.rest, self.tenants, self.retry_for_s, self.drops_dangling)

    @cached_property
    def _base(self) -> Collection:
        return self.client.collections.get(self.collection)

    def count(self) -> int:
        """Count the objects of all tenants, exactly."""
        return sum(map(self._count, self._reader.tenant_names(refresh=True)))

    def count_without_vector(self) -> int:
        """Count the objects that lack the vector; reads the whole collection."""
        without, cursor = 0, None
        while True:
            page = self._reader.page(KeyRange(), cursor, OBJECTS_PER_REQUEST, vectors=True)
            objects, cursor = page
            without += sum(vector_of(each, self.vector_name) is None for _, each in objects)
            if cursor is None:
                return without

    def key_ranges(self, count: int) -> list[KeyRange]:
        """Split the UUIDs, or the tenants."""
        names = self._reader.tenant_names(refresh=True)
        if names == [""]:
            return uuid_ranges(count)
        edges = ["", *(f"{names[index * len(names) // count]}/" for index in range(1, count)), ""]
        return [KeyRange(first, end) for first, end in pairwise(edges)]

    def sample(self, count: int, seed: int) -> list[Record[Content]]:
        """Return records from random places, as many from each of at most 16 random tenants."""
        names = self._reader.tenant_names(refresh=True)
        sampled = random.Random(seed).sample(names, min(len(names), _TENANTS_SAMPLED))  # noqa: S311
        chosen = sorted(sampled, key=tenant_order)
        found: list[Record[Content]] = []
        for index, name in enumerate(chosen):
            wanted = count * (index + 1) // len(chosen) - count * index // len(chosen)
            cursors = [join_key(name, each) for each in uuid_cursors(cursor_count(wanted), seed)]
            # "0" comes right after "/".
            own_keys = KeyRange(join_key(name, ""), f"{name}0") if name else KeyRange()
            found += sample_records(
                self.read, cursors, self._count(name), wanted, seed, key_range=own_keys
            )
        return found

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """Return the UUID of a document that ``lusifer index`` wrote, with its tenant."""
        if self._reader.tenant_names() != [""] and not tenant:
            raise InvalidInputError(
                f"{self.collection} has tenants, and the query about {document_id!r} names none.",
                next_step='Add "tenant" to every query.',
            )
        return join_key(tenant, object_id(document_id))

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[Content]:
        """Return the next records of a range, with their other vectors and references."""
        objects, following = self._reader.page(
            key_range, cursor, limit, vectors=self.copies_vectors
        )
        return Page(
            [self._record(key, each) for key, each in self._reader.whole(objects)], following
        )

    def present(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that are there."""
        return {key for key, _ in self._reader.by_key(keys)}

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of the objects that are there."""
        return {key: hash_of(each) for key, each in self._reader.contents(keys)}

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Return versions of the objects that are there: hash and time of the last write."""
        return {key: version_of(each) for key, each in self._reader.contents(keys)}

    def vectors(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors ``(D,)`` of those objects that have one."""
        return {
            key: np.asarray(found, dtype=np.float32)
            for key, each in self._reader.by_key(keys, vectors=True)
            if (found := vector_of(each, self.vector_name)) is not None
        }

    def nearest(
        self, vectors: Sequence[Vector], limit: int, tenant_keys: Sequence[str]
    ) -> list[list[Record[Content]]]:
        """Return the nearest objects of a tenant for each vector, best first."""
        found: list[list[str]] = []
        for vector, key in zip(vectors, tenant_keys, strict=True):
            tenant, _, _ = key.rpartition("/")
            search = partial(
                self._handle(tenant).query.near_vector,
                vector.tolist(),
                limit=limit,
                target_vector=self.vector_name or None,
                return_properties=[],
            )
            answer = self._reader.call(search, tenant)
            found.append([join_key(tenant, str(each.uuid)) for each in answer.objects])
        keys = list({key for near in found for key in near})
        records = {key: self._record(key, each) for key, each in self._reader.contents(keys)}
        return [[records[key] for key in near if key in records] for near in found]

    def write(
        self, rows: Sequence[tuple[Record[Content], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        """Insert or replace objects of the expected version, compared just before."""
        written: dict[str, str] = {}
        for chunk in chunked(rows, OBJECTS_PER_REQUEST):
            written |= self._write_chunk(chunk, expected)
        return written

    def keys(
        self, key_range: KeyRange, cursor: str | None, limit: int
    ) -> tuple[dict[str, str], str | None]:
        """Return keys with their versions, and the cursor of the next page."""
        objects, following = self._reader.page(
            key_range, cursor, min(limit, _KEYS_PER_REQUEST), vectors=False
        )
        return {key: version_of(each) for key, each in self._reader.whole(objects)}, following

    def delete(self, versions: Mapping[str, str]) -> int:
        """Delete the objects that still have these versions, compared just before."""
        from weaviate.classes.query import Filter

        now = self.versions(list(versions))
        unchanged = [key for key, version in versions.items() if now.get(key) == version]
        for tenant, ids in group_by_tenant(unchanged).items():
            handle = self._handle(tenant)
            for chunk in chunked(ids, OBJECTS_PER_REQUEST):
                chosen = Filter.by_id().contains_any(chunk)
                self._reader.call(partial(handle.data.delete_many, where=chosen), tenant)
        return len(unchanged)

    def remove_copy_markers(self) -> None:
        """Do nothing: copies are not marked."""

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the server refuse writes to the collection and its tenants; it still answers."""
        try:
            self._reader.call(lambda: hold_writes(self.rest, self.collection))
            time.sleep(_LAST_WRITE_S)
            yield
        finally:
            # It may have been deleted meanwhile.
            with suppress(IndexNotFoundError):
                self._reader.call(lambda: release_writes(self.rest, self.collection))

    def close(self) -> None:
        """Make a tenant inactive again that was so; the client belongs to the migration."""
        self.tenants.put_back()

    def _write_chunk(
        self, rows: Sequence[tuple[Record[Content], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        now = self.versions([record.key for record, _ in rows])
        written: dict[str, str] = {}
        chosen: dict[str, list[NewObject]] = {}
        for record, vector in rows:
            if now.get(record.key) == expected.get(record.key):
                tenant, _, _ = record.key.rpartition("/")
                chosen.setdefault(tenant, []).append(self._object(record, vector))
        for tenant, objects in chosen.items():
            if tenant:
                self.tenants.create(tenant)
            self._add_properties(objects)
            call = partial(self._reader.call, tenant=tenant)
            stored = insert_objects(self.rest, self._handle(tenant), objects, call)
            written |= {join_key(tenant, key): version_of(each) for key, each in stored.items()}
        return written

    def _object(self, record: Record[Content], vector: Vector | None) -> NewObject:
        content = copied_content(record, self.text_property)
        vectors = dict(content.vectors)
        if vector is not None:
            vectors[self.vector_name] = vector.tolist()
        elif record.text and self.placeholder:
            vectors[self.vector_name] = self.placeholder
        return new_object(self.collection, record.key, content, vectors)

    def _add_properties(self, objects: Sequence[NewObject]) -> None:
        """Add properties that are lacking: Weaviate would guess their types from one object.

        They are those that the template was given since, or those of a file's documents.
        """
        rows = [each["properties"] for each in objects]
        if self.template is None:
            add_properties(self._base, self._properties, rows, self._reader.call)
            return
        used = {name for row in rows for name in row}
        if not used <= self._properties:
            add = partial(add_missing_properties, self.rest, self.template, self.collection)
            self._properties |= self._reader.call(add) | used

    def _count(self, tenant: str) -> int:
        count = partial(self._handle(tenant).aggregate.over_all, total_count=True)
        return self._reader.call(count, tenant).total_count or 0

    def _handle(self, tenant: str) -> Collection:
        return self._base.with_tenant(tenant) if tenant else self._base

    def _record(self, key: str, stored: StoredObject) -> Record[Content]:
        return record_of(
            key,
            stored,
            rules=self.rules,
            language_field=self.language_field,
            vector_name=self.vector_name,
        )
