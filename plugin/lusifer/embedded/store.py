"""Qdrant's engine inside this process: a store that needs no server.

Measured with qdrant-edge-py 0.9.0, which is why things are done as they are:

* a returned ``update`` survives ``kill -9`` (write-ahead log); a power cut only after ``flush()``;
* searches compare every vector until ``optimize()``, so they are exact, and afterwards approximate;
* one process may hold an index; a second one gets IndexLockedError;
* the interpreter lock is never released: keep large searches out of a server's event loop.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.embedded.engine import edge_errors, import_edge
from lusifer.embedded.layout import (
    IndexFile,
    allocated_bytes,
    check_fingerprint,
    clear_leftovers,
    free_space_or_raise,
    lock_index,
    read_flushed,
    read_index,
    write_flushed,
    write_index,
)
from lusifer.embedded.optimize import optimize_elsewhere
from lusifer.embedded.requests import bm25_model, grouped, quantization_config, search_request
from lusifer.errors import (
    IndexCorruptError,
    InvalidDimensionError,
    StoreError,
)
from lusifer.qdrant.points import KEYWORD_VECTOR, hit_of, payload_of
from lusifer.stores.payloads import (
    check_rows,
    content_sha256,
    document_uuid,
    payload_bytes,
    split_requests,
)
from lusifer.stores.search import check_search
from lusifer.types import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from filelock import FileLock
    from numpy.typing import NDArray

    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.types import Document, Hit, Quantization

__all__ = ["EmbeddedStore"]

_POINTS_PER_OPERATION = 256
_BYTES_PER_OPERATION = 8 * 1024**2
"""The log's segments have 32 MiB; one operation must fit into one of them."""


