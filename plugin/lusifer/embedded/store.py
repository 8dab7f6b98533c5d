"""Qdrant's engine inside this process: a store that needs no server.

Measured with qdrant-edge-py 0.9.0, which is why things are done as they are:

* A returned ``update`` survives ``kill -9`` (write-ahead log); a power cut only after ``flush()``.
* Searches compare every vector until ``optimize()``, so they are exact; afterwards approximate.
* One process may hold an index; a second one gets IndexLockedError.
* The interpreter lock is never released: keep large searches out of a server's event loop.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.common.iteration import chunked
from lusifer.embedded.engine import damaged, edge_errors, import_edge
from lusifer.embedded.layout import (
    IndexFile,
    allocated_bytes,
    check_fingerprint,
    free_space_or_raise,
    read_index,
    write_flushed,
)
from lusifer.embedded.opening import create_index, open_index
from lusifer.embedded.requests import KeywordModel, keyword_bytes, search_request
from lusifer.embedded.shard import BYTES_PER_OPERATION, POINTS_PER_OPERATION
from lusifer.errors import InvalidDimensionError
from lusifer.qdrant.points import COPY_HASH, KEYWORD_VECTOR, hit_of, ids_with_hash, payload_of
from lusifer.stores.base import ClosingStore
from lusifer.stores.conditions import answer_questions, check_fields, needs_check
from lusifer.stores.payloads import check_rows, document_uuid, payload_bytes
from lusifer.stores.search import check_search, search_deeper
from lusifer.types import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from filelock import FileLock
    from numpy.typing import NDArray
    from qdrant_edge import SparseVector

    from lusifer.embedded.shard import Shard
    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.types import JSON, Document, Hit, Quantization

__all__ = ["EmbeddedStore"]

_POINTS_PER_READ = 1024

_GROUPED_BY = frozenset({str, int})
"""Types of a value that forms a group, as on a server: neither a float nor true or false."""


class EmbeddedStore(ClosingStore):
    """An open index folder; made by :meth:`create`, :meth:`open` or :meth:`open_or_create`."""

    def __init__(self, path: Path, index: IndexFile, lock: FileLock, shard: Shard) -> None:
        self.path = path
        self.index = index
        self._lock = lock
        self._shard = shard
        self._edge = import_edge()
        self._bm25 = KeywordModel(index.keywords) if index.keywords else None

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
        """Create an empty index; a creation that was killed half-way starts again.

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
            StorageFullError: No space is left.
            MissingExtraError: ``qdrant-edge-py`` is not installed.
        """
        path = Path(path)
        index = IndexFile(
            fingerprint=fingerprint, dimension=dimension, model=model, keywords=keywords
        )
        return cls(path, index, *create_index(path, index, quantization))

    @classmethod
    def open(cls, path: Path | str, fingerprint: str | None = None) -> EmbeddedStore:
        """Open an index.

        Args:
            path: Its folder.
            fingerprint: The model about to be used with it; None skips the comparison.

        Raises:
            IndexNotFoundError: There is no index.
            IndexCorruptError: Its files are missing or can't be read.
            FingerprintMismatchError: It holds vectors of another model.
            IndexLockedError: Another process has it open.
            MissingExtraError: ``qdrant-edge-py`` is not installed.
        """
        path = Path(path)
        return cls(path, *open_index(path, fingerprint))

    @classmethod
    def open_or_create(
        cls,
        path: Path | str,
        *,
        fingerprint: str,
        model: str,
        dimension: int,
        keywords: KeywordOptions | None = None,
    ) -> EmbeddedStore:
        """Open the index at ``path``, or create it; raises as :meth:`open` and :meth:`create`.

        An index that exists keeps its own ``keywords``.

        Raises:
            InvalidDimensionError: The index is of the same model but of another Matryoshka
                dimension.
        """
        path = Path(path)
        if not (path / "index.json").exists():
            return cls.create(
                path, fingerprint=fingerprint, model=model, dimension=dimension, keywords=keywords
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
        """Identity of the model whose vectors are stored here."""
        return self.index.fingerprint

    @property
    def dimension(self) -> int:
        """Length D of every vector."""
        return self.index.dimension

    def count(self) -> int:
        """Return the number of documents."""
        return self._shard.count()

    def count_without_vector(self) -> int:
        """Return the number of documents that lack a vector.

        It is 0 unless some were inserted without one, or another program wrote the shard.
        """
        edge = self._edge
        lacking = edge.Filter(must_not=[edge.HasVectorCondition(self.index.vector_name)])
        return self._shard.count(lacking)

    def text_of(self, document: Document) -> str:
        """Return the document's text as it is."""
        return document.text

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Return the ids of documents whose stored text and metadata equal the given ones."""
        same: set[str] = set()
        for part in chunked(documents, _POINTS_PER_READ):
            by_point = {document_uuid(document.id): document for document in part}
            same.update(
                ids_with_hash(self._shard.records(list(by_point), fields=["sha256"]), by_point)
            )
        return same

    def upsert(
        self, documents: Sequence[Document], vectors: NDArray[np.float32], *, copies: bool = False
    ) -> None:
        """Insert or replace N documents with vectors ``(N, D)``.

        Of two documents with the same id the last one stays.

        Args:
            documents: The documents.
            vectors: Their vectors.
            copies: Mark them as copies that re-embedding made.

        Raises:
            InvalidInputError: Counts differ, or a document or number can't be stored; nothing was
                written.
            InvalidDimensionError: The vectors have another dimension than the index; nothing was
                written.
            StorageFullError: No space is left; nothing was written.
            StoreError: The engine failed.
        """
        self._shard.check_open()
        check_rows(len(documents), vectors, self.dimension, f"the index {self.path}")
        payloads = [_payload(document, copy=copies) for document in documents]
        words = [self._keyword_vector(document) for document in documents]
        sizes = [
            payload_bytes(payload) + sum(map(keyword_bytes, vectors.values()))
            for payload, vectors in zip(payloads, words, strict=True)
        ]
        # All is written twice, to log and storage. The log spends up to 9 bytes on a number of a
        # vector, the storage 4; 512 bytes a point cover ids, names and trackers.
        needed_bytes = 2 * sum(sizes) + len(documents) * (13 * self.dimension + 512)
        free_space_or_raise(self.path, needed_bytes, f"Writing {len(documents)} documents")
        for part in chunked(
            range(len(documents)),
            POINTS_PER_OPERATION,
            size=sizes.__getitem__,
            maximum_size=BYTES_PER_OPERATION,
        ):
            self._shard.upsert(
                [
                    self._edge.Point(
                        document_uuid(documents[i].id),
                        {self.index.vector_name: vectors[i].tolist(), **words[i]},
                        payloads[i],
                    )
                    for i in part
                ]
            )

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """Return the ``limit`` nearest documents to a vector ``(D,)``, best first.

        Raises:
            InvalidDimensionError: The vector has another dimension than the index.
            InvalidInputError: The vector holds NaN or infinity, ``limit`` is below 1, or an option
                can't be used.
            IndexCorruptError: The index holds documents and the engine finds none, or not their
                payload.
        """
        self._shard.check_open()
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
            ungrouped, documents = replace(options, group_by=None), max(1, self.count())
            groups = search_deeper(
                lambda depth: self.search(vector, min(depth, documents), ungrouped),
                limit,
                options,
                depth=4 * limit * options.group_size,
                kinds=_GROUPED_BY,
            )
            if not groups:
                answer_questions(check_fields(options), self._shard.answer)
            return groups
        found = self._shard.query(
            search_request(
                vector, limit, options, vector_name=self.index.vector_name, bm25=self._bm25
            )
        )
        hits = [hit_of(point, f"the index {self.path}") for point in found]
        if needs_check(options, found=bool(hits)):
            answer_questions(check_fields(options), self._shard.answer)
        elif not hits and (documents := self.count()):
            raise damaged(self.path, f"a search finds none of its {documents} documents")
        return hits

    def read(
        self, offset: str | None, limit: int, *, fields: bool | Sequence[str] = True
    ) -> tuple[dict[str, dict[str, JSON]], str | None]:
        """Return points in the order of their ids; see :meth:`.shard.Shard.read`."""
        return self._shard.read(offset, limit, fields=fields)

    def retrieve(
        self, keys: Sequence[str], *, fields: bool | Sequence[str] = True, vectors: bool = False
    ) -> dict[str, tuple[dict[str, JSON], NDArray[np.float32] | None]]:
        """Return payload and, where asked for, vector ``(D,)`` of the points that exist."""
        return self._shard.retrieve(keys, self.index.vector_name, fields=fields, vectors=vectors)

    def insert_without_vector(self, documents: Sequence[Document], *, copies: bool = False) -> None:
        """Insert or replace documents whose text can't be embedded.

        No search finds them, but none is lost.

        Args:
            documents: The documents.
            copies: Mark them as copies that re-embedding made.

        Raises:
            InvalidInputError: A document can't be stored; nothing was written.
        """
        self._shard.upsert(
            [
                self._edge.Point(document_uuid(each.id), {}, _payload(each, copy=copies))
                for each in documents
            ]
        )

    def remove_copy_markers(self) -> None:
        """Make copies of re-embedding documents like all others."""
        self._shard.delete_field(COPY_HASH)

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, without those that another program wrote."""
        offset: str | None = None
        while True:
            payloads, offset = self.read(offset, _POINTS_PER_READ, fields=["id", "sha256"])
            for payload in payloads.values():
                if isinstance(found := payload.get("id"), str) and "sha256" in payload:
                    yield found
            if offset is None:
                return

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by their ids; return how many of them existed."""
        return sum(
            self.delete_points([document_uuid(each) for each in part])
            for part in chunked(dict.fromkeys(ids), _POINTS_PER_READ)
        )

    def delete_points(self, keys: Sequence[str]) -> int:
        """Delete points by their own ids; return how many existed."""
        known = [str(record.id) for record in self._shard.records(keys, fields=False)]
        if not known:
            return 0
        # Lower first what a later opening expects at least: a kill in between would look like
        # damage.
        write_flushed(self.path, max(0, self.count() - len(known)))
        self._shard.delete(known)
        return len(known)

    def flush(self) -> None:
        """Write everything through to the disk, so that it survives a power cut."""
        self._shard.flush()
        with edge_errors(self.path):
            write_flushed(self.path, self.count())

    def optimize(self) -> None:
        """Build the search index in another process; the store is closed meanwhile.

        The engine leaves small indexes (below 10 MB of vectors, 6,500 documents of 384 numbers) as
        they are: exact search is as fast there. It pays from some ten thousand documents on.

        Raises:
            StorageFullError: No space for a second copy of the data; nothing was changed.
            StoreError: The other process failed; the documents are as before.
        """
        self.flush()
        # New segments are written beside the old ones before these are removed.
        free_space_or_raise(self.path, 2 * allocated_bytes(self.path / "shard"), "Optimising")
        self._shard.optimize()

    def close(self) -> None:
        """Flush and let other processes in; calling it twice is fine."""
        try:
            if self._shard.is_open:
                self.flush()
        finally:
            self.detach().release()

    def detach(self) -> FileLock:
        """Close without flushing; return the lock, which still keeps other processes out."""
        try:
            self._shard.close()
        except BaseException:
            self._lock.release()
            raise
        return self._lock

    def _keyword_vector(self, document: Document) -> dict[str, SparseVector]:
        """Return the keyword vector of a document by its name; nothing in an index without."""
        if self._bm25 is None:
            return {}
        return {KEYWORD_VECTOR: self._bm25.embed_document(document.text)}


def _payload(document: Document, *, copy: bool) -> dict[str, JSON]:
    payload = payload_of(document)
    return {**payload, COPY_HASH: payload["sha256"]} if copy else payload
