"""Diagnose an index folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.errors import LusiferError
from lusifer.stores.diagnostics import error, failure, ok
from lusifer.stores.hub_diagnosis import SAMPLED, StoredText, examine_hubs, uuid_places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.embedded.store import EmbeddedStore
    from lusifer.embedding.base import Embedder
    from lusifer.stores.diagnostics import Diagnostic

__all__ = ["examine"]

_FIELDS = ("id", "text")


def examine(store: EmbeddedStore, embedder: Embedder | None = None) -> Iterator[Diagnostic]:
    """Examine vectors and hubs of an open index, one diagnostic after the other.

    Args:
        store: The index.
        embedder: The model that filled it; None looks for hubs by stored vectors only.
    """
    try:
        total, without = store.count(), store.count_without_vector()
        if without:
            yield error(
                "vectors",
                f"{without:,} of {total:,} documents lack a vector: no search finds them.",
                "Index them again.",
            )
        else:
            yield ok("vectors", f"{total:,} documents, all with a vector")
        same = embedder is not None and embedder.fingerprint == store.fingerprint
        yield from examine_hubs(_HubSearch(store), total, embedder if same else None)
    except LusiferError as failed:
        yield failure("index", failed)


class _HubSearch:
    """Searches by stored vectors."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store

    def sample(self) -> list[StoredText]:
        places = uuid_places()
        keys: dict[str, None] = {}
        for place in places:
            found, _ = self._store.read(place, SAMPLED // len(places), fields=["id"])
            keys |= dict.fromkeys(found)
        stored = self._store.retrieve(list(keys), fields=_FIELDS, vectors=True)
        return [
            StoredText(str(payload["id"]), str(payload["text"]), vector)
            for payload, vector in stored.values()
            if vector is not None
        ]

    def nearest(self, vectors: Sequence[NDArray[np.float32]], limit: int) -> list[list[StoredText]]:
        return [
            [StoredText(hit.id, hit.text) for hit in self._store.search(vector, limit)]
            for vector in vectors
        ]