class EmbeddedStore:
    """An open index folder; made by :meth:`create`, :meth:`open` or :meth:`open_or_create`."""

    def __init__(self, path: Path, index: IndexFile, lock: FileLock, shard: Any) -> None:
        self.path = path
        self.index = index
        self._lock = lock
        self._shard: Any = shard
        self._edge = import_edge()
        self._bm25 = bm25_model(index.keywords) if index.keywords else None

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        fingerprint: str,
        dimension: int,
        model: str,
        keywords: KeywordOptions | None = None,
        quantization: Quantization = "none",
    ) -> EmbeddedStore:
        """Make an empty index; a creation that was killed half-way is begun anew.

        Args:
            path: A new or empty folder.
            fingerprint: Identity of the model, from its bundle.
            dimension: Length D of the vectors.
            model: The model's name for people.
            keywords: Store a BM25 vector too, for hybrid searches.
            quantization: How vectors are kept in memory, once :meth:`optimize` has built the search
                index.

        Raises:
            StoreError: The folder already holds an index or other files.
            IndexLockedError: Another process is at work there.
            StorageFullError: No room.
            MissingExtraError: ``qdrant-edge-py`` is not installed.
        """
        path = Path(path)
        edge = import_edge()
        index = IndexFile(
            fingerprint=fingerprint, dimension=dimension, model=model, keywords=keywords
        )
        with edge_errors(path):
            path.mkdir(parents=True, exist_ok=True)
            lock = lock_index(path)
        try:
            if (path / "index.json").exists():
                raise StoreError(
                    f"{path} already holds an index.",
                    next_step="Open it, or choose another folder.",
                )
            free_space_or_raise(path, 0, "A new index")
            with edge_errors(path):
                clear_leftovers(path)
                _remove_empty_shard(path, edge)
                sparse = edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)
                config = edge.EdgeConfig(
                    vectors={
                        index.vector_name: edge.EdgeVectorParams(
                            size=dimension,
                            distance=edge.Distance.Cosine,
                            quantization_config=quantization_config(quantization),
                        )
                    },
                    sparse_vectors={KEYWORD_VECTOR: sparse} if keywords else None,
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
        check_fingerprint(path, index, fingerprint)
        # The engine opens a shard without segments as an empty one: every document gone, and no
        # error.
        segments = path / "shard" / "segments"
        if not segments.is_dir() or not any(segments.iterdir()):
            raise _damaged(path, f"there is no data in {segments}")
        lock = lock_index(path)
        try:
            with edge_errors(path, loading=True):
                shard = edge.EdgeShard.load(str(path / "shard"))
                found = shard.count(edge.CountRequest(exact=True))
            if found < (expected := read_flushed(path)):
                shard.close()
                raise _damaged(
                    path, f"it has {found} documents, at its last flush it had {expected}"
                )
        except BaseException:
            lock.release()
            raise
        return cls(path, index, lock, shard)

    @classmethod
    def open_or_create(
        cls,
        path: Path | str,
        *,
        fingerprint: str,
        dimension: int,
        model: str,
        keywords: KeywordOptions | None = None,
    ) -> EmbeddedStore:
        """Open the index at ``path``, or make it; raises as the two do.

        Where there is an index, its own ``keywords`` stay as they are.

        Raises:
            InvalidDimensionError: The index is of the same model but of another Matryoshka
                dimension.
        """
        path = Path(path)
        if not (path / "index.json").exists():
            return cls.create(
                path, fingerprint=fingerprint, dimension=dimension, model=model, keywords=keywords
            )
        index = read_index(path)
        check_fingerprint(path, index, fingerprint)
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

    def count_without_vector(self) -> int:
        """Number of documents that lack a vector; always 0 unless the shard was written by others."""
        edge = self._edge
        lacking = edge.Filter(must_not=[edge.HasVectorCondition(self.index.vector_name)])
        with edge_errors(self.path):
            return int(self._open_shard().count(edge.CountRequest(exact=True, filter=lacking)))

    def text_of(self, document: Document) -> str:
        """The document's text as it is."""
        return document.text

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Ids whose stored text and metadata equal the given ones."""
        shard, known = self._open_shard(), list(documents)
        same: set[str] = set()
        for start in range(0, len(known), 1024):
            by_point = {
                document_uuid(document.id): document for document in known[start : start + 1024]
            }
            with edge_errors(self.path):
                records = shard.retrieve(list(by_point), ["sha256"], False)
            for record in records:
                document = by_point[str(record.id)]
                if (record.payload or {}).get("sha256") == content_sha256(document):
                    same.add(document.id)
        return same

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``; see :class:`lusifer.stores.base.Store`.

        Raises:
            InvalidInputError: Counts differ, or a document or number can't be stored; nothing was
                written.
            InvalidDimensionError: The vectors have another dimension than the index; nothing was
                written.
            StorageFullError: No room; nothing was written.
            StoreError: The engine failed.
        """
        shard = self._open_shard()
        check_rows(len(documents), vectors, self.dimension, f"the index {self.path}")
        payloads = [payload_of(document) for document in documents]
        sizes = [payload_bytes(payload) for payload in payloads]
        # Written twice, to log and storage; keywords take as much as the text
        # again. The log spends up to 9 bytes on a number, the storage 4;
        # 512 bytes a point cover ids, names and trackers.
        copies = 3 if self.index.keywords else 2
        needed_bytes = copies * sum(sizes) + len(documents) * (13 * self.dimension + 512)
        free_space_or_raise(self.path, needed_bytes, f"Writing {len(documents)} documents")
        for part in split_requests(
            sizes, points=_POINTS_PER_OPERATION, size_bytes=_BYTES_PER_OPERATION
        ):
            points = [
                self._edge.Point(
                    document_uuid(documents[i].id),
                    self._vectors(documents[i], vectors[i]),
                    payloads[i],
                )
                for i in part
            ]
            with edge_errors(self.path):
                shard.update(self._edge.UpdateOperation.upsert_points(points))

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """The ``limit`` nearest documents to a vector ``(D,)``, best first; see :class:`SearchOptions`.

        Raises:
            InvalidDimensionError: The vector has another dimension than the index.
            InvalidInputError: The vector holds NaN or infinity, ``limit`` is below 1, or an option
                can't be used.
            IndexCorruptError: The index holds documents and the engine finds none, or not their
                payload.
        """
        shard = self._open_shard()
        options = options or SearchOptions()
        check_search(
            vector,
            limit,
            options,
            dimension=self.dimension,
            keywords=self.index.keywords is not None,
            where=f"The index {self.path}",
        )
        if options.group_by is not None:
            ungrouped = replace(options, group_by=None)
            return grouped(
                lambda depth: self.search(vector, depth, ungrouped), limit, options, self.count()
            )
        request = search_request(
            vector, limit, options, vector_name=self.index.vector_name, bm25=self._bm25
        )
        with edge_errors(self.path):
            found = shard.query(request)
        hits = [hit_of(point, f"the index {self.path}") for point in found]
        if not hits and not options.where and not options.languages and (documents := self.count()):
            raise _damaged(self.path, f"a search finds none of its {documents} documents")
        return hits

    def read(
        self, offset: str | None, limit: int, *, fields: bool | Sequence[str] = True
    ) -> tuple[dict[str, dict[str, Any]], str | None]:
        """Points in the order of their ids: id to payload, and the id of the next one.

        Args:
            offset: The id to begin with, whether it exists or not.
            limit: Points at most.
            fields: Of the payload.
        """
        request = self._edge.ScrollRequest(
            offset=offset, limit=limit, with_payload=_fields(fields), with_vector=False
        )
        with edge_errors(self.path):
            records, following = self._open_shard().scroll(request)
        found = {str(record.id): record.payload or {} for record in records}
        return found, None if following is None else str(following)

    def retrieve(
        self, keys: Sequence[str], *, fields: bool | Sequence[str] = True, vectors: bool = False
    ) -> dict[str, tuple[dict[str, Any], NDArray[np.float32] | None]]:
        """Payload and, where asked for, vector ``(D,)`` of the points that are there."""
        with edge_errors(self.path):
            records = self._open_shard().retrieve(list(keys), _fields(fields), vectors)
        name = self.index.vector_name
        found = {}
        for record in records:
            vector = (record.vector or {}).get(name)
            numbers = None if vector is None else np.asarray(vector, dtype=np.float32)
            found[str(record.id)] = (record.payload or {}, numbers)
        return found

    def insert_without_vector(self, documents: Sequence[Document]) -> None:
        """Insert or replace documents whose text can't be embedded: no search finds them, but none is lost.

        Raises:
            InvalidInputError: A document can't be stored; nothing was written.
        """
        points = [
            self._edge.Point(document_uuid(each.id), {}, payload_of(each)) for each in documents
        ]
        with edge_errors(self.path):
            self._open_shard().update(self._edge.UpdateOperation.upsert_points(points))

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by their ids; returns how many were there."""
        return self.delete_points([document_uuid(each) for each in ids])

    def delete_points(self, keys: Sequence[str]) -> int:
        """Delete points by their own ids; returns how many were there."""
        shard = self._open_shard()
        with edge_errors(self.path):
            known = [str(record.id) for record in shard.retrieve(list(keys), False, False)]
        if not known:
            return 0
        # First what a later opening expects at least, or a kill in between would look like damage.
        write_flushed(self.path, max(0, self.count() - len(known)))
        with edge_errors(self.path):
            shard.update(self._edge.UpdateOperation.delete_points(known))
        return len(known)

    def flush(self) -> None:
        """Write everything through to the disk, so that it survives a power cut."""
        shard = self._open_shard()
        with edge_errors(self.path):
            shard.flush()
            write_flushed(self.path, self.count())

    def optimize(self) -> None:
        """Build the search index, in another process; the store is closed meanwhile and open afterwards.

        The engine leaves small indexes (below 10 MB of vectors, 6,500 documents of 384 numbers) as
        they are: exact search is as fast there. It pays from some ten thousand documents on.

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

    def _vectors(self, document: Document, vector: NDArray[np.float32]) -> dict[str, Any]:
        vectors: dict[str, Any] = {self.index.vector_name: vector.tolist()}
        if self._bm25 is not None:
            vectors[KEYWORD_VECTOR] = self._bm25.embed_document(document.text)
        return vectors


def _fields(fields: bool | Sequence[str]) -> Any:
    return fields if isinstance(fields, bool) else list(fields)


def _damaged(path: Path, what: str) -> IndexCorruptError:
    return IndexCorruptError(
        f"The index {path} is damaged: {what}.",
        next_step="Restore the folder from a copy, or index again into a new folder.",
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
