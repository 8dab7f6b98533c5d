"""Inserts objects into one tenant, or into a collection without tenants.

Weaviate refuses an object whose reference points at an object that is not there (yet). Such an
object is written without references, and they are added by a request that does not look. Where
there are tenants it looks too: a reference that is refused then is left to the next pass.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lusifer.errors import IndexNotFoundError, StoreUnavailableError
from lusifer.reindex.endpoints.weaviate.objects import is_reference
from lusifer.weaviate.refusals import refused
from lusifer.weaviate.repair import delete_unindexed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weaviate.collections import Collection

    from lusifer.reindex.endpoints.weaviate.objects import NewObject, StoredObject
    from lusifer.weaviate.repair import Call
    from lusifer.weaviate.rest import RestApi

__all__ = ["insert_objects"]

_TIMES = {"_creationTimeUnix", "_lastUpdateTimeUnix"}
_MISSING_TARGET = ("invalid cref", "not found for tenant")
"""Parts of Weaviate's messages about a reference to an object that is not there."""


def insert_objects(
    rest: RestApi, handle: Collection, objects: Sequence[NewObject], call: Call
) -> dict[str, StoredObject]:
    """Insert or replace objects, and have each one found by its UUID afterwards.

    An object that a crash of the server left without index is deleted and inserted again.

    Args:
        rest: The server.
        handle: Handle of the collection or of its tenant.
        objects: At most as many as one request may have.
        call: Runs each request, with retries.

    Returns:
        The objects by UUID, as this call stored them.

    Raises:
        StoreError: Weaviate refused an object.
    """
    stored = _insert(rest, objects, call)
    ids = [each["id"] for each in objects]
    answer = call(
        lambda: handle.query.fetch_objects_by_ids(ids, limit=len(ids), return_properties=[])
    )
    found = {str(each.uuid) for each in answer.objects}
    lost = [each for each in ids if each not in found]
    deleted = delete_unindexed(handle, lost, call)
    return stored | _insert(rest, [each for each in objects if each["id"] in deleted], call)


def _insert(rest: RestApi, objects: Sequence[NewObject], call: Call) -> dict[str, StoredObject]:
    """Insert or replace; add references afterwards where their objects were not there."""
    if not objects:
        return {}
    stored = call(partial(_insert_once, rest, objects))
    later = [each for each in objects if each["id"] not in stored]
    if not later:
        return stored
    bare = call(partial(_insert_once, rest, [_without_references(each) for each in later]))
    if len(bare) < len(later):
        raise StoreUnavailableError(
            f"Weaviate refused {len(later) - len(bare)} objects of {later[0]['class']} even "
            "without references.",
            next_step="Look into Weaviate's log, then run again.",
        )
    rows = [row for each in later for row in _reference_rows(each)]
    answers = call(partial(rest.send, "POST", "/batch/references", rows))
    _check(answers, str(later[0]["class"]))
    for each in later:
        now = call(partial(_read, rest, each))
        # If an application has written the object since, what this call stored is the bare one.
        if _properties(now) == _properties(bare[each["id"]]):
            bare[each["id"]] = now
    return stored | bare


def _insert_once(rest: RestApi, objects: Sequence[NewObject]) -> dict[str, StoredObject]:
    """Insert or replace; leave out objects whose references point at absent objects.

    Raises:
        StoreError: An object was refused for another reason.
    """
    collection = str(objects[0]["class"])
    answers = rest.send("POST", "/batch/objects", {"objects": list(objects)}, collection)
    lacking = set(_check(answers, collection))
    return {
        each["id"]: _as_stored(each) for index, each in enumerate(answers) if index not in lacking
    }


def _as_stored(answer: StoredObject) -> StoredObject:
    """Return an object of an answer without what the server indexes as properties of its own."""
    properties = answer.get("properties") or {}
    kept = {name: each for name, each in properties.items() if name not in _TIMES}
    return {**answer, "properties": kept}


def _read(rest: RestApi, made: NewObject) -> StoredObject:
    """Return an object as it is now; an empty one if it was deleted."""
    tenant = {"tenant": str(made["tenant"])} if "tenant" in made else {}
    try:
        found: StoredObject = rest.get(f"/objects/{made['class']}/{made['id']}", **tenant)
    except IndexNotFoundError:
        return {}
    return found


def _properties(stored: StoredObject) -> dict[str, Any]:
    properties = stored.get("properties") or {}
    return {name: each for name, each in properties.items() if not is_reference(each)}


def _check(answers: Sequence[Any], collection: str) -> list[int]:
    """Return which rows of a request lack the target of a reference.

    Raises:
        StoreError: A row was refused for another reason.
    """
    lacking = []
    for index, each in enumerate(answers):
        errors = ((each.get("result") or {}).get("errors") or {}).get("error")
        if not errors:
            continue
        message = errors[0]["message"]
        if not any(part in message for part in _MISSING_TARGET):
            raise refused(message, collection)
        lacking.append(index)
    return lacking


def _without_references(made: NewObject) -> NewObject:
    kept = {name: each for name, each in made["properties"].items() if not is_reference(each)}
    return {**made, "properties": kept}


def _reference_rows(made: NewObject) -> Iterator[dict[str, str]]:
    source = f"weaviate://localhost/{made['class']}/{made['id']}"
    tenant = {"tenant": made["tenant"]} if "tenant" in made else {}
    for name, value in made["properties"].items():
        if is_reference(value):
            for each in value:
                yield {"from": f"{source}/{name}", "to": each["beacon"], **tenant}
