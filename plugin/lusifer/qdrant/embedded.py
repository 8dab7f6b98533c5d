"""Qdrant's engine inside this process: a store that needs no server.

Measured with qdrant-edge-py 0.9.0, which is why things are done as they are:

* a returned ``update`` survives ``kill -9`` (write-ahead log); a power cut only after ``flush()``;
* searches compare every vector until ``optimize()``, so they are exact, and afterwards approximate;
* one process may hold an index; a second one gets IndexLockedError;
* the interpreter lock is never released: keep large searches out of a server's event loop.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.errors import (
    FingerprintMismatchError,
    IndexCorruptError,
    InvalidDimensionError,
    InvalidInputError,
    StoreError,
)
from lusifer.qdrant.edge import edge_errors, import_edge
from lusifer.qdrant.layout import (
    FolderLock,
    IndexFile,
    allocated_bytes,
    clear_leftovers,
    free_space_or_raise,
    read_flushed,
    read_index,
    write_flushed,
    write_index,
)
from lusifer.qdrant.optimize import optimize_elsewhere
from lusifer.store import Document, Hit, check_document, content_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["EmbeddedStore"]

_NAMESPACE = uuid.UUID("5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665")
"""Point ids are uuid5(this, document id): the engine takes only numbers and UUIDs. Never change it."""

_SEARCH_EF = 256
"""Candidates an optimised index keeps while searching; no effect before ``optimize()``. Measured on 8,000
x 384: recall@10 1.00 on clustered and 0.94 on random vectors, where 64 gives 0.99 and 0.69; 2 ms, not 1."""

_POINTS_PER_OPERATION = 256
_BYTES_PER_OPERATION = 8 * 1024**2
"""The log's segments have 32 MiB; one operation must fit into one of them."""


