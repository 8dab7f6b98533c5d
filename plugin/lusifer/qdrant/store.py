"""A collection on a Qdrant server as a store: vectors are made here and sent along."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from lusifer.common.iteration import chunked
from lusifer.common.retry import RETRY_FOR_S
from lusifer.errors import InvalidInputError
from lusifer.qdrant.connection import client_errors, import_client
from lusifer.qdrant.metadata import CollectionMetadata, open_metadata
from lusifer.qdrant.points import ids_with_hash, keyword_vector, payload_of
from lusifer.qdrant.queries import find, without_vector
from lusifer.stores.base import ServerStore
from lusifer.stores.payloads import check_rows, document_uuid, payload_bytes
from lusifer.types import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray
    from qdrant_client import QdrantClient
    from qdrant_client.models import Filter, PointStruct

    from lusifer.types import JSON, Document, Hit, Ordering

__all__ = ["QdrantStore"]

_POINTS_PER_REQUEST = 256
_POINTS_PER_READ = 1024
_BYTES_PER_REQUEST = 8 * 1024**2
_LARGEST_REQUEST_BYTES = 32 * 1024**2
"""Qdrant's default ``service.max_request_size_mb``."""
_BYTES_PER_NUMBER = 13
"""Bytes of a float in JSON, with its comma."""


