"""A collection of the embedded store as a source or target.

An embedded index belongs to one process at a time. So the source is opened for each read and closed
before anything is embedded: applications can use it in between, and reads wait for them.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.retry import call_with_retry
from lusifer.qdrant.points import COPY_HASH
from lusifer.reindex.endpoints.base import COPY_SUFFIX, Page, document_record
from lusifer.reindex.endpoints.key_ranges import (
    cursor_count,
    sample_records,
    uuid_cursors,
    uuid_ranges,
)
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from filelock import FileLock

    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.embedded.store import EmbeddedStore
    from lusifer.reindex.endpoints.base import KeyRange, Record, Vector

__all__ = ["EmbeddedEndpoint"]

_PAGES_AT_ONCE = 8
"""Opening and closing a large index takes most of a second, so several pages are read at one
opening. What changes while they are embedded, the next pass finds."""
_HASHES = ["sha256", COPY_HASH]
"""Payload fields that a version is made of."""
_FIRST_DELAY_S = 0.01
_LONGEST_DELAY_S = 0.1


@dataclass(frozen=True)
class _ReadAhead:
    """Points that were read and not returned yet."""

    begin: str
    """Cursor of the first one."""
    points: list[tuple[str, Mapping[str, object]]]
    """Keys and payloads."""
    following: str | None
    """Cursor after the last one."""


@dataclass(eq=False)
class EmbeddedEndpoint:
    """A collection of a folder."""

    collections: EmbeddedCollections
    """The folder."""
    name: str
    """Name of the collection, not an alias; empty for the index of the folder itself."""
    language_field: str = "lang"
    """Metadata field with the language of a document."""
    keep_open: bool = False
    """Whether the collection stays open between calls; only where no application uses it."""
    retry_for_s: float = 120.0
    """Seconds to wait for another process that has it open."""
    _kept: EmbeddedStore | None = field(default=None, init=False)
    _ahead: _ReadAhead | None = field(default=None, init=False)

    def count(self) -> int:
        """Count the documents, exactly."""
        with self._store() as store:
            return store.count()

    def count_without_vector(self) -> int:
        """Count the documents that lack a vector."""
        with self._store() as store:
            return store.count_without_vector()

    def key_ranges(self, count: int) -> list[KeyRange]:
        """Split the point ids, which are UUIDs made by hashing."""
        return uuid_ranges(count)

    def sample(self, count: int, seed: int) -> list[Record[Document]]:
        """Return records from random places."""
        with self.frozen():
            cursors = uuid_cursors(cursor_count(count), seed)
            return sample_records(self.read, cursors, self.count(), count, seed)

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """Return the point id of a document; there are no tenants."""
        return document_uuid(document_id)

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[Document]:
        """Return the next records; eight pages are read at one opening."""
        begin = cursor or key_range.first or None
        ahead = self._ahead
        if cursor is None or ahead is None or ahead.begin != begin:
            ahead = self._read_ahead(begin, limit * _PAGES_AT_ONCE)
        taken, rest = ahead.points[:limit], ahead.points[limit:]
        after = rest[0][0] if rest else ahead.following
        self._ahead = _ReadAhead(after, rest, ahead.following) if rest and after else None
        records = [self._record(key, payload) for key, payload in taken if key in key_range]
        return Page(records, after if after is not None and after in key_range else None)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that are there."""
        with self._store() as store:
            return set(store.retrieve(keys, fields=["sha256"]))

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of the documents that are there."""
        with self._store() as store:
            found = store.retrieve(keys)
        return {key: self._record(key, payload).sha256 for key, (payload, _) in found.items()}

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the stored content hashes; those of copies are marked."""
        with self._store() as store:
            return _stored_versions(store, keys)

    def vectors(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors ``(D,)`` of those documents that have one."""
        with self._store() as store:
            found = store.retrieve(keys, fields=False, vectors=True)
        return {key: vector for key, (_, vector) in found.items() if vector is not None}

    def nearest(
        self, vectors: Sequence[Vector], limit: int, tenant_keys: Sequence[str]
    ) -> list[list[Record[Document]]]:
        """Return the nearest documents for each vector, best first."""
        with self._store() as store:
            found = [store.search(vector, limit) for vector in vectors]
        return [
            [
                document_record(
                    document_uuid(hit.id),
                    Document(hit.id, hit.text, hit.metadata),
                    self.language_field,
                )
                for hit in hits
            ]
            for hits in found
        ]

    def write(
        self, rows: Sequence[tuple[Record[Document], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        """Write documents of the expected version; the lock makes it one step with comparing."""
        with self._store() as store:
            now = _stored_versions(store, [record.key for record, _ in rows])
            chosen = [row for row in rows if now.get(row[0].key) == expected.get(row[0].key)]
            embedded = [(each.content, vector) for each, vector in chosen if vector is not None]
            if embedded:
                vectors = np.stack([vector for _, vector in embedded])
                store.upsert([document for document, _ in embedded], vectors, copies=True)
            if bare := [each.content for each, vector in chosen if vector is None]:
                store.insert_without_vector(bare, copies=True)
            return {record.key: record.sha256 + COPY_SUFFIX for record, _ in chosen}

    def keys(
        self, key_range: KeyRange, cursor: str | None, limit: int
    ) -> tuple[dict[str, str], str | None]:
        """Return keys with their versions, and the cursor of the next page."""
        with self._store() as store:
            begin = cursor or key_range.first or None
            found, following = store.read(begin, limit, fields=_HASHES)
        versions = {key: _version(payload) for key, payload in found.items() if key in key_range}
        return versions, following if following is not None and following in key_range else None

    def delete(self, versions: Mapping[str, str]) -> int:
        """Delete the documents that still have these versions."""
        with self._store() as store:
            now = _stored_versions(store, list(versions))
            return store.delete_points(
                [key for key, version in versions.items() if now.get(key) == version]
            )

    def remove_copy_markers(self) -> None:
        """Delete the mark from the payloads of copies."""
        with self._store() as store:
            store.remove_copy_markers()

    def close(self) -> None:
        """Close the collection, so that other processes can open it."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def detach(self) -> FileLock | None:
        """Close the collection, and return its lock if it was open; the caller releases it."""
        kept, self._kept = self._kept, None
        return None if kept is None else kept.detach()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep the collection open, so that no other process can write to it."""
        before, self.keep_open = self.keep_open, True
        try:
            with self._store():
                yield
        finally:
            self.keep_open = before
            if not before:
                self.close()

    @contextmanager
    def _store(self) -> Iterator[EmbeddedStore]:
        if self._kept is not None:
            yield self._kept
            return
        store = self._open()
        if self.keep_open:
            self._kept = store
            yield store
            return
        with store:
            yield store

    def _open(self) -> EmbeddedStore:
        from lusifer.embedded.store import EmbeddedStore

        return call_with_retry(
            lambda: EmbeddedStore.open(self.collections.folder(self.name)),
            retry_for_s=self.retry_for_s,
            first_delay_s=_FIRST_DELAY_S,
            longest_delay_s=_LONGEST_DELAY_S,
            # Up to ten retries a second, and no fault: the other process is an application.
            log_level=logging.DEBUG,
        )

    def _read_ahead(self, begin: str | None, limit: int) -> _ReadAhead:
        with self._store() as store:
            found, following = store.read(begin, limit)
        return _ReadAhead(begin or "", list(found.items()), following)

    def _record(self, key: str, payload: Mapping[str, object]) -> Record[Document]:
        metadata = payload.get("metadata")
        fields = metadata if isinstance(metadata, dict) else {}
        document = Document(str(payload["id"]), str(payload["text"]), fields)
        return document_record(key, document, self.language_field)


def _stored_versions(store: EmbeddedStore, keys: Sequence[str]) -> dict[str, str]:
    found = store.retrieve(keys, fields=_HASHES)
    return {key: _version(payload) for key, (payload, _) in found.items()}


def _version(payload: Mapping[str, object]) -> str:
    copied = payload.get(COPY_HASH)
    return f"{copied}{COPY_SUFFIX}" if copied else str(payload.get("sha256"))
