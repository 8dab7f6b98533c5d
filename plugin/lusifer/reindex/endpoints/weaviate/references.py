"""Leaves out references that a collection with tenants could not take: their objects are gone.

Weaviate keeps a reference after its object was deleted, but refuses to write it again where there
are tenants. Without tenants such a reference is copied as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.errors import IndexNotFoundError, InvalidInputError, StoreError
from lusifer.reindex.endpoints.weaviate.objects import is_reference, target_of
from lusifer.reindex.endpoints.weaviate.tenants import has_tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer.reindex.endpoints.weaviate.objects import StoredObject
    from lusifer.weaviate.rest import RestApi

__all__ = ["DanglingReferences"]


class DanglingReferences:
    """Finds references to objects that are not there.

    Args:
        rest: The server.
        present: Returns those keys of the collection itself that are there.
    """

    def __init__(self, rest: RestApi, present: Callable[[Sequence[str]], set[str]]) -> None:
        self.rest = rest
        self.present = present
        self._tenanted: dict[str, bool] = {}

    def remove(self, objects: Sequence[tuple[str, StoredObject]]) -> list[tuple[str, StoredObject]]:
        """Return objects by key without the references whose objects are not there."""
        own: set[str] = set()
        others: set[tuple[str, str]] = set()
        for key, each in objects:
            tenant, _, _ = key.rpartition("/")
            for target in _targets(each):
                if target.startswith("./"):
                    own.add(f"{tenant}{target[1:]}")
                elif "/" in target:
                    others.add((tenant, target))
        if not own and not others:
            return list(objects)
        absent = {key.partition("/")[::2] for key in own - self.present(sorted(own))}
        gone = {(tenant, f"./{key}") for tenant, key in absent}
        gone |= {each for each in others if not self._exists(*each)}
        return [(key, _without(key, each, gone)) for key, each in objects] if gone else [*objects]

    def _exists(self, tenant: str, target: str) -> bool:
        collection, _, key = target.partition("/")
        try:
            if collection not in self._tenanted:
                self._tenanted[collection] = has_tenants(self.rest, collection)
            options = {"tenant": tenant} if self._tenanted[collection] else {}
            self.rest.get(f"/objects/{collection}/{key}", collection, **options)
        except IndexNotFoundError:
            return False
        except InvalidInputError as error:
            return "tenant not found" not in error.message
        except StoreError as error:
            if error.retryable:
                raise
            # An inactive tenant of the other collection: what it holds stays unknown.
            return True
        return True


def _targets(stored: StoredObject) -> list[str]:
    return [
        target_of(reference["beacon"], stored["class"])
        for value in (stored.get("properties") or {}).values()
        if is_reference(value)
        for reference in value
    ]


def _without(key: str, stored: StoredObject, gone: set[tuple[str, str]]) -> StoredObject:
    tenant, _, _ = key.rpartition("/")
    properties = dict(stored.get("properties") or {})
    for name, value in list(properties.items()):
        if is_reference(value):
            properties[name] = [
                each
                for each in value
                if (tenant, target_of(each["beacon"], stored["class"])) not in gone
            ]
            if not properties[name]:
                del properties[name]
    return {**stored, "properties": properties}