class EmbeddedStore:
    """An open index folder; made by :meth:`create`, :meth:`open` or :meth:`open_or_create`."""

    def __init__(self, path: Path, index: IndexFile, lock: FolderLock, shard: Any) -> None:
        self.path = path
        self.index = index
        self._lock = lock
        self._shard: Any = shard
        self._edge = import_edge()

    @classmethod
    def create(cls, path: Path | str, *, fingerprint: str, dimension: int, model: str) -> EmbeddedStore:
        """Make an empty index; a creation that was killed half-way is begun anew.

        Args:
            path: A new or empty folder.
            fingerprint: Identity of the model, from its bundle.
            dimension: Length D of the vectors.
            model: The model's name for people.

        Raises:
            StoreError: The folder already holds an index or other files.
            IndexLockedError: Another process is at work there.
            StorageFullError: No room.
            MissingExtraError: ``qdrant-edge-py`` is not installed.
        """
        path = Path(path)
        edge = import_edge()
        index = IndexFile(fingerprint=fingerprint, dimension=dimension, model=model)
        with edge_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(path)
        try:
            if (path / "index.json").exists():
                raise StoreError(
                    f"{path} already holds an index.", next_step="Open it, or choose another folder."
                )
            free_space_or_raise(path, 0, "A new index")
            with edge_errors(path):
                clear_leftovers(path)
                _remove_empty_shard(path, edge)
                config = edge.EdgeConfig(
                    vectors={
                        index.vector_name: edge.EdgeVectorParams(
                            size=dimension, distance=edge.Distance.Cosine
                        )
                    }
                )
                edge.EdgeShard.create(str(path / "shard.partial"), config).close()
                (path / "shard.partial").rename(path / "shard")
                write_index(path, index)
                shard = edge.EdgeShard.load(str(path / "shard"))
        except BaseException:
            lock.release()
            raise
        return cls(path, index, lock, shard)

    @classmethod
    def open(cls, path: Path | str, fingerprint: str | None = None) -> EmbeddedStore:
        """Open an index.

        Args:
            path: Its folder.
            fingerprint: The model about to be used with it; None skips the comparison.

        Raises:
            IndexNotFoundError: No index there.
            IndexCorruptError: Its files are missing or can't be read.
            FingerprintMismatchError: It holds vectors of another model.
            IndexLockedError: Another process has it open.
            MissingExtraError: ``qdrant-edge-py`` is not installed.
        """
        path = Path(path)
        edge = import_edge()
        index = read_index(path)
        _check_fingerprint(path, index, fingerprint)
        # The engine opens a shard without segments as an empty one: every document gone, and no error.
        segments = path / "shard" / "segments"
        if not segments.is_dir() or not any(segments.iterdir()):
            raise _damaged(path, f"there is no data in {segments}")
        lock = FolderLock(path)
        try:
            with edge_errors(path, loading=True):
                shard = edge.EdgeShard.load(str(path / "shard"))
                found = shard.count(edge.CountRequest(exact=True))
            if found < (expected := read_flushed(path)):
                shard.close()
                raise _damaged(path, f"it has {found} documents, at its last flush it had {expected}")
        except BaseException:
            lock.release()
            raise
        return cls(path, index, lock, shard)

    @classmethod
    def open_or_create(
        cls, path: Path | str, *, fingerprint: str, dimension: int, model: str
    ) -> EmbeddedStore:
        """Open the index at ``path``, or make it; raises as the two do.

        Raises:
            InvalidDimensionError: The index is of the same model but of another Matryoshka dimension.
        """
        path = Path(path)
        if not (path / "index.json").exists():
            return cls.create(path, fingerprint=fingerprint, dimension=dimension, model=model)
        index = read_index(path)
        _check_fingerprint(path, index, fingerprint)
        if index.dimension != dimension:
            raise InvalidDimensionError(
                f"The index {path} has dimension {index.dimension}, {dimension} was asked for.",
                next_step=f"Use dimension {index.dimension}, or index again into a new folder.",
            )
        return cls.open(path, fingerprint)

    @property
    def fingerprint(self) -> str:
        """Identity of the model whose vectors lie here."""
        return self.index.fingerprint

    @property
    def dimension(self) -> int:
        """Length D of every vector."""
        return self.index.dimension

    def count(self) -> int:
        """Number of documents."""
        with edge_errors(self.path):
            return int(self._open_shard().count(self._edge.CountRequest(exact=True)))

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Ids whose stored text and metadata equal the given ones."""
        shard, known = self._open_shard(), list(documents)
        same: set[str] = set()
        for start in range(0, len(known), 1024):
            by_point = {_point_id(document.id): document for document in known[start : start + 1024]}
            with edge_errors(self.path):
                records = shard.retrieve(list(by_point), ["sha256"], False)
            for record in records:
                document = by_point[str(record.id)]
                if (record.payload or {}).get("sha256") == content_sha256(document):
                    same.add(document.id)
        return same

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``; see :class:`lusifer.store.Store`.

        Raises:
            InvalidInputError: Counts differ, or a document or number can't be stored; nothing was written.
            InvalidDimensionError: The vectors have another dimension than the index; nothing was written.
            StorageFullError: No room; nothing was written.
            StoreError: The engine failed.
        """
        shard = self._open_shard()
        self._check_vectors(vectors, rows=len(documents))
        for document in documents:
            check_document(document)
        payloads = [
            {
                "id": document.id,
                "text": document.text,
                "metadata": document.metadata,
                "sha256": content_sha256(document),
            }
            for document in documents
        ]
        sizes = [len(json.dumps(payload, ensure_ascii=False).encode()) for payload in payloads]
        # Written twice, to log and storage. The log spends up to 9 bytes on a number, the storage 4;
        # 512 bytes a point cover ids, names and trackers.
        needed_bytes = 2 * sum(sizes) + len(documents) * (13 * self.dimension + 512)
        free_space_or_raise(self.path, needed_bytes, f"Writing {len(documents)} documents")
        for part in _operations(sizes):
            points = [
                self._edge.Point(
                    _point_id(documents[i].id), {self.index.vector_name: vectors[i].tolist()}, payloads[i]
                )
                for i in part
            ]
            with edge_errors(self.path):
                shard.update(self._edge.UpdateOperation.upsert_points(points))

    def search(self, vector: NDArray[np.float32], limit: int) -> list[Hit]:
        """The ``limit`` nearest documents to a vector ``(D,)``, best first.

        Raises:
            InvalidDimensionError: The vector has another dimension than the index.
            InvalidInputError: The vector holds NaN or infinity, or ``limit`` is below 1.
            IndexCorruptError: The index holds documents and the engine finds none, or not their payload.
        """
        shard = self._open_shard()
        if limit < 1:
            raise InvalidInputError(f"The limit is {limit}.", next_step="Ask for at least 1 hit.")
        self._check_vectors(np.asarray(vector)[None], rows=1)
        query = self._edge.Query.Nearest(np.asarray(vector).tolist(), self.index.vector_name)
        with edge_errors(self.path):
            params = self._edge.SearchParams(hnsw_ef=max(_SEARCH_EF, 2 * limit))
            request = self._edge.QueryRequest(limit=limit, query=query, with_payload=True, params=params)
            found = shard.query(request)
        try:
            hits = [
                Hit(point.payload["id"], float(point.score), point.payload["text"], point.payload["metadata"])
                for point in found
            ]
        except (KeyError, TypeError) as error:
            raise _damaged(self.path, f"a hit lacks {error}") from error
        if not hits and (documents := self.count()):
            raise _damaged(self.path, f"a search finds none of its {documents} documents")
        return hits

    def flush(self) -> None:
        """Write everything through to the disk, so that it survives a power cut."""
        shard = self._open_shard()
        with edge_errors(self.path):
            shard.flush()
            write_flushed(self.path, self.count())

    def optimize(self) -> None:
        """Build the search index, in another process; the store is closed meanwhile and open afterwards.

        The engine leaves small indexes (below 10 MB of vectors, 6,500 documents of 384 numbers) as they are:
        exact search is as fast there. It pays from some ten thousand documents on.

        Raises:
            StorageFullError: No room for a second copy of the data; nothing was changed.
            StoreError: The other process failed; the documents are as before.
        """
        shard = self._open_shard()
        self.flush()
        # New segments are written beside the old ones before these are removed.
        free_space_or_raise(self.path, 2 * allocated_bytes(self.path / "shard"), "Optimising")
        with edge_errors(self.path):
            shard.close()
        self._shard = None
        try:
            optimize_elsewhere(self.path / "shard")
        finally:
            with edge_errors(self.path):
                self._shard = self._edge.EdgeShard.load(str(self.path / "shard"))

    def close(self) -> None:
        """Flush and let other processes in; calling it twice is fine."""
        try:
            if self._shard is not None:
                self.flush()
        finally:
            shard, self._shard = self._shard, None
            try:
                if shard is not None:
                    with edge_errors(self.path):
                        shard.close()
            finally:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_shard(self) -> Any:
        if self._shard is None:
            raise StoreError(f"The index {self.path} is closed.", next_step="Open it again.")
        return self._shard

    def _check_vectors(self, vectors: NDArray[np.float32], *, rows: int) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InvalidDimensionError(
                f"Vectors have shape {vectors.shape}, the index {self.path} takes (N, {self.dimension}).",
                next_step=f"Embed with dimension {self.dimension}, or index into a new folder.",
            )
        if len(vectors) != rows:
            raise InvalidInputError(
                f"Got {rows} documents and {len(vectors)} vectors.",
                next_step="Give one vector for each document.",
            )
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not np.isfinite(norms).all() or (norms == 0).any():
            bad = int(np.flatnonzero(~np.isfinite(norms) | (norms == 0))[0])
            raise InvalidInputError(
                f"Vector {bad} of {rows} is zero or holds NaN or infinity.", next_step="Embed the text again."
            )


