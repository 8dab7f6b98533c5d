"""Shards of a collection that take writes, or refuse them for a while.

The server answers for no shard at all while one tenant is inactive. So with tenants, the shard of
each active one is asked for, and only those are held: nobody writes to an inactive tenant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.reindex.endpoints.weaviate.tenants import ACTIVE, has_tenants, tenant_statuses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from lusifer.weaviate.rest import RestApi

__all__ = ["hold_writes", "release_writes"]


def hold_writes(rest: RestApi, collection: str) -> None:
    """Have the server refuse writes to a collection; it still answers."""
    for name, status in list(_statuses(rest, collection)):
        if status != "READONLY":
            _set_status(rest, collection, name, "READONLY")


def release_writes(rest: RestApi, collection: str) -> None:
    """Accept writes again that :func:`hold_writes` held, also in a process that was killed."""
    for name, status in list(_statuses(rest, collection)):
        if status == "READONLY":
            _set_status(rest, collection, name, "READY")


def _statuses(rest: RestApi, collection: str) -> Iterator[tuple[str, str]]:
    """Yield the names and the statuses of the shards that can be asked for."""
    path = f"/schema/{collection}/shards"
    found: list[Mapping[str, Any]] = []
    if has_tenants(rest, collection):
        for name, status in tenant_statuses(rest, collection).items():
            if status == ACTIVE:
                found += rest.get(path, collection, tenant=name)
    else:
        found = rest.get(path, collection)
    for each in found:
        yield each["name"], each["status"]


def _set_status(rest: RestApi, collection: str, name: str, status: str) -> None:
    rest.send("PUT", f"/schema/{collection}/shards/{name}", {"status": status}, collection)
