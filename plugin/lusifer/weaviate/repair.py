"""Objects that a Weaviate killed while it wrote has stored, but not indexed.

Such an object is there by its UUID, and no filter finds it (weaviate#4262). Writing the same object
again does not help, because the server takes it for unchanged. Deleted and written again, it is
indexed.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from weaviate.collections import Collection

__all__ = ["Call", "delete_unindexed"]

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

_REPLICA_LAG_S = 1.0
"""Pause before the filter query is repeated: a replica may only be late, and an object that it
lacks must not be deleted."""


class Call(Protocol):
    """A function that runs a request and retries it while the server is away."""

    def __call__(self, request: Callable[[], _Answer], /) -> _Answer:
        """Run ``request`` and return its answer."""
        ...


def delete_unindexed(handle: Collection, keys: Iterable[str], call: Call) -> set[str]:
    """Delete objects that are stored but found by no filter, so that the next write indexes them.

    Args:
        handle: The collection or one of its tenants.
        keys: UUIDs of objects that were just written and not found, at most as many as one request
            may have.
        call: Runs each request, with retries.

    Returns:
        UUIDs of the deleted objects; the caller writes them again.

    Raises:
        StoreError: The server refused or went away.
    """
    stored = [key for key in keys if call(partial(handle.data.exists, key))]
    if not stored:
        return set()
    time.sleep(_REPLICA_LAG_S)
    answer = call(
        lambda: handle.query.fetch_objects_by_ids(stored, limit=len(stored), return_properties=[])
    )
    unindexed = set(stored) - {str(each.uuid) for each in answer.objects}
    for key in sorted(unindexed):
        logger.warning("No filter finds the stored object %s: it is written again.", key)
        call(partial(handle.data.delete_by_id, key))
    return unindexed
