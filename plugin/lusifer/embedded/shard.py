"""One shard of Qdrant Edge, with our errors."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from lusifer.embedded.engine import damaged, edge_errors, import_edge
from lusifer.embedded.layout import read_flushed, write_index
from lusifer.embedded.optimize import optimize_elsewhere
from lusifer.embedded.requests import quantization_config
from lusifer.errors import IndexCorruptError, StoreError
from lusifer.qdrant.filters import question_filter
from lusifer.qdrant.points import KEYWORD_VECTOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from qdrant_edge import (
        EdgeShard,
        Filter,
        Point,
        QueryRequest,
        Record,
        ScoredPoint,
        SparseVector,
    )

    from lusifer.embedded.layout import IndexFile
    from lusifer.stores.conditions import Question
    from lusifer.types import JSON, Quantization

__all__ = ["BYTES_PER_OPERATION", "POINTS_PER_OPERATION", "Shard"]

POINTS_PER_OPERATION = 256
BYTES_PER_OPERATION = 8 * 1024**2
"""Size of one operation. The log's segments have 32 MiB, and an operation must fit into one."""


class Shard:
    """An open shard; made by :meth:`create` or :meth:`load`.

    Args:
        path: Folder of the index, not of the shard.
        engine: The engine's own shard.
    """

    def __init__(self, path: Path, engine: EdgeShard) -> None:
        self.path = path
        self._engine: EdgeShard | None = engine
        self._edge = import_edge()

    @classmethod
    def create(cls, path: Path, index: IndexFile, quantization: Quantization) -> Shard:
        """Create an empty shard and write ``index.json``; called with the lock held.

        Args:
            path: Folder of the index.
            index: What ``index.json`` will say.
            quantization: How vectors are kept in memory, once the search index is built.

        Raises:
            IndexCorruptError: There is a shard with documents already.
            StoreError: The engine failed.
        """
        edge = import_edge()
        with edge_errors(path):
            _remove_empty_shard(path)
            sparse = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
            config = edge.EdgeConfig(
                vectors={
                    index.vector_name: edge.EdgeVectorParams(
                        size=index.dimension,
                        distance=edge.Distance.Cosine,
                        quantization_config=quantization_config(quantization),
                    )
                },
                sparse_vectors={KEYWORD_VECTOR: sparse} if index.keywords else None,
            )
            edge.EdgeShard.create(str(path / "shard.partial"), config).close()
            (path / "shard.partial").rename(path / "shard")
            write_index(path, index)
            return cls(path, edge.EdgeShard.load(str(path / "shard")))

    @classmethod
    def load(cls, path: Path) -> Shard:
        """Load the shard of an index and check that it has lost nothing; called with the lock held.

        Raises:
            IndexCorruptError: Its files can't be read, or documents are missing.
        """
        edge = import_edge()
        with edge_errors(path, loading=True):
            shard = cls(path, edge.EdgeShard.load(str(path / "shard")))
            found = shard.count()
        if found < (expected := read_flushed(path)):
            shard.close()
            raise damaged(path, f"it has {found} documents, at its last flush it had {expected}")
        return shard

    @property
    def is_open(self) -> bool:
        """Whether the shard can be used."""
        return self._engine is not None

    def count(self, wanted: Filter | None = None) -> int:
        """Return the number of points, of all or of those that match a filter."""
        request = self._edge.CountRequest(exact=True, filter=wanted)
        with edge_errors(self.path):
            return int(self._opened().count(request))

    def read(
        self,
        offset: str | None,
        limit: int,
        *,
        fields: bool | Sequence[str] = True,
        wanted: Filter | None = None,
    ) -> tuple[dict[str, dict[str, JSON]], str | None]:
        """Return points in the order of their ids: id to payload, and the id of the next one.

        Args:
            offset: The id to begin with, whether it exists or not.
            limit: Points at most.
            fields: Fields of the payload; True for all.
            wanted: Filter that the points must match.
        """
        request = self._edge.ScrollRequest(
            offset=offset,
            limit=limit,
            filter=wanted,
            with_payload=_fields(fields),
            with_vector=False,
        )
        with edge_errors(self.path):
            records, following = self._opened().scroll(request)
        found = {str(record.id): record.payload or {} for record in records}
        return found, None if following is None else str(following)

    def answer(self, question: Question) -> list[Mapping[str, JSON]]:
        """Return the metadata of the documents that a question is about."""
        wanted, limit = question_filter(self._edge, question)
        payloads, _ = self.read(None, limit, fields=["metadata"], wanted=wanted)
        return [
            metadata
            for payload in payloads.values()
            if isinstance(metadata := payload.get("metadata"), dict)
        ]

    def records(self, keys: Sequence[str], fields: bool | Sequence[str]) -> list[Record]:
        """Return the points that exist, with fields of their payload and without vectors."""
        with edge_errors(self.path):
            return list(self._opened().retrieve(list(keys), _fields(fields), False))

    def retrieve(
        self, keys: Sequence[str], vector_name: str, *, fields: bool | Sequence[str], vectors: bool
    ) -> dict[str, tuple[dict[str, JSON], NDArray[np.float32] | None]]:
        """Return payload and, where asked for, vector ``(D,)`` of the points that exist.

        Args:
            keys: Ids of points.
            vector_name: Which vector of a point to return.
            fields: Fields of the payload; True for all.
            vectors: Whether to read vectors.
        """
        with edge_errors(self.path):
            records = self._opened().retrieve(list(keys), _fields(fields), vectors)
        found = {}
        for record in records:
            named = record.vector if isinstance(record.vector, dict) else {}
            vector = named.get(vector_name)
            numbers = None if vector is None else np.asarray(vector, dtype=np.float32)
            found[str(record.id)] = (record.payload or {}, numbers)
        return found

    def upsert(self, points: list[Point]) -> None:
        """Insert or replace points."""
        with edge_errors(self.path):
            self._opened().update(self._edge.UpdateOperation.upsert_points(points))

    def update_sparse(self, vectors: Mapping[str, SparseVector]) -> None:
        """Replace the keyword vectors of points that exist; all others stay."""
        points = [
            self._edge.PointVectors(key, {KEYWORD_VECTOR: vector})
            for key, vector in vectors.items()
        ]
        with edge_errors(self.path):
            self._opened().update(self._edge.UpdateOperation.update_vectors(points))

    def delete(self, keys: list[str]) -> None:
        """Delete points by their ids."""
        with edge_errors(self.path):
            self._opened().update(self._edge.UpdateOperation.delete_points(keys))

    def delete_field(self, name: str) -> None:
        """Delete a field from the payloads of all points that have it."""
        edge = self._edge
        empty = edge.IsEmptyCondition(name)
        operation = edge.UpdateOperation.delete_payload_by_filter(
            edge.Filter(must_not=[empty]), [name]
        )
        with edge_errors(self.path):
            self._opened().update(operation)

    def query(self, request: QueryRequest) -> list[ScoredPoint]:
        """Return the points that a search finds, best first."""
        with edge_errors(self.path):
            return list(self._opened().query(request))

    def flush(self) -> None:
        """Write everything through to the disk."""
        with edge_errors(self.path):
            self._opened().flush()

    def optimize(self) -> None:
        """Build the search index in another process; the shard is closed meanwhile.

        Raises:
            StoreError: The other process failed; the shard is open again, with its documents.
        """
        engine = self._opened()
        with edge_errors(self.path):
            engine.close()
        self._engine = None
        try:
            optimize_elsewhere(self.path / "shard")
        finally:
            with edge_errors(self.path):
                self._engine = self._edge.EdgeShard.load(str(self.path / "shard"))

    def close(self) -> None:
        """Release the engine's files; calling it twice is fine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with edge_errors(self.path):
                engine.close()

    def check_open(self) -> None:
        """Refuse a shard that was closed.

        Raises:
            StoreError: It was.
        """
        self._opened()

    def _opened(self) -> EdgeShard:
        if self._engine is None:
            raise StoreError(f"The index {self.path} is closed.", next_step="Open it again.")
        return self._engine


def _fields(fields: bool | Sequence[str]) -> bool | list[str]:
    return fields if isinstance(fields, bool) else list(fields)


def _remove_empty_shard(path: Path) -> None:
    """Remove a shard whose creation was killed just before ``index.json``; keep one with documents.

    Raises:
        IndexCorruptError: It holds documents.
    """
    edge = import_edge()
    shard = path / "shard"
    if not shard.exists():
        return
    opened = edge.EdgeShard.load(str(shard))
    try:
        documents = opened.count(edge.CountRequest(exact=True))
    finally:
        opened.close()
    if documents:
        raise IndexCorruptError(
            f"{path} lacks index.json, but its shard holds {documents} documents.",
            next_step="Restore index.json from a copy, or choose a new folder.",
        )
    shutil.rmtree(shard)