# Where qdrant-client is not installed its class is only a name.
class QdrantStore(ServerStore["QdrantClient", CollectionMetadata]):
    """An open collection; made by :meth:`open`.

    Writes wait until the server has applied them, so that what a returned ``upsert`` wrote is
    there. A busy or absent server is retried; see :func:`lusifer.common.retry.call_with_retry`.
    """

    def __init__(
        self,
        client: QdrantClient,
        metadata: CollectionMetadata,
        *,
        wait: bool = True,
        ordering: Ordering = "weak",
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        super().__init__(client, metadata, retry_for_s=retry_for_s)
        self.wait = wait
        self.ordering = ordering

    @classmethod
    def open(
        cls,
        client: QdrantClient,
        collection: str,
        *,
        fingerprint: str,
        model: str,
        dimension: int | None = None,
        wait: bool = True,
        ordering: Ordering = "weak",
        retry_for_s: float = RETRY_FOR_S,
    ) -> QdrantStore:
        """Open a collection made with ``lusifer qdrant setup``.

        Args:
            client: A ``QdrantClient``; closed with the store.
            collection: Its name, or an alias: the store then stays with the collection it points to
                now.
            fingerprint: The model about to be used with it.
            model: That model's name for people.
            dimension: Length D of the vectors about to be used; None compares it at each write and
                search only.
            wait: Whether each write waits until it is applied; otherwise only the last one of an
                ``upsert``.
            ordering: Qdrant's write ordering, for replicated collections.
            retry_for_s: Seconds for which a busy or absent server is retried.

        Raises:
            IndexNotFoundError: There is no such collection.
            CollectionMismatchError: It was not made for LUSIFER.
            FingerprintMismatchError: It holds vectors of another model.
            InvalidDimensionError: It holds vectors of another dimension.
            StoreUnavailableError: The server does not answer.
        """
        metadata, _ = open_metadata(
            client, collection, fingerprint=fingerprint, model=model, dimension=dimension
        )
        return cls(client, metadata, wait=wait, ordering=ordering, retry_for_s=retry_for_s)

    def count(self) -> int:
        """Return the number of points, exactly."""
        return self._count(None)

    def count_without_vector(self) -> int:
        """Return the number of points without our vector; no search finds them."""
        return self._count(without_vector(self.metadata.vector_name))

    def text_of(self, document: Document) -> str:
        """Return the document's text as it is."""
        return document.text

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Return ids whose stored text and metadata equal the given ones and that have a vector."""
        models = import_client().models
        by_point = {document_uuid(document.id): document for document in documents}
        same: set[str] = set()
        for ids in chunked(by_point, _POINTS_PER_REQUEST):
            complete = models.Filter(
                must=[
                    models.HasIdCondition(has_id=ids),
                    models.HasVectorCondition(has_vector=self.metadata.vector_name),
                ]
            )
            records, _ = self._ask(
                partial(
                    self.client.scroll,
                    self.collection,
                    scroll_filter=complete,
                    limit=len(ids),
                    with_payload=["sha256"],
                    with_vectors=False,
                )
            )
            same.update(ids_with_hash(records, by_point))
        return same

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``.

        Of two documents with the same id the last one stays.

        Raises:
            InvalidInputError: Counts differ, or a document can't be stored or sent; nothing was
                written.
            InvalidDimensionError: The vectors have another dimension; nothing was written.
            StoreError: The server refused or went away. Earlier requests of this call may have been
                applied; the same call again completes it.
        """
        models = import_client().models
        check_rows(len(documents), vectors, self.dimension, f"the collection {self.collection}")
        payloads = [payload_of(document, self.metadata.rules) for document in documents]
        sizes = [
            payload_bytes(payload) + _BYTES_PER_NUMBER * self.dimension for payload in payloads
        ]
        for document, size_bytes in zip(documents, sizes, strict=True):
            if size_bytes > _LARGEST_REQUEST_BYTES - 4096:
                raise InvalidInputError(
                    f"Document {document.id!r} takes {size_bytes:,} bytes, a request to Qdrant at "
                    f"most {_LARGEST_REQUEST_BYTES:,}.",
                    next_step="Split it into passages.",
                )
        for part in chunked(
            range(len(documents)),
            _POINTS_PER_REQUEST,
            size=sizes.__getitem__,
            maximum_size=_BYTES_PER_REQUEST,
        ):
            points = [self._point(documents[i], vectors[i], payloads[i]) for i in part]
            wait = self.wait or part[-1] == len(documents) - 1
            self._ask(
                partial(
                    self.client.upsert,
                    self.collection,
                    points,
                    wait=wait,
                    ordering=models.WriteOrdering(self.ordering),
                )
            )

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, without those that another program wrote."""
        offset: Any = None  # of a type that the client names by its own protocol
        while True:
            records, offset = self._ask(
                partial(
                    self.client.scroll,
                    self.collection,
                    limit=_POINTS_PER_READ,
                    offset=offset,
                    with_payload=["id", "sha256"],
                    with_vectors=False,
                )
            )
            for record in records:
                payload = record.payload or {}
                if isinstance(found := payload.get("id"), str) and "sha256" in payload:
                    yield found
            if offset is None:
                return

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by their ids; return how many of them existed.

        Raises:
            StoreError: The server refused or went away; the same call again completes it.
        """
        models = import_client().models
        deleted = 0
        for part in chunked(dict.fromkeys(map(document_uuid, ids)), _POINTS_PER_READ):
            records = self._ask(
                partial(
                    self.client.retrieve,
                    self.collection,
                    part,
                    with_payload=False,
                    with_vectors=False,
                )
            )
            if not records:
                continue
            self._ask(
                partial(
                    self.client.delete,
                    self.collection,
                    [record.id for record in records],
                    wait=True,
                    ordering=models.WriteOrdering(self.ordering),
                )
            )
            deleted += len(records)
        return deleted

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """Return the ``limit`` nearest documents to a vector ``(D,)``, best first.

        Raises:
            InvalidInputError: The vector, the limit or an option can't be used.
            IndexCorruptError: A point found was not written as a document.
            StoreError: The server refused or does not answer.
        """
        self._check_open()
        return find(self.client, self.metadata, vector, limit, options or SearchOptions())

    def _point(
        self, document: Document, vector: NDArray[np.float32], payload: dict[str, JSON]
    ) -> PointStruct:
        models = import_client().models
        point: PointStruct = models.PointStruct(
            id=document_uuid(document.id),
            vector={
                self.metadata.vector_name: vector.tolist(),
                **keyword_vector(document, self.metadata.keywords),
            },
            payload=payload,
        )
        return point

    def _count(self, wanted: Filter | None) -> int:
        return self._ask(
            lambda: self.client.count(self.collection, count_filter=wanted, exact=True)
        ).count

    def _errors(self) -> AbstractContextManager[None]:
        return client_errors(self.collection)