def _damaged(path: Path, what: str) -> IndexCorruptError:
    return IndexCorruptError(
        f"The index {path} is damaged: {what}.",
        next_step="Restore the folder from a copy, or index again into a new folder.",
    )


def _point_id(document_id: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, document_id))


def _operations(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Indices of documents in operations that fit the log, in order."""
    part: list[int] = []
    part_bytes = 0
    for index, size_bytes in enumerate(sizes):
        if part and (len(part) == _POINTS_PER_OPERATION or part_bytes + size_bytes > _BYTES_PER_OPERATION):
            yield part
            part, part_bytes = [], 0
        part.append(index)
        part_bytes += size_bytes
    if part:
        yield part


def _check_fingerprint(path: Path, index: IndexFile, fingerprint: str | None) -> None:
    if fingerprint is not None and fingerprint != index.fingerprint:
        raise FingerprintMismatchError(
            f"The index {path} holds vectors of {index.model} ({index.fingerprint}), the bundle in use is "
            f"{fingerprint}.",
            next_step="Use the bundle it was made with, or re-index into a new folder: "
            "lusifer index FILE --index NEW_FOLDER",
        )


def _remove_empty_shard(path: Path, edge: Any) -> None:
    """Remove a shard whose creation was killed just before ``index.json``; one with documents stays."""
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
