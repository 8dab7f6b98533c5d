"""Tenants of a collection: their order, and inactive ones made active while they are copied.

A tenant that was inactive is made active when it is needed, and inactive again when the next one
is needed or the endpoint is closed. So at most one such tenant is in the server's memory. A process
that is killed leaves the one at hand active.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from lusifer.errors import StoreError
from lusifer.reindex.endpoints.weaviate.objects import tenant_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from lusifer.weaviate.rest import RestApi

__all__ = [
    "ACTIVE",
    "INACTIVE",
    "Tenants",
    "create_tenants",
    "has_tenants",
    "set_status",
    "tenant_statuses",
]

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

ACTIVE, INACTIVE = "ACTIVE", "INACTIVE"
_OLD_NAMES = {"HOT": ACTIVE, "COLD": INACTIVE, "FROZEN": "OFFLOADED"}
_TENANTS_PER_REQUEST = 100
"""Most tenants that Weaviate takes in one request."""
_ACTIVATION_S = 60.0
_POLL_S = 0.1


def has_tenants(rest: RestApi, collection: str) -> bool:
    """Return whether a collection has tenants."""
    schema = rest.get(f"/schema/{collection}", collection)
    return bool((schema.get("multiTenancyConfig") or {}).get("enabled"))


def tenant_statuses(rest: RestApi, collection: str) -> dict[str, str]:
    """Return the tenants with their statuses: ACTIVE, INACTIVE, OFFLOADED, or one in between."""
    found: list[Mapping[str, Any]] = rest.get(f"/schema/{collection}/tenants", collection) or []
    return {
        each["name"]: _OLD_NAMES.get(each["activityStatus"], each["activityStatus"])
        for each in found
    }


def create_tenants(rest: RestApi, collection: str, statuses: Mapping[str, str]) -> None:
    """Create tenants with these statuses."""
    _send_tenants(rest, "POST", collection, statuses)


def set_status(rest: RestApi, collection: str, statuses: Mapping[str, str]) -> None:
    """Give tenants these statuses."""
    _send_tenants(rest, "PUT", collection, statuses)


def _send_tenants(rest: RestApi, method: str, collection: str, statuses: Mapping[str, str]) -> None:
    rows = [{"name": name, "activityStatus": each} for name, each in statuses.items()]
    for start in range(0, len(rows), _TENANTS_PER_REQUEST):
        part = rows[start : start + _TENANTS_PER_REQUEST]
        rest.send(method, f"/schema/{collection}/tenants", part, collection)


class Tenants:
    """The tenants of one collection; without tenants, the one tenant has an empty name.

    Args:
        rest: The server.
        collection: The collection's own name.
        skipped: Tenants that are left out.
    """

    def __init__(self, rest: RestApi, collection: str, skipped: Collection[str] = ()) -> None:
        self.rest = rest
        self.collection = collection
        self.skipped = frozenset(skipped)
        self._enabled: bool | None = None
        self._statuses: dict[str, str] | None = None
        self._borrowed: str | None = None

    def names(self, *, refresh: bool = False) -> Sequence[str]:
        """Return the names in the order of keys."""
        if self._enabled is None:
            self._enabled = has_tenants(self.rest, self.collection)
        if not self._enabled:
            return [""]
        if refresh or self._statuses is None:
            self._statuses = tenant_statuses(self.rest, self.collection)
        return sorted(self._statuses.keys() - self.skipped, key=tenant_order)

    def statuses(self) -> dict[str, str]:
        """Return the tenants that are not skipped, with the statuses they have when not needed."""
        found = tenant_statuses(self.rest, self.collection)
        if self._borrowed in found:
            found[self._borrowed] = INACTIVE
        return {name: each for name, each in found.items() if name not in self.skipped}

    def create(self, name: str) -> None:
        """Create a tenant, if it is not there."""
        if name not in self.names() and name not in self.names(refresh=True):
            create_tenants(self.rest, self.collection, {name: ACTIVE})
            self.names(refresh=True)

    def within(self, name: str, request: Callable[[], _Answer]) -> _Answer:
        """Run a request for a tenant, which is made active where it is not.

        Raises:
            StoreError: The tenant can't be made active, or the request failed.
        """
        self._enter(name)
        try:
            return request()
        except StoreError as error:
            # Somebody else made it inactive.
            if not name or "is not active" not in error.message:
                raise
            if name == self._borrowed:
                self._borrowed = None
            self.names(refresh=True)
            self._enter(name)
            return request()

    def put_back(self) -> None:
        """Make the tenant inactive again that was made active here."""
        if self._borrowed is not None:
            name, self._borrowed = self._borrowed, None
            set_status(self.rest, self.collection, {name: INACTIVE})
            if self._statuses is not None:
                self._statuses[name] = INACTIVE

    def _enter(self, name: str) -> None:
        if not name or name == self._borrowed:
            return
        self.names()
        if self._statuses is None or self._statuses.get(name) != INACTIVE:
            return
        self.put_back()
        logger.info("The tenant %s of %s is made active for a while.", name, self.collection)
        self._borrowed = name
        set_status(self.rest, self.collection, {name: ACTIVE})
        end_s = time.monotonic() + _ACTIVATION_S
        while tenant_statuses(self.rest, self.collection).get(name) != ACTIVE:
            if time.monotonic() > end_s:
                raise StoreError(
                    f"The tenant {name} of {self.collection} did not become active in "
                    f"{_ACTIVATION_S:.0f} s.",
                    next_step="Make it active with Weaviate's client, then run again.",
                )
            time.sleep(_POLL_S)
        self._statuses[name] = ACTIVE
