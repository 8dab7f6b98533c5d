"""A collection on a Qdrant server as a source or target, whether ``lusifer index`` wrote it or not.

What guards a write is in the payload; see :mod:`lusifer.reindex.endpoints.qdrant.points`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.qdrant.connection import client_errors
from lusifer.qdrant.points import COPY_HASH, KEYWORD_VECTOR, keyword_document
from lusifer.reindex.endpoints.base import COPY_SUFFIX, Page
from lusifer.reindex.endpoints.key_ranges import (
    UUID_ZERO,
    cursor_count,
    largest_number,
    mixed_ranges,
    number_cursors,
    number_ranges,
    sample_records,
    uuid_cursors,
    uuid_ranges,
)
from lusifer.reindex.endpoints.qdrant.points import (
    HASHES,
    PointContent,
    copied_payload,
    has_version,
    id_of,
    key_of,
    lacks_vector,
    record_of,
    version_of,
)
from lusifer.stores.fields import FieldRules
from lusifer.stores.payloads import document_uuid, payload_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qdrant_client import QdrantClient, models

    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.reindex.endpoints.base import KeyRange, Record, Vector
    from lusifer.reindex.endpoints.qdrant.points import Content

__all__ = ["QdrantEndpoint"]

_Answer = TypeVar("_Answer")

_KEYS_PER_REQUEST = 1024
_CONTENTS_PER_REQUEST = 256
_QUERIES_PER_REQUEST = 32
_POINTS_PER_REQUEST = 128
_BYTES_PER_REQUEST = 8 * 1024**2
_BYTES_PER_NUMBER = 13
"""A number of a vector as JSON."""


@dataclass(eq=False)
class QdrantEndpoint:
    """One vector of a collection."""

    client: QdrantClient
    """Client of the server; its owner closes it."""
    collection: str
    """The collection's own name."""
    vector_name: str
    """Name of the dense vector; empty for an unnamed one."""
    rules: FieldRules = field(default_factory=FieldRules)
    """Where a payload has its text, and which of its fields a copy has."""
    language_field: str = "lang"
    """Field of the metadata, or of the payload, with the language."""
    only_lacking: str | None = None
    """Read only points that lack this vector; for the source in place."""
    copied_vectors: Sequence[str] = ()
    """Names of other vectors, which a copy takes along."""
    keywords: KeywordOptions | None = None
    """Options of a collection with a BM25 vector, for documents that come from a file."""
    retry_for_s: float = RETRY_FOR_S
    """Seconds for which requests to a busy or unreachable server are retried."""

    def count(self) -> int:
        """Count the points, exactly."""
        return self._call(lambda: self.client.count(self.collection, exact=True)).count

    def count_without_vector(self) -> int:
        """Count the points that lack the vector."""
        without = lacks_vector(self.vector_name)
        return self._call(
            lambda: self.client.count(self.collection, count_filter=without, exact=True)
        ).count

    def key_ranges(self, count: int) -> list[KeyRange]:
        """Split the ids: numbers, which Qdrant sorts first, UUIDs, or half of each."""
        largest = largest_number(self._first_key)
        if largest is None:
            return uuid_ranges(count)
        if self._first_key(UUID_ZERO) is None:
            return number_ranges(largest, count)
        return mixed_ranges(largest, count)

    def sample(self, count: int, seed: int) -> list[Record[Content]]:
        """Return records from random places among numbers, UUIDs, or both."""
        places = cursor_count(count)
        cursors = uuid_cursors(places, seed)
        if (largest := largest_number(self._first_key)) is not None:
            numbers = number_cursors(places, largest, seed)
            only_numbers = self._first_key(UUID_ZERO) is None
            cursors = numbers if only_numbers else [*numbers[::2], *cursors[::2]]
        return sample_records(self.read, cursors, self.count(), count, seed)

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """Return the key of a document that ``lusifer index`` wrote; there are no tenants."""
        return document_uuid(document_id)

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[Content]:
        """Return the next records of a range, with their payloads and other vectors."""
        points, following = self._scroll(
            cursor or key_range.first,
            limit,
            payload=True,
            vectors=list(self.copied_vectors) or False,
            only=lacks_vector(self.only_lacking) if self.only_lacking else None,
        )
        records = [self._record(point) for point in points]
        return Page(
            [record for record in records if record.key in key_range],
            _cursor_in(key_range, following),
        )

    def present(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that are there."""
        found: set[str] = set()
        for chunk in chunked(keys, _KEYS_PER_REQUEST):
            found |= {key_of(point.id) for point in self._retrieve(chunk, payload=False)}
        return found

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of the points that are there."""
        found: dict[str, str] = {}
        for chunk in chunked(keys, _CONTENTS_PER_REQUEST):
            records = map(self._record, self._retrieve(chunk, payload=True))
            found |= {record.key: record.sha256 for record in records}
        return found

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Return versions of the points that are there."""
        found: dict[str, str] = {}
        for chunk in chunked(keys, _KEYS_PER_REQUEST):
            points = self._retrieve(chunk, payload=HASHES)
            found |= {key_of(point.id): version_of(point.payload) for point in points}
        return found

    def vectors(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors ``(D,)`` of those points that have one."""
        found = {}
        wanted = [self.vector_name] if self.vector_name else True
        for chunk in chunked(keys, _CONTENTS_PER_REQUEST):
            for point in self._retrieve(chunk, payload=False, vectors=wanted):
                stored = point.vector
                vector = stored.get(self.vector_name) if isinstance(stored, dict) else stored
                if vector:
                    found[key_of(point.id)] = np.asarray(vector, dtype=np.float32)
        return found

    def nearest(
        self, vectors: Sequence[Vector], limit: int, tenant_keys: Sequence[str]
    ) -> list[list[Record[Content]]]:
        """Return the nearest points for each vector, best first."""
        from qdrant_client import models

        answers: list[list[Record[Content]]] = []
        for chunk in chunked(vectors, _QUERIES_PER_REQUEST):
            requests = [
                models.QueryRequest(
                    query=vector.tolist(),
                    using=self.vector_name or None,
                    limit=limit,
                    with_payload=True,
                )
                for vector in chunk
            ]
            found = self._call(partial(self.client.query_batch_points, self.collection, requests))
            answers += [[self._record(point) for point in each.points] for each in found]
        return answers

    def write(
        self, rows: Sequence[tuple[Record[Content], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        """Insert absent points and update points of the expected version.

        Qdrant does not report which points a guard skipped, so their marks are read back.
        """
        from qdrant_client.models import UpdateMode

        absent = [row for row in rows if row[0].key not in expected]
        present = [row for row in rows if row[0].key in expected]
        self._upsert(absent, UpdateMode.INSERT_ONLY, {})
        self._upsert(present, UpdateMode.UPDATE_ONLY, expected)
        now = self.versions([record.key for record, _ in rows])
        copies = {record.key: record.sha256 + COPY_SUFFIX for record, _ in rows}
        return {key: version for key, version in copies.items() if now.get(key) == version}

    def keys(
        self, key_range: KeyRange, cursor: str | None, limit: int
    ) -> tuple[dict[str, str], str | None]:
        """Return keys with their versions, and the cursor of the next page."""
        points, following = self._scroll(cursor or key_range.first, limit, payload=HASHES)
        found = {key_of(point.id): version_of(point.payload) for point in points}
        kept = {key: version for key, version in found.items() if key in key_range}
        return kept, _cursor_in(key_range, following)

    def delete(self, versions: Mapping[str, str]) -> int:
        """Delete the points that still have these versions."""
        from qdrant_client import models

        for chunk in chunked(versions, _POINTS_PER_REQUEST):
            guard = models.Filter(should=[has_version(key, versions[key]) for key in chunk])
            selector = models.FilterSelector(filter=guard)
            self._call(partial(self.client.delete, self.collection, selector, wait=True))
        return len(versions)

    def remove_copy_markers(self) -> None:
        """Delete ``lusifer_sha256`` from the payloads, and its index, where there is one."""
        from qdrant_client import models

        unmarked = models.IsEmptyCondition(is_empty=models.PayloadField(key=COPY_HASH))
        marked = models.Filter(must_not=[unmarked])
        cursor: str | None = ""
        while cursor is not None:
            points, cursor = self._scroll(cursor, _KEYS_PER_REQUEST, payload=False, only=marked)
            if ids := [point.id for point in points]:
                self._call(
                    partial(
                        self.client.delete_payload,
                        self.collection,
                        keys=[COPY_HASH],
                        points=ids,
                        wait=True,
                    )
                )
        schema = self._call(lambda: self.client.get_collection(self.collection)).payload_schema
        if COPY_HASH in (schema or {}):
            self._call(
                lambda: self.client.delete_payload_index(self.collection, COPY_HASH, wait=True)
            )

    def close(self) -> None:
        """Do nothing: the client belongs to the migration."""

    def _upsert(
        self,
        rows: Sequence[tuple[Record[Content], Vector | None]],
        mode: models.UpdateMode,
        expected: Mapping[str, str],
    ) -> None:
        from qdrant_client.models import PointStruct

        points = [
            PointStruct(
                id=id_of(record.key),
                vector=self._vectors(record, vector),
                payload=dict(copied_payload(record)),
            )
            for record, vector in rows
        ]
        sized = zip(points, (vector for _, vector in rows), strict=True)
        for chunk in chunked(
            sized, _POINTS_PER_REQUEST, size=_size_bytes, maximum_size=_BYTES_PER_REQUEST
        ):
            chosen = [point for point, _ in chunk]
            keys = [key_of(point.id) for point in chosen]
            guards = [has_version(key, expected[key]) for key in keys if key in expected]
            self._write_guarded(self.client.upsert, chosen, guards, update_mode=mode)

    def _write_guarded(
        self,
        write: Callable[..., object],
        points: Sequence[models.PointStruct] | Sequence[models.PointVectors],
        guards: Sequence[models.Filter],
        **options: object,
    ) -> None:
        """Write points with a method of the client, each under its guard; none is no guard."""
        from qdrant_client import models

        self._call(
            partial(
                write,
                self.collection,
                points,
                wait=True,
                ordering=models.WriteOrdering.MEDIUM,
                update_filter=models.Filter(should=list(guards)) if guards else None,
                **options,
            )
        )

    def _vectors(
        self, record: Record[Content], vector: Vector | None
    ) -> dict[str, models.Vector | models.Document]:

        vectors: dict[str, models.Vector | models.Document] = {}
        if isinstance(record.content, PointContent):
            vectors.update(record.content.vectors)
        elif self.keywords is not None:
            vectors[KEYWORD_VECTOR] = keyword_document(record.text, self.keywords, "document")
        if vector is not None:
            vectors[self.vector_name] = vector.tolist()
        return vectors

    def _retrieve(
        self,
        keys: Sequence[str],
        *,
        payload: bool | list[str],
        vectors: bool | list[str] = False,
    ) -> list[models.Record]:
        ids = [id_of(key) for key in keys]
        return self._call(
            lambda: self.client.retrieve(
                self.collection, ids, with_payload=payload, with_vectors=vectors
            )
        )

    def _scroll(
        self,
        begin: str,
        limit: int,
        *,
        payload: bool | list[str],
        vectors: bool | list[str] = False,
        only: models.Filter | None = None,
    ) -> tuple[list[models.Record], str | None]:
        """Return points from a key on, in the order of keys, and the key after them."""
        points, following = self._call(
            lambda: self.client.scroll(
                self.collection,
                scroll_filter=only,
                limit=limit,
                offset=id_of(begin) if begin else None,
                with_payload=payload,
                with_vectors=vectors,
            )
        )
        return points, None if following is None else key_of(following)

    def _first_key(self, begin: str) -> str | None:
        """Return the first key from ``begin`` on."""
        points, _ = self._scroll(begin, 1, payload=False)
        return key_of(points[0].id) if points else None

    def _call(self, call: Callable[[], _Answer]) -> _Answer:
        def attempt() -> _Answer:
            with client_errors(self.collection):
                return call()

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)

    def _record(self, point: models.Record | models.ScoredPoint) -> Record[Content]:
        return record_of(
            point,
            rules=self.rules,
            language_field=self.language_field,
            vector_name=self.vector_name,
        )


def _cursor_in(key_range: KeyRange, cursor: str | None) -> str | None:
    return cursor if cursor is not None and cursor in key_range else None


def _size_bytes(row: tuple[models.PointStruct, Vector | None]) -> int:
    point, vector = row
    return payload_bytes(point.payload or {}) + _BYTES_PER_NUMBER * (
        0 if vector is None else len(vector)
    )
