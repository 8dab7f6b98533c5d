"""A collection on a Qdrant server as a store: vectors are made here and sent along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.errors import InvalidInputError, StoreError
from lusifer.qdrant.connection import import_client, qdrant_errors
from lusifer.qdrant.keywords import BM25_MODEL
from lusifer.qdrant.metadata import open_metadata
from lusifer.qdrant.points import KEYWORD_VECTOR, payload_of
from lusifer.qdrant.queries import hits_of, query_arguments
from lusifer.stores.payloads import (
    check_rows,
    content_sha256,
    document_uuid,
    payload_bytes,
    split_requests,
)
from lusifer.types import SearchOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.qdrant.metadata import CollectionMetadata
    from lusifer.types import Document, Hit, Ordering

__all__ = ["QdrantStore"]

_POINTS_PER_REQUEST = 256
_BYTES_PER_REQUEST = 8 * 1024**2
_LARGEST_REQUEST_BYTES = 32 * 1024**2
"""Qdrant's default ``service.max_request_size_mb``."""
_BYTES_PER_NUMBER = 13
"""Of a float in JSON, with its comma."""


class QdrantStore:
    """An open collection; made by :meth:`open`.

    Writes wait until the server has applied them, so that what a returned ``upsert`` wrote is
    there. A busy or absent server is waited for; see :func:`lusifer.common.retry.call_with_retry`.
    """

    def __init__(
        self,
        client: Any,
        card: CollectionMetadata,
        *,
        wait: bool = True,
        ordering: Ordering = "weak",
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self.client = client
        self.card = card
        self.wait = wait
        self.ordering = ordering
        self.retry_for_s = retry_for_s
        self._closed = False

    @classmethod
    def open(
        cls,
        client: Any,
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
            collection: Its name, or an alias: the store then stays with the collection it means
                now.
            fingerprint: The model about to be used with it.
            model: That model's name for people.
            dimension: Length of the vectors about to be used; None compares it at each write and
                search only.
            wait: Whether each write waits until it is applied; otherwise only the last one of an
                ``upsert``.
            ordering: Qdrant's write ordering, for replicated collections.
            retry_for_s: How long a busy or absent server is waited for.

        Raises:
            IndexNotFoundError: There is no such collection.
            CollectionMismatchError: It was not made for LUSIFER.
            FingerprintMismatchError: It holds vectors of another model.
            InvalidDimensionError: It holds vectors of another dimension.
            StoreUnavailableError: The server does not answer.
        """
        card = open_metadata(
            client, collection, fingerprint=fingerprint, model=model, dimension=dimension
        )
        return cls(client, card, wait=wait, ordering=ordering, retry_for_s=retry_for_s)

    @property
    def collection(self) -> str:
        """The collection's own name."""
        return self.card.collection

    @property
    def fingerprint(self) -> str:
        """Identity of the model whose vectors lie here."""
        return self.card.fingerprint

    @property
    def dimension(self) -> int:
        """Length D of every vector."""
        return self.card.dimension

    def count(self) -> int:
        """Number of points, exactly."""
        return self._count(None)

    def count_without_vector(self) -> int:
        """Number of points that no search of ours can find, because they lack the vector."""
        models = import_client().models
        lacking = models.HasVectorCondition(has_vector=self.card.vector_name)
        return self._count(models.Filter(must_not=[lacking]))

    def text_of(self, document: Document) -> str:
        """The document's text as it is."""
        return document.text

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Ids whose stored text and metadata equal the given ones and that have a vector."""
        models = import_client().models
        by_point = {document_uuid(document.id): document for document in documents}
        ids = list(by_point)
        same: set[str] = set()
        for start in range(0, len(ids), _POINTS_PER_REQUEST):
            part = ids[start : start + _POINTS_PER_REQUEST]
            complete = models.Filter(
                must=[
                    models.HasIdCondition(has_id=part),
                    models.HasVectorCondition(has_vector=self.card.vector_name),
                ]
            )
            records, _ = self._ask(
                lambda complete=complete, part=part: self.client.scroll(
                    self.collection,
                    scroll_filter=complete,
                    limit=len(part),
                    with_payload=["sha256"],
                    with_vectors=False,
                )
            )
            for record in records:
                document = by_point[str(record.id)]
                if (record.payload or {}).get("sha256") == content_sha256(document):
                    same.add(document.id)
        return same

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``; of two with the same id the last one stays.

        Raises:
            InvalidInputError: Counts differ, or a document can't be stored or sent; nothing was
                written.
            InvalidDimensionError: The vectors have another dimension; nothing was written.
            StoreError: The server refused or went away; earlier requests of this call may have been
                applied, and the same call again completes it.
        """
        models = import_client().models
        check_rows(len(documents), vectors, self.dimension, f"the collection {self.collection}")
        payloads = [payload_of(document) for document in documents]
        sizes = [
            payload_bytes(payload) + _BYTES_PER_NUMBER * self.dimension for payload in payloads
        ]
        for document, size_bytes in zip(documents, sizes, strict=True):
            if size_bytes > _LARGEST_REQUEST_BYTES - 4096:
                raise InvalidInputError(
                    f"Document {document.id!r} takes {size_bytes:,} bytes, a request to Qdrant at most "
                    f"{_LARGEST_REQUEST_BYTES:,}.",
                    next_step="Split it into passages.",
                )
        parts = list(
            split_requests(sizes, points=_POINTS_PER_REQUEST, size_bytes=_BYTES_PER_REQUEST)
        )
        for part in parts:
            wait = self.wait or part is parts[-1]
            points = [
                models.PointStruct(
                    id=document_uuid(documents[i].id),
                    vector=self._vectors(models, documents[i], vectors[i]),
                    payload=payloads[i],
                )
                for i in part
            ]
            self._ask(
                lambda points=points, wait=wait: self.client.upsert(
                    self.collection,
                    points,
                    wait=wait,
                    ordering=models.WriteOrdering(self.ordering),
                )
            )

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """The ``limit`` nearest documents to a vector ``(D,)``, best first; see :class:`SearchOptions`.

        Raises:
            InvalidInputError: The vector, the limit or an option can't be used.
            IndexCorruptError: A point found was not written as a document.
            StoreError: The server refused or does not answer.
        """
        arguments = query_arguments(self.card, vector, limit, options or SearchOptions())
        call = (
            self.client.query_points_groups if "group_by" in arguments else self.client.query_points
        )
        with qdrant_errors(self.collection):
            answer = call(**arguments)
        return hits_of(answer, self.collection)

    def flush(self) -> None:
        """Nothing to do: the server's log has every acknowledged write."""

    def optimize(self) -> None:
        """Nothing to do: the server builds its index by itself."""

    def close(self) -> None:
        """Close the client; calling it twice is fine."""
        self._closed = True
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _vectors(
        self, models: Any, document: Document, vector: NDArray[np.float32]
    ) -> dict[str, Any]:
        vectors: dict[str, Any] = {self.card.vector_name: vector.tolist()}
        if self.card.keywords is not None:
            vectors[KEYWORD_VECTOR] = models.Document(
                text=document.text, model=BM25_MODEL, options=self.card.keywords.bm25()
            )
        return vectors

    def _count(self, wanted: Any) -> int:
        answer = self._ask(
            lambda: self.client.count(self.collection, count_filter=wanted, exact=True)
        )
        return int(answer.count)

    def _ask(self, call: Any) -> Any:
        if self._closed:
            raise StoreError(
                f"The collection {self.collection} is closed.", next_step="Open it again."
            )

        def attempt() -> Any:
            with qdrant_errors(self.collection):
                return call()

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)
