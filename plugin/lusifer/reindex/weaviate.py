"""A collection on a Weaviate server as a side.

* Its keys are UUIDs, or ``tenant/UUID`` where it has tenants: all of them are re-embedded, in turn.
* Weaviate has no conditional writes and takes whole objects: a copy is compared just before it is written.
* With tenants Weaviate refuses a reference to an object that is not there yet. Such an object is copied
  without it, and the next pass, which finds it incomplete, writes it whole.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.errors import InvalidInputError, StoreUnavailableError
from lusifer.reindex.sides import (
    Page,
    Record,
    Span,
    canonical_sha256,
    places,
    sampled,
    title_of,
    uuid_cursors,
    uuid_spans,
)
from lusifer.service.languages import language_of
from lusifer.store import Document, content_sha256
from lusifer.weaviate.compose import compose_text
from lusifer.weaviate.connection import refused, weaviate_errors
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, data_types
from lusifer.weaviate.store import object_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lusifer.weaviate.compose import TextRules

__all__ = ["WeaviateSide"]

logger = logging.getLogger(__name__)

_OBJECTS_PER_REQUEST = 200
_LAST_WRITE_S = 1.0
"""In which a write ends that was let in just before a shard was set to READONLY."""


class WeaviateSide:
    """One vector of a collection.

    Args:
        client: A connected ``WeaviateClient``; closed by the owner.
        collection: Its own name.
        vector_name: Of the vector that this side is about.
        rules: How the text of an object is composed.
        language_field: Property with the language.
        text_property: For documents that come from a file.
        patience_s: How long a busy or absent server is waited for.
    """

    def __init__(
        self,
        client: Any,
        collection: str,
        vector_name: str,
        *,
        rules: TextRules,
        language_field: str = "lang",
        text_property: str = "text",
        patience_s: float = 300.0,
    ) -> None:
        self.client = client
        self.collection = collection
        self.vector_name = vector_name
        self.rules = rules
        self.language_field = language_field
        self.text_property = text_property
        self.patience_s = patience_s
        self._base = client.collections.get(collection)
        self._known: Any = None
        self._tenants: list[str] | None = None

    def count(self) -> int:
        """Objects of all tenants, exactly."""
        counts = [
            self._ask(lambda handle=handle: handle.aggregate.over_all(total_count=True).total_count)
            for handle in map(self._handle, self._tenant_names(fresh=True))
        ]
        return int(sum(counts))

    def count_without_vector(self) -> int:
        """Objects that lack the vector; reads the whole collection."""
        without, cursor = 0, None
        while True:
            objects, cursor = self._page(Span(), cursor, _OBJECTS_PER_REQUEST, vectors=[self.vector_name])
            without += sum(not each.vector.get(self.vector_name) for _, each in objects)
            if cursor is None:
                return without

    def spans(self, count: int) -> list[Span]:
        """Ranges of UUIDs, or of tenants."""
        names = self._tenant_names(fresh=True)
        if names == [""]:
            return uuid_spans(count)
        edges = ["", *(f"{names[index * len(names) // count]}/" for index in range(1, count)), ""]
        return [Span(first, end) for first, end in pairwise(edges)]

    def sample(self, count: int, seed: int) -> list[Record]:
        """Records from random places, of one tenant where there are some."""
        tenant = self._tenant_names()[0] if self._tenant_names() else ""
        prefix = f"{tenant}/" if tenant else ""
        cursors = [prefix + cursor for cursor in uuid_cursors(places(count), seed)]
        span = Span(prefix, f"{tenant}0") if tenant else Span()  # "0" comes right after "/"
        total = self._ask(lambda: self._handle(tenant).aggregate.over_all(total_count=True).total_count)
        return sampled(
            lambda _, cursor, limit: self.read(span, cursor, limit), cursors, int(total), count, seed
        )

    def key_of(self, document_id: str) -> str:
        """The UUID of a document that ``lusifer index`` wrote."""
        return object_id(document_id)

    def read(self, span: Span, cursor: str | None, limit: int) -> Page:
        """See :class:`lusifer.reindex.sides.OldSide`."""
        others = [name for name in self._config().vector_config if name != self.vector_name]
        objects, following = self._page(span, cursor, limit, vectors=others)
        return Page([self._record(key, each) for key, each in objects], following)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Objects that are there."""
        return {key for key, _ in self._fetch(keys, vectors=[], contents=False)}

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Content hash of the objects that are there."""
        return {key: _hash(each) for key, each in self._fetch(keys, vectors=[])}

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Version of the objects that are there: Weaviate notes when each was written last."""
        return {key: _version(each) for key, each in self._fetch(keys, vectors=[])}

    def vectors(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors ``(D,)`` of those that have one."""
        return {
            key: np.asarray(each.vector[self.vector_name], dtype=np.float32)
            for key, each in self._fetch(keys, vectors=[self.vector_name])
            if each.vector.get(self.vector_name)
        }

    def nearest(self, vectors: Sequence[NDArray[np.float32]], limit: int) -> list[list[Record]]:
        """For each vector the nearest objects of the tenant that :meth:`sample` reads, best first."""
        tenant = self._tenant_names()[0] if self._tenant_names() else ""
        handle = self._handle(tenant)
        found = []
        for vector in vectors:
            answer = self._ask(
                lambda vector=vector: handle.query.near_vector(
                    vector.tolist(), limit=limit, target_vector=self.vector_name
                )
            )
            found.append([self._record(_join(tenant, str(each.uuid)), each) for each in answer.objects])
        return found

    def write(
        self,
        records: Sequence[Record],
        vectors: Sequence[NDArray[np.float32] | None],
        seen: Mapping[str, str],
    ) -> int:
        """See :class:`lusifer.reindex.sides.NewSide`."""
        pairs = list(zip(records, vectors, strict=True))
        written = 0
        for start in range(0, len(pairs), _OBJECTS_PER_REQUEST):
            part = pairs[start : start + _OBJECTS_PER_REQUEST]
            written += self._insert(part, seen)
        return written

    def keys(self, span: Span, cursor: str | None, limit: int) -> tuple[dict[str, str], str | None]:
        """Keys with their versions, and where the next reading begins."""
        objects, following = self._page(span, cursor, min(limit, 1000), vectors=[])
        return {key: _version(each) for key, each in objects}, following

    def delete(self, seen: Mapping[str, str]) -> int:
        """Delete objects whose version still is the one that was seen."""
        from weaviate.classes.query import Filter

        now = self.versions(list(seen))
        gone = [key for key, version in seen.items() if now.get(key) == version]
        for tenant, ids in _by_tenant(gone).items():
            for start in range(0, len(ids), _OBJECTS_PER_REQUEST):
                chosen = Filter.by_id().contains_any(ids[start : start + _OBJECTS_PER_REQUEST])
                handle = self._handle(tenant)
                self._ask(lambda handle=handle, chosen=chosen: handle.data.delete_many(where=chosen))
        return len(gone)

    def unmark(self) -> None:
        """Nothing was added."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the server refuse every write to the collection, of whatever tenant; it goes on answering."""
        try:
            self._ask(lambda: self._base.config.update_shards("READONLY"))
            time.sleep(_LAST_WRITE_S)
            yield
        finally:
            self._ask(lambda: self._base.config.update_shards("READY"))

    def close(self) -> None:
        """Nothing of its own is held."""

    def _insert(
        self, part: Sequence[tuple[Record, NDArray[np.float32] | None]], seen: Mapping[str, str]
    ) -> int:
        from weaviate.classes.data import DataObject

        now = self.versions([record.key for record, _ in part])
        chosen: dict[str, list[Any]] = {}
        for record, vector in part:
            if now.get(record.key) != seen.get(record.key):
                continue
            tenant, _, key = record.key.rpartition("/")
            properties, others, references = self._content(record)
            if vector is not None:
                others = {**others, self.vector_name: vector.tolist()}
            chosen.setdefault(tenant, []).append(
                DataObject(properties=properties, uuid=key, vector=others or None, references=references)
            )
        for tenant, objects in chosen.items():
            if tenant and tenant not in self._tenant_names():
                self._create_tenant(tenant)
            bare = self._insert_objects(tenant, objects)
            for each in bare:
                each.references = None
            if self._insert_objects(tenant, bare):
                raise StoreUnavailableError(
                    f"Weaviate refused {len(bare)} objects of {self.collection} even without references.",
                    next_step="Look into Weaviate's log, then run again.",
                )
        return sum(map(len, chosen.values()))

    def _insert_objects(self, tenant: str, objects: list[Any]) -> list[Any]:
        """Insert or replace; returns those that refer to objects which are not there yet.

        Raises:
            StoreError: An object was refused for another reason.
        """
        if not objects:
            return []
        handle = self._handle(tenant)
        try:
            answer = self._ask(lambda: handle.data.insert_many(objects))
        except InvalidInputError as error:
            # The client raises where every single one was refused.
            if "invalid cref" not in error.message:
                raise
            return objects
        for each in answer.errors.values():
            if "invalid cref" not in each.message:
                raise refused(each.message, self.collection)
        return [objects[index] for index in answer.errors]

    def _content(self, record: Record) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """Properties, other vectors and references of a copy."""
        if not isinstance(record.content, Document):
            properties, others, references = record.content
            return {name: each for name, each in properties.items() if each is not None}, others, references
        document = record.content
        properties = {name: each for name, each in document.metadata.items() if each is not None}
        own = {
            self.text_property: document.text,
            ID_PROPERTY: document.id,
            HASH_PROPERTY: content_sha256(document),
        }
        return {**properties, **own}, {}, None

    def _record(self, key: str, each: Any) -> Record:
        properties = dict(each.properties)
        text = compose_text(properties, self.rules)
        named = properties.get(self.language_field)
        language = named if isinstance(named, str) else language_of(text)
        others = {
            name: vector
            for name, vector in (each.vector or {}).items()
            if name != self.vector_name and vector
        }
        content = (properties, others, _links(each) or None)
        return Record(key, _hash(each), text, language, title_of(properties), content)

    def _page(
        self, span: Span, cursor: str | None, limit: int, *, vectors: list[str]
    ) -> tuple[list[tuple[str, Any]], str | None]:
        """Objects after a cursor, which is the last key of the page before, or the first place to look at."""
        begin = cursor or span.first
        names = self._tenant_names(fresh=not begin)
        tenant, _, first = begin.rpartition("/")
        found: list[tuple[str, Any]] = []
        for name in names:
            if name < tenant:
                continue
            after = _before(first) if name == tenant and first else None
            if cursor is not None and name == tenant and first:
                after = first
            handle, wanted = self._handle(name), limit - len(found)
            answer = self._ask(
                lambda handle=handle, after=after, wanted=wanted: handle.query.fetch_objects(
                    limit=wanted,
                    after=after,
                    include_vector=vectors or False,
                    return_properties=self._properties(),
                    return_references=self._references(),
                    return_metadata=_written(),
                )
            )
            objects = [(_join(name, str(each.uuid)), each) for each in answer.objects]
            found += objects
            if len(found) >= limit:
                break
        kept = [(key, each) for key, each in found if span.holds(key)]
        more = len(found) >= limit and len(kept) == len(found)
        return kept, kept[-1][0] if more else None

    def _fetch(
        self, keys: Sequence[str], *, vectors: list[str], contents: bool = True
    ) -> Iterator[tuple[str, Any]]:
        for tenant, ids in _by_tenant(keys).items():
            if tenant and tenant not in self._tenant_names():
                continue
            handle = self._handle(tenant)
            for start in range(0, len(ids), _OBJECTS_PER_REQUEST):
                part = ids[start : start + _OBJECTS_PER_REQUEST]
                answer = self._ask(
                    lambda handle=handle, part=part: handle.query.fetch_objects_by_ids(
                        part,
                        limit=len(part),
                        include_vector=vectors or False,
                        return_properties=self._properties() if contents else [],
                        return_references=self._references() if contents else None,
                        return_metadata=_written(),
                    )
                )
                yield from ((_join(tenant, str(each.uuid)), each) for each in answer.objects)

    def _properties(self) -> Any:
        """None for all, which leaves out blobs: where there are some, everything is named."""
        config = self._config()
        if "blob" not in data_types(config).values():
            return None
        return [_named(each) for each in config.properties]

    def _references(self) -> Any:
        from weaviate.classes.query import QueryReference

        names = [each.name for each in self._config().references]
        return [QueryReference(link_on=name, return_properties=[]) for name in names] or None

    def _config(self) -> Any:
        if self._known is None:
            self._known = self._ask(self._base.config.get)
        return self._known

    def _tenant_names(self, *, fresh: bool = False) -> list[str]:
        """Tenants, sorted; one empty name for a collection without."""
        if not self._config().multi_tenancy_config.enabled:
            return [""]
        if fresh or self._tenants is None:
            self._tenants = sorted(self._ask(self._base.tenants.get))
        return self._tenants

    def _create_tenant(self, tenant: str) -> None:
        from weaviate.classes.tenants import Tenant

        if tenant not in self._tenant_names(fresh=True):
            self._ask(lambda: self._base.tenants.create([Tenant(name=tenant)]))
            self._tenant_names(fresh=True)

    def _handle(self, tenant: str) -> Any:
        return self._base.with_tenant(tenant) if tenant else self._base

    def _ask(self, call: Any) -> Any:
        end_s = time.monotonic() + self.patience_s
        delay_s = 0.25
        while True:
            try:
                with weaviate_errors(self.collection):
                    return call()
            except StoreUnavailableError as error:
                if time.monotonic() + delay_s > end_s:
                    raise
                logger.warning("%s Trying again in %.1f s.", error.message, delay_s)
                time.sleep(delay_s * random.uniform(1.0, 1.25))  # noqa: S311
                delay_s = min(2 * delay_s, 15.0)


def _hash(each: Any) -> str:
    """Of all properties and references; null is what Weaviate calls absent."""
    properties = {name: value for name, value in each.properties.items() if value is not None}
    return canonical_sha256([properties, _links(each)])


def _version(each: Any) -> str:
    """Every writing, even of the same content, has a later time (seen on 1.39)."""
    return f"{_hash(each)}@{each.metadata.last_update_time.timestamp()}"


def _written() -> Any:
    from weaviate.classes.query import MetadataQuery

    return MetadataQuery(last_update_time=True)


def _links(each: Any) -> dict[str, list[str]]:
    return {
        name: sorted(str(linked.uuid) for linked in reference.objects)
        for name, reference in (each.references or {}).items()
        if reference.objects
    }


def _named(each: Any) -> Any:
    from weaviate.classes.query import QueryNested

    if not each.nested_properties:
        return each.name
    return QueryNested(name=each.name, properties=[_named(inner) for inner in each.nested_properties])


def _join(tenant: str, key: str) -> str:
    return f"{tenant}/{key}" if tenant else key


def _by_tenant(keys: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in keys:
        tenant, _, key = each.rpartition("/")
        found.setdefault(tenant, []).append(key)
    return found


def _before(key: str) -> str | None:
    """The UUID before this one: Weaviate reads after a UUID, not from it."""
    number = uuid.UUID(key).int
    return str(uuid.UUID(int=number - 1)) if number else None
