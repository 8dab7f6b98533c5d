"""Inserts objects into one tenant, or into a collection without tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError, StoreUnavailableError
from lusifer.weaviate.refusals import refused
from lusifer.weaviate.repair import delete_unindexed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weaviate.collections import Collection

    from lusifer.reindex.endpoints.weaviate.objects import NewObject
    from lusifer.weaviate.repair import Call

__all__ = ["insert_objects"]

_MISSING_REFERENCE = "invalid cref"
"""Part of Weaviate's message about a reference to an object that is not there."""


def insert_objects(handle: Collection, objects: Sequence[NewObject], call: Call) -> None:
    """Insert or replace objects, and have each one found by its UUID afterwards.

    Objects whose references point at absent objects are written without references. An object that
    a crash of the server left without index is deleted and inserted again.

    Args:
        handle: Handle of the collection or of its tenant.
        objects: At most as many as one request may have.
        call: Runs each request, with retries.

    Raises:
        StoreError: Weaviate refused an object.
    """
    _insert(handle, objects, call)
    ids = [str(each.uuid) for each in objects]
    answer = call(
        lambda: handle.query.fetch_objects_by_ids(ids, limit=len(ids), return_properties=[])
    )
    found = {str(each.uuid) for each in answer.objects}
    lost = [each for each in ids if each not in found]
    deleted = delete_unindexed(handle, lost, call)
    _insert(handle, [each for each in objects if str(each.uuid) in deleted], call)


def _insert(handle: Collection, objects: Sequence[NewObject], call: Call) -> None:
    """Insert or replace, without references where their objects are not there yet."""
    bare = _insert_once(handle, objects, call)
    for each in bare:
        each.references = None
    if _insert_once(handle, bare, call):
        raise StoreUnavailableError(
            f"Weaviate refused {len(bare)} objects of {handle.name} even without references.",
            next_step="Look into Weaviate's log, then run again.",
        )


def _insert_once(handle: Collection, objects: Sequence[NewObject], call: Call) -> list[NewObject]:
    """Insert or replace; return the objects whose references point at absent objects.

    Raises:
        StoreError: An object was refused for another reason.
    """
    if not objects:
        return []
    try:
        answer = call(lambda: handle.data.insert_many(objects))
    except InvalidInputError as error:
        # The client raises if every single object was refused.
        if _MISSING_REFERENCE not in error.message:
            raise
        return list(objects)
    for each in answer.errors.values():
        if _MISSING_REFERENCE not in each.message:
            raise refused(each.message, handle.name)
    return [objects[index] for index in answer.errors]
