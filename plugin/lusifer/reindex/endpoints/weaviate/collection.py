"""A collection on a Weaviate server as a source or target.

* Keys are UUIDs, or ``tenant/UUID`` in a collection with tenants. All tenants are re-embedded, one
  after the other.
* Weaviate has no conditional writes and takes whole objects. So a copy is compared just before it
  is written.
* With tenants Weaviate refuses a reference to an object that is not there yet. Such an object is
  copied without it. The next pass finds it incomplete and writes it whole.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.errors import InvalidInputError
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
    record_of,
    tenant_order,
    uuid_before,
    version_of,
    whole_object,
)
from lusifer.reindex.endpoints.weaviate.writing import insert_objects
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.objects import object_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from weaviate import WeaviateClient
    from weaviate.collections import Collection
    from weaviate.outputs.config import CollectionConfig

    from lusifer.reindex.endpoints.base import Record, Vector
    from lusifer.reindex.endpoints.weaviate.objects import Content, NewObject, StoredObject
    from lusifer.weaviate.text_composition import TextRules

__all__ = ["WeaviateEndpoint", "release_writes"]

_Answer = TypeVar("_Answer")

_OBJECTS_PER_REQUEST = 200
_KEYS_PER_REQUEST = 1000
_TENANTS_SAMPLED = 16
_LAST_WRITE_S = 1.0
"""Time in which a write ends that was accepted just before a shard was set to READONLY."""


def release_writes(handle: Collection) -> None:
    """Accept writes again that :meth:`WeaviateEndpoint.frozen` held, also if that was killed."""
    held = [each.name for each in handle.config.get_shards() if each.status == "READONLY"]
    if held:
        handle.config.update_shards("READY", held)


@dataclass(eq=False)
class WeaviateEndpoint:
    """One vector of a collection."""

    client: WeaviateClient
    """Connected client; its owner closes it."""
    collection: str
    """The collection's own name."""
    vector_name: str
    """Name of the vector."""
    rules: TextRules
    """Rules that compose the text of an object."""
    language_field: str = "lang"
    """Property with the language."""
    text_property: str = "text"
    """Property for the text of documents that come from a file."""
    retry_for_s: float = RETRY_FOR_S
    """Seconds for which requests to a busy or unreachable server are retried."""
    _known_config: CollectionConfig | None = field(default=None, init=False)
    _known_tenants: list[str] | None = field(default=None, init=False)

    @cached_property
    def _base(self) -> Collection:
        return self.client.collections.get(self.collection)

    def count(self) -> int:
        """Count the objects of all tenants, exactly."""
        return sum(map(self._count, self._tenants(refresh=True)))

    def count_without_vector(self) -> int:
        """Count the objects that lack the vector; reads the whole collection."""
        without, cursor = 0, None
        while True:
            objects, cursor = self._page(
                KeyRange(), cursor, _OBJECTS_PER_REQUEST, vectors=[self.vector_name]
            )
            without += sum(not each.vector.get(self.vector_name) for _, each in objects)
            if cursor is None:
                return without

    def key_ranges(self, count: int) -> list[KeyRange]:
        """Split the UUIDs, or the tenants."""
        names = self._tenants(refresh=True)
        if names == [""]:
            return uuid_ranges(count)
        edges = ["", *(f"{names[index * len(names) // count]}/" for index in range(1, count)), ""]
        return [KeyRange(first, end) for first, end in pairwise(edges)]

    def sample(self, count: int, seed: int) -> list[Record[Content]]:
        """Return records from random places, as many from each of at most 16 random tenants."""
        names = self._tenants(refresh=True)
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
        if self._config().multi_tenancy_config.enabled and not tenant:
            raise InvalidInputError(
                f"{self.collection} has tenants, and the query about {document_id!r} names none.",
                next_step='Add "tenant" to every query.',
            )
        return join_key(tenant, object_id(document_id))

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[Content]:
        """Return the next records of a range, with their other vectors and references."""
        others = [name for name in self._config().vector_config or {} if name != self.vector_name]
        objects, following = self._page(key_range, cursor, limit, vectors=others)
        return Page([self._record(key, each) for key, each in objects], following)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that are there."""
        return {key for key, _ in self._fetch(keys, vectors=[], contents=False)}

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of the objects that are there."""
        return {key: hash_of(each) for key, each in self._fetch(keys, vectors=[])}

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Return versions of the objects that are there: hash and time of the last write."""
        return {key: version_of(each) for key, each in self._fetch(keys, vectors=[])}

    def vectors(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors ``(D,)`` of those objects that have one."""
        return {
            key: np.asarray(each.vector[self.vector_name], dtype=np.float32)
            for key, each in self._fetch(keys, vectors=[self.vector_name])
            if each.vector.get(self.vector_name)
        }

    def nearest(
        self, vectors: Sequence[Vector], limit: int, tenant_keys: Sequence[str]
    ) -> list[list[Record[Content]]]:
        """Return the nearest objects of a tenant for each vector, best first."""
        found = []
        for vector, key in zip(vectors, tenant_keys, strict=True):
            tenant, _, _ = key.rpartition("/")
            answer = self._call(
                partial(
                    self._handle(tenant).query.near_vector,
                    vector.tolist(),
                    limit=limit,
                    target_vector=self.vector_name,
                )
            )
            found.append(
                [self._record(join_key(tenant, str(each.uuid)), each) for each in answer.objects]
            )
        return found

    def write(
        self, rows: Sequence[tuple[Record[Content], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        """Insert or replace objects of the expected version, compared just before."""
        written: dict[str, str] = {}
        for chunk in chunked(rows, _OBJECTS_PER_REQUEST):
            written |= self._write_chunk(chunk, expected)
        return written

    def keys(
        self, key_range: KeyRange, cursor: str | None, limit: int
    ) -> tuple[dict[str, str], str | None]:
        """Return keys with their versions, and the cursor of the next page."""
        objects, following = self._page(
            key_range, cursor, min(limit, _KEYS_PER_REQUEST), vectors=[]
        )
        return {key: version_of(each) for key, each in objects}, following

    def delete(self, versions: Mapping[str, str]) -> int:
        """Delete the objects that still have these versions, compared just before."""
        from weaviate.classes.query import Filter

        now = self.versions(list(versions))
        unchanged = [key for key, version in versions.items() if now.get(key) == version]
        for tenant, ids in group_by_tenant(unchanged).items():
            handle = self._handle(tenant)
            for chunk in chunked(ids, _OBJECTS_PER_REQUEST):
                chosen = Filter.by_id().contains_any(chunk)
                self._call(partial(handle.data.delete_many, where=chosen))
        return len(unchanged)

    def remove_copy_markers(self) -> None:
        """Do nothing: copies are not marked."""

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have the server refuse writes to the collection and its tenants; it still answers."""
        try:
            self._call(lambda: self._base.config.update_shards("READONLY"))
            time.sleep(_LAST_WRITE_S)
            yield
        finally:
            self._call(lambda: release_writes(self._base))

    def close(self) -> None:
        """Do nothing: the client belongs to the migration."""

    def _write_chunk(
        self, rows: Sequence[tuple[Record[Content], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        now = self.versions([record.key for record, _ in rows])
        chosen: dict[str, list[NewObject]] = {}
        for record, vector in rows:
            if now.get(record.key) == expected.get(record.key):
                tenant, _, _ = record.key.rpartition("/")
                chosen.setdefault(tenant, []).append(self._object(record, vector))
        for tenant, objects in chosen.items():
            if tenant and tenant not in self._tenants():
                self._create_tenant(tenant)
            insert_objects(self._handle(tenant), objects, self._call)
        return self.versions(
            [join_key(tenant, str(each.uuid)) for tenant in chosen for each in chosen[tenant]]
        )

    def _object(self, record: Record[Content], vector: Vector | None) -> NewObject:
        from weaviate.classes.data import DataObject

        _, _, key = record.key.rpartition("/")
        content = copied_content(record, self.text_property)
        vectors = dict(content.vectors)
        if vector is not None:
            vectors[self.vector_name] = vector.tolist()
        return DataObject(
            properties=dict(content.properties),
            uuid=key,
            vector=vectors or None,
            references=dict(content.references) or None,
        )

    def _page(
        self, key_range: KeyRange, cursor: str | None, limit: int, *, vectors: list[str]
    ) -> tuple[list[tuple[str, StoredObject]], str | None]:
        """Return objects after a cursor, tenant by tenant, and the next cursor.

        The cursor is the last key of the page before, or the first key to look at.
        """
        begin = cursor or key_range.first
        tenant, _, first = begin.rpartition("/")
        found: list[tuple[str, StoredObject]] = []
        for name in self._tenants(refresh=not begin):
            if tenant_order(name) < tenant_order(tenant):
                continue
            after = None
            if name == tenant and first:
                after = uuid_before(first) if cursor is None else first
            answer = self._call(
                partial(
                    self._handle(name).query.fetch_objects,
                    limit=limit - len(found),
                    after=after,
                    include_vector=vectors or False,
                    **whole_object(self._config()),
                )
            )
            found += [(join_key(name, str(each.uuid)), each) for each in answer.objects]
            if len(found) >= limit:
                break
        kept = [(key, each) for key, each in found if key in key_range]
        more = len(found) >= limit and len(kept) == len(found)
        return kept, kept[-1][0] if more else None

    def _fetch(
        self, keys: Sequence[str], *, vectors: list[str], contents: bool = True
    ) -> Iterator[tuple[str, StoredObject]]:
        for tenant, ids in group_by_tenant(keys).items():
            if tenant and tenant not in self._tenants():
                continue
            query = self._handle(tenant).query
            for chunk in chunked(ids, _OBJECTS_PER_REQUEST):
                fetch = partial(
                    query.fetch_objects_by_ids,
                    chunk,
                    limit=len(chunk),
                    include_vector=vectors or False,
                )
                answer = self._call(
                    partial(fetch, **whole_object(self._config()))
                    if contents
                    else partial(fetch, return_properties=[])
                )
                yield from ((join_key(tenant, str(each.uuid)), each) for each in answer.objects)

    def _count(self, tenant: str) -> int:
        handle = self._handle(tenant)
        return self._call(lambda: handle.aggregate.over_all(total_count=True)).total_count or 0

    def _config(self) -> CollectionConfig:
        if self._known_config is None:
            self._known_config = self._call(lambda: self._base.config.get())
        return self._known_config

    def _tenants(self, *, refresh: bool = False) -> list[str]:
        """Return the tenants in the order of keys; one empty name for a collection without tenants."""
        if not self._config().multi_tenancy_config.enabled:
            return [""]
        if refresh or self._known_tenants is None:
            self._known_tenants = sorted(self._call(self._base.tenants.get), key=tenant_order)
        return self._known_tenants

    def _create_tenant(self, tenant: str) -> None:
        from weaviate.classes.tenants import Tenant

        if tenant not in self._tenants(refresh=True):
            self._call(lambda: self._base.tenants.create([Tenant(name=tenant)]))
            self._tenants(refresh=True)

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

    def _call(self, call: Callable[[], _Answer]) -> _Answer:
        def attempt() -> _Answer:
            with client_errors(self.collection):
                return call()

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)
