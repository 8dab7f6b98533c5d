"""A collection on a Qdrant server as a side, whether ``lusifer index`` wrote it or not.

What guards a write lies in the payload; see :mod:`lusifer.reindex.endpoints.qdrant.points`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.qdrant.connection import client_errors, import_client
from lusifer.qdrant.keywords import BM25_MODEL
from lusifer.qdrant.points import KEYWORD_VECTOR
from lusifer.reindex.endpoints.base import Page, Record, Span, parts
from lusifer.reindex.endpoints.key_ranges import (
    LARGEST_NUMBER,
    UUID_ZERO,
    number_cursors,
    number_key,
    number_spans,
    places,
    sampled,
    uuid_cursors,
    uuid_spans,
)
from lusifer.reindex.endpoints.qdrant.points import (
    COPY_HASH,
    HASHES,
    copied_payload,
    holds,
    id_of,
    key_of,
    lacking,
    record_of,
    version_of,
)
from lusifer.stores.payloads import document_uuid, payload_bytes, split_requests
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from lusifer.qdrant.keywords import KeywordOptions

__all__ = ["QdrantSide"]

_POINTS_PER_REQUEST = 128
_BYTES_PER_REQUEST = 8 * 1024**2
_BYTES_PER_NUMBER = 13


class QdrantSide:
    """One vector of a collection.

    Args:
        client: A ``QdrantClient``; closed by the owner.
        collection: Its own name.
        vector_name: Of the dense vector that this side is about; empty for an unnamed one.
        text_field: Payload field with the text.
        language_field: Field of the metadata, or of the payload, with the language.
        lacking: Read only points that lack this vector: the old side in place.
        carried: Names of other vectors, which a copy takes along.
        keywords: Of a collection with a BM25 vector, for documents that come from a file.
        retry_for_s: How long a busy or absent server is waited for.
    """

    def __init__(
        self,
        client: Any,
        collection: str,
        vector_name: str,
        *,
        text_field: str = "text",
        language_field: str = "lang",
        lacking: str | None = None,
        carried: Sequence[str] = (),
        keywords: KeywordOptions | None = None,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self.client = client
        self.collection = collection
        self.vector_name = vector_name
        self.text_field = text_field
        self.language_field = language_field
        self.lacking = lacking
        self.carried = list(carried)
        self.keywords = keywords
        self.retry_for_s = retry_for_s
        self._models = import_client().models

    def count(self) -> int:
        """Points, exactly."""
        return int(self._ask(lambda: self.client.count(self.collection, exact=True)).count)

    def count_without_vector(self) -> int:
        """Points that lack the vector."""
        without = lacking(self.vector_name)
        return int(
            self._ask(
                lambda: self.client.count(self.collection, count_filter=without, exact=True)
            ).count
        )

    def spans(self, count: int) -> list[Span]:
        """Ranges of ids: of numbers, which Qdrant sorts first, of UUIDs, or half and half."""
        largest = self._largest_number()
        if largest is None:
            return uuid_spans(count)
        if self._first(UUID_ZERO) is None:
            return number_spans(largest, count)
        numbers = number_spans(largest, max(1, count // 2))
        uuids = uuid_spans(count - len(numbers)) if count > len(numbers) else []
        if not uuids:
            return [Span()]
        return [
            *numbers[:-1],
            Span(numbers[-1].first, UUID_ZERO),
            Span(UUID_ZERO, uuids[0].end),
            *uuids[1:],
        ]

    def sample(self, count: int, seed: int) -> list[Record]:
        """Records from random places among numbers, UUIDs, or both."""
        number = places(count)
        cursors = uuid_cursors(number, seed)
        if (largest := self._largest_number()) is not None:
            numbers = number_cursors(number, largest, seed)
            cursors = numbers if self._first(UUID_ZERO) is None else [*numbers[::2], *cursors[::2]]
        return sampled(self.read, cursors, self.count(), count, seed)

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """The key of a document that ``lusifer index`` wrote; there are no tenants."""
        return document_uuid(document_id)

    def read(self, span: Span, cursor: str | None, limit: int) -> Page:
        """See :class:`lusifer.reindex.endpoints.base.Source`."""
        begin = cursor or span.first
        wanted = lacking(self.lacking) if self.lacking else None
        points, following = self._ask(
            lambda: self.client.scroll(
                self.collection,
                scroll_filter=wanted,
                limit=limit,
                offset=id_of(begin) if begin else None,
                with_payload=True,
                with_vectors=self.carried or False,
            )
        )
        records = [record for record in map(self._record, points) if span.holds(record.key)]
        after = None if following is None else key_of(following)
        return Page(records, after if after is not None and span.holds(after) else None)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Points that are there."""
        found: set[str] = set()
        for part in parts(keys, 1024):
            found |= {key_of(point.id) for point in self._retrieve(part, payload=False)}
        return found

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Content hash of the points that are there."""
        found: dict[str, str] = {}
        for part in parts(keys, 256):
            records = map(self._record, self._retrieve(part, payload=True))
            found |= {record.key: record.sha256 for record in records}
        return found

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Version of the points that are there."""
        found: dict[str, str] = {}
        for part in parts(keys, 1024):
            points = self._retrieve(part, payload=HASHES)
            found |= {key_of(point.id): version_of(point.payload) for point in points}
        return found

    def vectors(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors ``(D,)`` of those that have one."""
        found = {}
        for part in parts(keys, 256):
            for point in self._retrieve(
                part, payload=False, vectors=[self.vector_name] if self.vector_name else True
            ):
                vector = (
                    point.vector.get(self.vector_name)
                    if isinstance(point.vector, dict)
                    else point.vector
                )
                if vector:
                    found[key_of(point.id)] = np.asarray(vector, dtype=np.float32)
        return found

    def nearest(
        self, vectors: Sequence[NDArray[np.float32]], limit: int, beside: Sequence[str]
    ) -> list[list[Record]]:
        """For each vector the nearest points, best first."""
        answers: list[list[Record]] = []
        for part in parts(vectors, 32):
            requests = [
                self._models.QueryRequest(
                    query=vector.tolist(),
                    using=self.vector_name or None,
                    limit=limit,
                    with_payload=True,
                )
                for vector in part
            ]
            found = self._ask(
                lambda requests=requests: self.client.query_batch_points(self.collection, requests)
            )
            answers += [[self._record(point) for point in each.points] for each in found]
        return answers

    def write(
        self,
        records: Sequence[Record],
        vectors: Sequence[NDArray[np.float32] | None],
        seen: Mapping[str, str],
    ) -> int:
        """See :class:`lusifer.reindex.endpoints.base.Target`; Qdrant does not tell how many a guard kept back."""
        pairs = list(zip(records, vectors, strict=True))
        modes = self._models.UpdateMode
        self._upsert([pair for pair in pairs if pair[0].key not in seen], modes.INSERT_ONLY, {})
        self._upsert([pair for pair in pairs if pair[0].key in seen], modes.UPDATE_ONLY, seen)
        return len(pairs)

    def keys(self, span: Span, cursor: str | None, limit: int) -> tuple[dict[str, str], str | None]:
        """Keys with their versions, and where the next reading begins."""
        begin = cursor or span.first
        points, following = self._ask(
            lambda: self.client.scroll(
                self.collection,
                limit=limit,
                offset=id_of(begin) if begin else None,
                with_payload=HASHES,
                with_vectors=False,
            )
        )
        found = {key_of(point.id): version_of(point.payload) for point in points}
        after = None if following is None else key_of(following)
        kept = {key: version for key, version in found.items() if span.holds(key)}
        return kept, after if after is not None and span.holds(after) else None

    def delete(self, seen: Mapping[str, str]) -> int:
        """Delete points whose version still is the one that was seen."""
        for part in parts(list(seen), _POINTS_PER_REQUEST):
            guard = self._models.Filter(should=[holds(key, seen[key]) for key in part])
            selector = self._models.FilterSelector(filter=guard)
            self._ask(
                lambda selector=selector: self.client.delete(self.collection, selector, wait=True)
            )
        return len(seen)

    def unmark(self) -> None:
        """Take ``lusifer_sha256`` off the payloads."""
        models = self._models
        bare = models.IsEmptyCondition(is_empty=models.PayloadField(key=COPY_HASH))
        marked = models.Filter(must_not=[bare])
        offset: Any = None
        while True:
            points, offset = self._ask(
                lambda offset=offset: self.client.scroll(
                    self.collection,
                    scroll_filter=marked,
                    limit=1024,
                    offset=offset,
                    with_payload=False,
                    with_vectors=False,
                )
            )
            if ids := [point.id for point in points]:
                self._ask(
                    lambda ids=ids: self.client.delete_payload(
                        self.collection, keys=[COPY_HASH], points=ids, wait=True
                    )
                )
            if offset is None:
                return

    def close(self) -> None:
        """Nothing of its own is held."""

    def _upsert(
        self,
        pairs: Sequence[tuple[Record, NDArray[np.float32] | None]],
        mode: Any,
        seen: Mapping[str, str],
    ) -> None:
        models = self._models
        payloads = [copied_payload(record) for record, _ in pairs]
        sizes = [
            payload_bytes(payload) + _BYTES_PER_NUMBER * (0 if vector is None else len(vector))
            for payload, (_, vector) in zip(payloads, pairs, strict=True)
        ]
        for part in split_requests(
            sizes, points=_POINTS_PER_REQUEST, size_bytes=_BYTES_PER_REQUEST
        ):
            points = [
                models.PointStruct(
                    id=id_of(pairs[i][0].key), vector=self._vectors(*pairs[i]), payload=payloads[i]
                )
                for i in part
            ]
            keys = [pairs[i][0].key for i in part]
            guard = models.Filter(should=[holds(key, seen[key]) for key in keys]) if seen else None
            self._ask(
                lambda points=points, guard=guard: self.client.upsert(
                    self.collection,
                    points,
                    wait=True,
                    ordering=models.WriteOrdering.MEDIUM,
                    update_filter=guard,
                    update_mode=mode,
                )
            )

    def _vectors(self, record: Record, vector: NDArray[np.float32] | None) -> dict[str, Any]:
        vectors: dict[str, Any] = {}
        if isinstance(record.content, Document):
            if self.keywords is not None:
                vectors[KEYWORD_VECTOR] = self._models.Document(
                    text=record.text, model=BM25_MODEL, options=self.keywords.bm25()
                )
        else:
            vectors.update(record.content[1])
        if vector is not None:
            vectors[self.vector_name] = vector.tolist()
        return vectors

    def _retrieve(self, keys: Sequence[str], *, payload: Any, vectors: Any = False) -> Any:
        ids = [id_of(key) for key in keys]
        return self._ask(
            lambda: self.client.retrieve(
                self.collection, ids, with_payload=payload, with_vectors=vectors
            )
        )

    def _largest_number(self) -> int | None:
        """The largest id that is a number; halving, because ids can only be asked for upwards."""
        first = self._first(number_key(0))
        if first is None or not first.startswith("#"):
            return None
        low, high = int(first[1:]), LARGEST_NUMBER
        while low < high:
            middle = (low + high + 1) // 2
            found = self._first(number_key(middle))
            if found is None or not found.startswith("#"):
                high = middle - 1
            else:
                low = int(found[1:])
        return low

    def _first(self, key: str) -> str | None:
        points, _ = self._ask(
            lambda: self.client.scroll(
                self.collection, limit=1, offset=id_of(key), with_payload=False, with_vectors=False
            )
        )
        return key_of(points[0].id) if points else None

    def _ask(self, call: Any) -> Any:
        def attempt() -> Any:
            with client_errors(self.collection):
                return call()

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)

    def _record(self, point: Any) -> Record:
        return record_of(
            point,
            text_field=self.text_field,
            language_field=self.language_field,
            vector_name=self.vector_name,
        )
