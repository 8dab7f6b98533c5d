"""Qdrant in place: a second named vector of the same points.

``update_vectors`` with a missing point writes an unknown subset of its points (Qdrant 1.19). So a
request has at most 32 points, which Qdrant applies as one chunk, and the rest is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.common.iteration import chunked
from lusifer.errors import InvalidInputError
from lusifer.qdrant.connection import client_errors
from lusifer.qdrant.metadata import METADATA_KEY, CollectionMetadata, parse_metadata
from lusifer.reindex.endpoints.named_vector import NamedVectorCutover, NamedVectorTarget
from lusifer.reindex.endpoints.qdrant.collection import QdrantEndpoint
from lusifer.reindex.endpoints.qdrant.points import Content, content_unchanged, id_of
from lusifer.reindex.endpoints.qdrant.settings import copied_settings, vector_update

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qdrant_client import QdrantClient, models

    from lusifer.reindex.endpoints.base import Record, Vector

__all__ = ["QdrantNamedVectorCutover", "QdrantNamedVectorTarget"]

_CONTENTS_PER_REQUEST = 256


class QdrantNamedVectorTarget(NamedVectorTarget[Content], QdrantEndpoint):
    """The new vector of points that are there already."""

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of the points that have the vector."""
        found: dict[str, str] = {}
        for chunk in chunked(keys, _CONTENTS_PER_REQUEST):
            records = map(self._record, self._with_vector(chunk))
            found |= {record.key: record.sha256 for record in records}
        return found

    def _write_vectors(self, rows: Sequence[tuple[Record[Content], Vector]]) -> set[str]:
        """Write the vectors of unchanged points.

        Qdrant does not report how many points a guard skipped, so all of them count.
        """
        from qdrant_client import models

        left = list(rows)
        while left:
            points = [
                models.PointVectors(
                    id=id_of(record.key), vector={self.vector_name: vector.tolist()}
                )
                for record, vector in left
            ]
            guards = [content_unchanged(record, self.rules) for record, _ in left]
            try:
                self._write_guarded(self.client.update_vectors, points, guards)
            except InvalidInputError as error:
                if "no point with id" not in error.message.lower():
                    raise
                # An application deleted a point meanwhile. Each round has fewer points, so it ends.
                present = self.present([record.key for record, _ in left])
                left = [row for row in left if row[0].key in present]
            else:
                break
        return {record.key for record, _ in rows}

    def _with_vector(self, keys: Sequence[str]) -> list[models.Record]:
        from qdrant_client import models

        complete = models.Filter(
            must=[
                models.HasIdCondition(has_id=[id_of(key) for key in keys]),
                models.HasVectorCondition(has_vector=self.vector_name),
            ]
        )
        points, _ = self._scroll("", len(keys), payload=True, only=complete)
        return points


@dataclass(eq=False)
class QdrantNamedVectorCutover(NamedVectorCutover[CollectionMetadata]):
    """The metadata of a collection, which names the vector in use."""

    client: QdrantClient
    """Client of the server; its owner closes it."""

    def prepare(self) -> bool:
        """Add the named vector, which is empty at first (Qdrant 1.18), unless it is there."""
        from qdrant_client import models

        with client_errors(self.collection):
            if self.target.vector_name in self._vector_names():
                return False
            config = self.client.get_collection(self.collection).config
            old = copied_settings(config, self.target, self.source.vector_name)
            vector = old.created["vectors_config"][self.target.vector_name]
            datatype = vector.datatype and models.VectorStorageDatatype(vector.datatype.value)
            dense = models.DenseVectorConfig(
                size=vector.size, distance=vector.distance, datatype=datatype
            )
            self.client.create_vector_name(
                self.collection,
                self.target.vector_name,
                models.DenseVectorNameConfig(dense=dense),
                wait=True,
            )
            # Qdrant takes the other settings of a vector only as an update.
            if update := vector_update(config, self.source.vector_name):
                self.client.update_collection(
                    self.collection, vectors_config={self.target.vector_name: update}
                )
        return True

    def _read_metadata(self) -> CollectionMetadata:
        with client_errors(self.collection):
            info = self.client.get_collection(self.collection)
        return parse_metadata(self.collection, info)

    def _write_metadata(self, metadata: CollectionMetadata) -> None:
        fields = metadata.model_dump(mode="json", exclude_none=True)
        with client_errors(self.collection):
            self.client.update_collection(self.collection, metadata={METADATA_KEY: fields})

    def _delete_vector(self, vector_name: str) -> str:
        with client_errors(self.collection):
            if vector_name not in self._vector_names():
                return "nothing"
            self.client.delete_vector_name(self.collection, vector_name, wait=True)
        return f"the vector {vector_name} of {self.collection}"

    def _vector_names(self) -> set[str]:
        vectors = self.client.get_collection(self.collection).config.params.vectors
        return set(vectors) if isinstance(vectors, dict) else set()
