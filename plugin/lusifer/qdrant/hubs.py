"""Sample and search a Qdrant collection for its doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.qdrant.connection import client_errors, import_client
from lusifer.stores.hub_diagnosis import SAMPLED, StoredText, uuid_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from qdrant_client import QdrantClient, models

    from lusifer.qdrant.metadata import CollectionMetadata

__all__ = ["QdrantHubSearch"]

_QUERIES_PER_REQUEST = 32


class QdrantHubSearch:
    """Searches by stored vectors, which needs no inference."""

    def __init__(self, client: QdrantClient, metadata: CollectionMetadata) -> None:
        self._client = client
        self._metadata = metadata

    def sample(self) -> list[StoredText]:
        """Return points from random places that have a vector, each once."""
        name = self._metadata.vector_name
        found: dict[str, StoredText] = {}
        places = uuid_places()
        for place in places:
            with client_errors(self._metadata.collection):
                points, _ = self._client.scroll(
                    self._metadata.collection,
                    offset=place,
                    limit=SAMPLED // len(places),
                    with_payload=["id", "text"],
                    with_vectors=[name],
                )
            for point in points:
                vector = point.vector.get(name) if isinstance(point.vector, dict) else None
                if isinstance(vector, list):
                    stored = np.asarray(vector, dtype=np.float32)
                    found[str(point.id)] = _stored_text(point, stored)
        return list(found.values())

    def nearest(self, vectors: Sequence[NDArray[np.float32]], limit: int) -> list[list[StoredText]]:
        """Return the nearest points for each vector ``(D,)``, best first."""
        requests = import_client().models
        answers: list[list[StoredText]] = []
        for some in chunked(vectors, _QUERIES_PER_REQUEST):
            with client_errors(self._metadata.collection):
                found = self._client.query_batch_points(
                    self._metadata.collection,
                    [
                        requests.QueryRequest(
                            query=vector[: self._metadata.dimension].tolist(),
                            using=self._metadata.vector_name,
                            limit=limit,
                            with_payload=["id", "text"],
                        )
                        for vector in some
                    ],
                )
            answers += [[_stored_text(point) for point in each.points] for each in found]
        return answers


def _stored_text(
    point: models.Record | models.ScoredPoint, vector: NDArray[np.float32] | None = None
) -> StoredText:
    payload = point.payload or {}
    return StoredText(str(payload.get("id", point.id)), str(payload.get("text", "")), vector)
