"""Reads objects through REST, page by page and by key, in all tenants.

REST answers for one id or for those after one, not for many ids. So objects are found by the order
of their ids: neighbours are read together, and objects far from each other one by one.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.reindex.endpoints.weaviate.objects import (
    group_by_tenant,
    join_key,
    tenant_order,
    uuid_before,
)
from lusifer.reindex.endpoints.weaviate.references import DanglingReferences
from lusifer.weaviate.connection import client_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lusifer.reindex.endpoints.base import KeyRange
    from lusifer.reindex.endpoints.weaviate.objects import StoredObject
    from lusifer.reindex.endpoints.weaviate.tenants import Tenants
    from lusifer.weaviate.rest import RestApi

__all__ = ["OBJECTS_PER_REQUEST", "ObjectReader"]

_Answer = TypeVar("_Answer")

OBJECTS_PER_REQUEST = 200


@dataclass(eq=False)
class ObjectReader:
    """The objects of one collection."""

    rest: RestApi
    tenants: Tenants
    retry_for_s: float = RETRY_FOR_S
    """Seconds for which requests to a busy or unreachable server are retried."""
    drops_dangling: bool = False
    """Whether objects are returned without references to objects that are gone."""

    @property
    def collection(self) -> str:
        """The collection's own name."""
        return self.tenants.collection

    def tenant_names(self, *, refresh: bool = False) -> Sequence[str]:
        """Return the tenants in the order of keys; one empty name where there are none."""
        return self.call(lambda: self.tenants.names(refresh=refresh))

    def call(self, request: Callable[[], _Answer], tenant: str = "") -> _Answer:
        """Run a request with retries, for a tenant that is made active where it is not."""

        def attempt() -> _Answer:
            with client_errors(self.collection):
                return self.tenants.within(tenant, request)

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)

    def page(
        self, key_range: KeyRange, cursor: str | None, limit: int, *, vectors: bool
    ) -> tuple[list[tuple[str, StoredObject]], str | None]:
        """Return objects after a cursor, tenant by tenant, and the next cursor.

        The cursor is the last key of the page before, or the first key to look at.
        """
        begin = cursor or key_range.first
        tenant, _, first = begin.rpartition("/")
        found: list[tuple[str, StoredObject]] = []
        for name in self.tenant_names(refresh=not begin):
            if tenant_order(name) < tenant_order(tenant):
                continue
            if key_range.end and tenant_order(name) >= key_range.end and name:
                break
            after = None
            if name == tenant and first:
                after = uuid_before(first) if cursor is None else first
            objects = self._list(name, after, limit - len(found), vectors=vectors)
            found += [(join_key(name, each["id"]), each) for each in objects]
            if len(found) >= limit:
                break
        kept = [(key, each) for key, each in found if key in key_range]
        more = len(found) >= limit and len(kept) == len(found)
        return kept, kept[-1][0] if more else None

    def contents(
        self, keys: Sequence[str], *, vectors: bool = False
    ) -> Sequence[tuple[str, StoredObject]]:
        """Return the objects that are there, as they can be copied."""
        return self.whole(self.by_key(keys, vectors=vectors))

    def whole(
        self, objects: Iterable[tuple[str, StoredObject]]
    ) -> Sequence[tuple[str, StoredObject]]:
        """Return objects as they can be copied."""
        found = list(objects)
        return self.call(partial(self._references.remove, found)) if self.drops_dangling else found

    def by_key(
        self, keys: Sequence[str], *, vectors: bool = False
    ) -> Iterator[tuple[str, StoredObject]]:
        """Yield the objects that are there, tenant by tenant in the order of their ids."""
        for tenant, ids in group_by_tenant(keys).items():
            if tenant and tenant not in self.tenant_names():
                continue
            wanted = sorted(set(ids))
            limit = min(len(wanted), OBJECTS_PER_REQUEST)
            while wanted:
                objects = self._list(tenant, uuid_before(wanted[0]), limit, vectors=vectors)
                found = {each["id"]: each for each in objects}
                whole = len(objects) < limit
                read = len(wanted) if whole else bisect_right(wanted, objects[-1]["id"])
                for key in wanted[:read]:
                    if key in found:
                        yield join_key(tenant, key), found[key]
                wanted = wanted[read:]
                # Neighbours are read together, and objects far from each other one by one.
                limit = min(2 * read, len(wanted), OBJECTS_PER_REQUEST)

    def _list(
        self, tenant: str, after: str | None, limit: int, *, vectors: bool
    ) -> list[StoredObject]:
        """Return objects in the order of their ids, from the one after ``after`` on."""
        options: dict[str, str | int] = {
            "class": self.collection,
            "limit": limit,
            "after": after or "",
        }
        if tenant:
            options["tenant"] = tenant
        if vectors:
            options["include"] = "vector"
        answer = self.call(lambda: self.rest.get("/objects", self.collection, **options), tenant)
        return list(answer["objects"])

    @cached_property
    def _references(self) -> DanglingReferences:
        def present(keys: Sequence[str]) -> set[str]:
            return {key for key, _ in self.by_key(keys)}

        return DanglingReferences(self.rest, present)
