"""What a Weaviate that was killed while it wrote has of an object, but not in its indexes.

The object is there by its UUID, and no filter finds it (weaviate#4262). Writing the same again
mends nothing: the server takes it for unchanged. Deleted and written anew, it is indexed.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["delete_unfindable"]

logger = logging.getLogger(__name__)

_REPLICA_LAG_S = 1.0
"""After which a filter is asked again: a replica may only be late, and what it lacks must not be
deleted."""


def delete_unfindable(handle: Any, keys: Iterable[str], ask: Callable[[Any], Any]) -> set[str]:
    """Delete objects that are there, but that no filter finds, so that the next writing indexes them.

    Args:
        handle: Of the collection or a tenant.
        keys: UUIDs of objects that were just written and not found; at most as many as one request
            may have.
        ask: Calls, and calls again while the server is away.

    Returns:
        Those that were deleted; the caller writes them.

    Raises:
        StoreError: The server refused or went away.
    """
    there = [key for key in keys if ask(lambda key=key: handle.data.exists(key))]
    if not there:
        return set()
    time.sleep(_REPLICA_LAG_S)
    answer = ask(
        lambda: handle.query.fetch_objects_by_ids(there, limit=len(there), return_properties=[])
    )
    unfindable = set(there) - {str(each.uuid) for each in answer.objects}
    for key in sorted(unfindable):
        logger.warning("The object %s is there, but no filter finds it: it is written anew.", key)
        ask(lambda key=key: handle.data.delete_by_id(key))
    return unfindable
