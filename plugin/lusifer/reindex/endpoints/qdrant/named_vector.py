"""Qdrant in place: a second named vector of the same points.

``update_vectors`` with a missing point writes an unknown part of its points (Qdrant 1.19): so at
most 32 points a request, which are one chunk of its, and what is left is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.errors import InvalidInputError
from lusifer.qdrant.connection import client_errors, import_client
from lusifer.qdrant.metadata import METADATA_KEY, parse_metadata
from lusifer.reindex.endpoints.base import parts
from lusifer.reindex.endpoints.qdrant.collection import QdrantSide
from lusifer.reindex.endpoints.qdrant.points import id_of, key_of, unchanged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.qdrant.metadata import CollectionMetadata
    from lusifer.reindex.endpoints.base import Record

__all__ = ["QdrantInPlaceSide", "QdrantVector"]

_POINTS_PER_UPDATE = 32


class QdrantInPlaceSide(QdrantSide):
    """The new vector of points that are there."""

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Content hash of the points that have the vector."""
        found: dict[str, str] = {}
        for part in parts(keys, 256):
            found |= {record.key: record.sha256 for record in self._with_vector(part)}
        return found

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """The same: there are no copies to tell apart."""
        return self.hashes(keys)

    def write(
        self,
        records: Sequence[Record],
        vectors: Sequence[NDArray[np.float32] | None],
        seen: Mapping[str, str],
    ) -> int:
        """See :class:`lusifer.reindex.endpoints.base.Target`; Qdrant does not tell how many a guard kept back."""
        pairs = zip(records, vectors, strict=True)
        made = [(record, vector) for record, vector in pairs if vector is not None]
        for part in parts(made, _POINTS_PER_UPDATE):
            self._update_vectors(part)
        return len(made)

    def _update_vectors(self, part: Sequence[tuple[Record, NDArray[np.float32]]]) -> None:
        models = self._models
        left = list(part)
        while left:
            points = [
                models.PointVectors(
                    id=id_of(record.key), vector={self.vector_name: vector.tolist()}
                )
                for record, vector in left
            ]
            guard = models.Filter(should=[unchanged(record, self.text_field) for record, _ in left])
            try:
                self._ask(
                    lambda points=points, guard=guard: self.client.update_vectors(
                        self.collection,
                        points,
                        wait=True,
                        ordering=models.WriteOrdering.MEDIUM,
                        update_filter=guard,
                    )
                )
            except InvalidInputError as error:
                if "no point with id" not in error.message.lower():
                    raise
                alive = {
                    key_of(point.id)
                    for point in self._retrieve([r.key for r, _ in left], payload=False)
                }
                # Deleted meanwhile, every time by somebody else: it ends when there is nobody left.
                left = [(record, vector) for record, vector in left if record.key in alive]
            else:
                return

    def _with_vector(self, keys: Sequence[str]) -> list[Record]:
        models = self._models
        complete = models.Filter(
            must=[
                models.HasIdCondition(has_id=[id_of(key) for key in keys]),
                models.HasVectorCondition(has_vector=self.vector_name),
            ]
        )
        points, _ = self._ask(
            lambda: self.client.scroll(
                self.collection, scroll_filter=complete, limit=len(keys), with_payload=True
            )
        )
        return [self._record(point) for point in points]


class QdrantVector:
    """A second named vector of the same points; the card in the collection's metadata says which is in use.

    Args:
        client: A ``QdrantClient``.
        old: Card of the collection as it was planned.
        new: The same with the new vector's name and model.
    """

    def __init__(self, client: Any, *, old: CollectionMetadata, new: CollectionMetadata) -> None:
        self.client = client
        self.old = old
        self.new = new

    def prepare(self) -> None:
        """Add the named vector, which is empty at first (Qdrant 1.18)."""
        models = import_client().models
        with client_errors(self.new.collection):
            vectors = self.client.get_collection(self.new.collection).config.params.vectors
            if self.new.vector_name in vectors:
                return
            dense = models.DenseVectorConfig(
                size=self.new.dimension, distance=models.Distance.COSINE
            )
            self.client.create_vector_name(
                self.new.collection,
                self.new.vector_name,
                models.DenseVectorNameConfig(dense=dense),
                wait=True,
            )

    def shows_new(self) -> bool:
        """Whether the card names the new vector."""
        with client_errors(self.new.collection):
            info = self.client.get_collection(self.new.collection)
        return parse_metadata(self.new.collection, info).vector_name == self.new.vector_name

    def show_new(self) -> None:
        """Write the card of the new vector, whole, in one operation."""
        self._write(self.new)

    def show_old(self) -> None:
        """Write the card of the old vector."""
        self._write(self.old)

    def remove_old(self) -> str:
        """Delete the old vector from all points."""
        return self._remove(self.old.vector_name)

    def remove_new(self) -> str:
        """Delete the new vector from all points."""
        return self._remove(self.new.vector_name)

    def _write(self, card: CollectionMetadata) -> None:
        fields = card.model_dump(mode="json", exclude_none=True)
        with client_errors(card.collection):
            self.client.update_collection(card.collection, metadata={METADATA_KEY: fields})

    def _remove(self, vector_name: str) -> str:
        with client_errors(self.new.collection):
            vectors = self.client.get_collection(self.new.collection).config.params.vectors
            if vector_name not in vectors:
                return "nothing"
            self.client.delete_vector_name(self.new.collection, vector_name, wait=True)
        return f"the vector {vector_name} of {self.new.collection}"
