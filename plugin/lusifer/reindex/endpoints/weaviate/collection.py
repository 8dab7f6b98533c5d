"""A collection on a Weaviate server as a side.

* Its keys are UUIDs, or ``tenant/UUID`` where it has tenants: all of them are re-embedded, in turn.
* Weaviate has no conditional writes and takes whole objects: a copy is compared just before it is
  written.
* With tenants Weaviate refuses a reference to an object that is not there yet. Such an object is
  copied without it, and the next pass, which finds it incomplete, writes it whole.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.errors import InvalidInputError, StoreUnavailableError
from lusifer.reindex.endpoints.base import Page, Record, Span, parts
from lusifer.reindex.endpoints.key_ranges import places, sampled, uuid_cursors, uuid_spans
from lusifer.reindex.endpoints.weaviate.objects import (
    by_tenant,
    copied_content,
    everything_of,
    hash_of,
    join,
    record_of,
    uuid_before,
    version_of,
)
from lusifer.weaviate.connection import client_errors, refused
from lusifer.weaviate.objects import object_id
from lusifer.weaviate.repair import delete_unindexed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lusifer.weaviate.text_composition import TextRules

__all__ = ["WeaviateSide", "let_writers_in"]

_OBJECTS_PER_REQUEST = 200
_TENANTS_SAMPLED = 16
_LAST_WRITE_S = 1.0
"""In which a write ends that was let in just before a shard was set to READONLY."""


def let_writers_in(handle: Any) -> None:
    """Undo what :meth:`WeaviateSide.held` did, where a switch was killed too."""
    if held := [each.name for each in handle.config.get_shards() if each.status == "READONLY"]:
        handle.config.update_shards("READY", held)


class WeaviateSide:
    """One vector of a collection.

    Args:
        client: A connected ``WeaviateClient``; closed by the owner.
        collection: Its own name.
        vector_name: Of the vector that this side is about.
        rules: How the text of an object is composed.
        language_field: Property with the language.
        text_property: For documents that come from a file.
        retry_for_s: How long a busy or absent server is waited for.
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
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self.client = client
        self.collection = collection
        self.vector_name = vector_name
        self.rules = rules
        self.language_field = language_field
        self.text_property = text_property
        self.retry_for_s = retry_for_s
        self._base = client.collections.get(collection)
        self._known: Any = None
        self._tenants: list[str] | None = None

    def count(self) -> int:
        """Objects of all tenants, exactly."""
        return sum(map(self._count, self._tenant_names(fresh=True)))

    def count_without_vector(self) -> int:
        """Objects that lack the vector; reads the whole collection."""
        without, cursor = 0, None
        while True:
            objects, cursor = self._page(
                Span(), cursor, _OBJECTS_PER_REQUEST, vectors=[self.vector_name]
            )
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
        """Records from random places; of at most ``_TENANTS_SAMPLED`` random tenants, as many of each."""
        names = self._tenant_names(fresh=True)
        chosen = sorted(random.Random(seed).sample(names, min(len(names), _TENANTS_SAMPLED)))  # noqa: S311
        found: list[Record] = []
        for index, name in enumerate(chosen):
            wanted = count * (index + 1) // len(chosen) - count * index // len(chosen)
            cursors = [join(name, cursor) for cursor in uuid_cursors(places(wanted), seed)]
            span = Span(join(name, ""), f"{name}0") if name else Span()  # "0" comes right after "/"
            found += sampled(self.read, cursors, self._count(name), wanted, seed, span=span)
        return found

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """The UUID of a document that ``lusifer index`` wrote, with its tenant."""
        if self._config().multi_tenancy_config.enabled and not tenant:
            raise InvalidInputError(
                f"{self.collection} has tenants, and the question about {document_id!r} names none.",
                next_step='Add "tenant" to every question.',
            )
        return join(tenant, object_id(document_id))

    def read(self, span: Span, cursor: str | None, limit: int) -> Page:
        """See :class:`lusifer.reindex.endpoints.base.Source`."""
        others = [name for name in self._config().vector_config if name != self.vector_name]
        objects, following = self._page(span, cursor, limit, vectors=others)
        return Page([self._record(key, each) for key, each in objects], following)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Objects that are there."""
        return {key for key, _ in self._fetch(keys, vectors=[], contents=False)}

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Content hash of the objects that are there."""
        return {key: hash_of(each) for key, each in self._fetch(keys, vectors=[])}

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Version of the objects that are there: Weaviate notes when each was written last."""
        return {key: version_of(each) for key, each in self._fetch(keys, vectors=[])}

    def vectors(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors ``(D,)`` of those that have one."""
        return {
            key: np.asarray(each.vector[self.vector_name], dtype=np.float32)
            for key, each in self._fetch(keys, vectors=[self.vector_name])
            if each.vector.get(self.vector_name)
        }

    def nearest(
        self, vectors: Sequence[NDArray[np.float32]], limit: int, beside: Sequence[str]
    ) -> list[list[Record]]:
        """For each vector the nearest objects of a tenant, best first."""
        found = []
        for vector, key in zip(vectors, beside, strict=True):
            tenant, _, _ = key.rpartition("/")
            handle = self._handle(tenant)
            answer = self._ask(
                lambda vector=vector, handle=handle: handle.query.near_vector(
                    vector.tolist(), limit=limit, target_vector=self.vector_name
                )
            )
            found.append(
                [self._record(join(tenant, str(each.uuid)), each) for each in answer.objects]
            )
        return found

    def write(
        self,
        records: Sequence[Record],
        vectors: Sequence[NDArray[np.float32] | None],
        seen: Mapping[str, str],
    ) -> int:
        """See :class:`lusifer.reindex.endpoints.base.Target`."""
        pairs = list(zip(records, vectors, strict=True))
        written = 0
        for part in parts(pairs, _OBJECTS_PER_REQUEST):
            written += self._insert(part, seen)
        return written

    def keys(self, span: Span, cursor: str | None, limit: int) -> tuple[dict[str, str], str | None]:
        """Keys with their versions, and where the next reading begins."""
        objects, following = self._page(span, cursor, min(limit, 1000), vectors=[])
        return {key: version_of(each) for key, each in objects}, following

    def delete(self, seen: Mapping[str, str]) -> int:
        """Delete objects whose version still is the one that was seen."""
        from weaviate.classes.query import Filter

        now = self.versions(list(seen))
        gone = [key for key, version in seen.items() if now.get(key) == version]
        for tenant, ids in by_tenant(gone).items():
            handle = self._handle(tenant)
            for part in parts(ids, _OBJECTS_PER_REQUEST):
                chosen = Filter.by_id().contains_any(part)
                self._ask(
                    lambda handle=handle, chosen=chosen: handle.data.delete_many(where=chosen)
                )
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
            self._ask(lambda: let_writers_in(self._base))

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
            properties, others, references = copied_content(record, self.text_property)
            if vector is not None:
                others = {**others, self.vector_name: vector.tolist()}
            chosen.setdefault(tenant, []).append(
                DataObject(
                    properties=properties, uuid=key, vector=others or None, references=references
                )
            )
        for tenant, objects in chosen.items():
            if tenant and tenant not in self._tenant_names():
                self._create_tenant(tenant)
            self._insert_in(tenant, objects)
            there = self.present([join(tenant, str(each.uuid)) for each in objects])
            lost = [str(each.uuid) for each in objects if join(tenant, str(each.uuid)) not in there]
            deleted = delete_unindexed(self._handle(tenant), lost, self._ask)
            self._insert_in(tenant, [each for each in objects if str(each.uuid) in deleted])
        return sum(map(len, chosen.values()))

    def _insert_in(self, tenant: str, objects: list[Any]) -> None:
        """Insert or replace, without references where these are not there yet."""
        bare = self._insert_objects(tenant, objects)
        for each in bare:
            each.references = None
        if self._insert_objects(tenant, bare):
            raise StoreUnavailableError(
                f"Weaviate refused {len(bare)} objects of {self.collection} even without references.",
                next_step="Look into Weaviate's log, then run again.",
            )

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
            after = uuid_before(first) if name == tenant and first else None
            if cursor is not None and name == tenant and first:
                after = first
            handle, wanted = self._handle(name), limit - len(found)
            answer = self._ask(
                lambda handle=handle, after=after, wanted=wanted: handle.query.fetch_objects(
                    limit=wanted,
                    after=after,
                    include_vector=vectors or False,
                    **everything_of(self._config()),
                )
            )
            objects = [(join(name, str(each.uuid)), each) for each in answer.objects]
            found += objects
            if len(found) >= limit:
                break
        kept = [(key, each) for key, each in found if span.holds(key)]
        more = len(found) >= limit and len(kept) == len(found)
        return kept, kept[-1][0] if more else None

    def _fetch(
        self, keys: Sequence[str], *, vectors: list[str], contents: bool = True
    ) -> Iterator[tuple[str, Any]]:
        wanted = everything_of(self._config()) if contents else {"return_properties": []}
        for tenant, ids in by_tenant(keys).items():
            if tenant and tenant not in self._tenant_names():
                continue
            handle = self._handle(tenant)
            for part in parts(ids, _OBJECTS_PER_REQUEST):
                answer = self._ask(
                    lambda handle=handle, part=part: handle.query.fetch_objects_by_ids(
                        part,
                        limit=len(part),
                        include_vector=vectors or False,
                        **wanted,
                    )
                )
                yield from ((join(tenant, str(each.uuid)), each) for each in answer.objects)

    def _count(self, tenant: str) -> int:
        handle = self._handle(tenant)
        return int(self._ask(lambda: handle.aggregate.over_all(total_count=True).total_count))

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

    def _record(self, key: str, each: Any) -> Record:
        return record_of(
            key,
            each,
            rules=self.rules,
            language_field=self.language_field,
            vector_name=self.vector_name,
        )

    def _ask(self, call: Any) -> Any:
        def attempt() -> Any:
            with client_errors(self.collection):
                return call()

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)
