"""The embedded store: a new collection of the same folder, and an alias of our own.

An embedded index belongs to one process at a time. So the old one is opened for each reading and
let go before anything is embedded: applications come in between, and are waited for.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.errors import IndexLockedError
from lusifer.reindex.endpoints.base import Page, Record, Span, document_record
from lusifer.reindex.endpoints.key_ranges import places, sampled, uuid_cursors, uuid_spans
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from lusifer.embedded.collections import EmbeddedCollections
    from lusifer.embedded.store import EmbeddedStore
    from lusifer.qdrant.keywords import KeywordOptions

__all__ = ["EmbeddedSide", "EmbeddedSwitch"]

_WINDOWS_AT_ONCE = 8
"""Opening and closing a large index takes most of a second. What changes while these windows are
embedded, the next pass finds."""


class EmbeddedSide:
    """A collection of a folder.

    Args:
        collections: The folder.
        name: Of the collection, not an alias.
        language_field: Metadata field with the language of a document.
        keep_open: Whether it stays open between calls; only where no application uses it.
        retry_for_s: How long another process that has it open is waited for.
    """

    def __init__(
        self,
        collections: EmbeddedCollections,
        name: str,
        *,
        language_field: str = "lang",
        keep_open: bool = False,
        retry_for_s: float = 120.0,
    ) -> None:
        self.collections = collections
        self.name = name
        self.language_field = language_field
        self.keep_open = keep_open
        self.retry_for_s = retry_for_s
        self._kept: EmbeddedStore | None = None
        self._ahead: tuple[str, list[tuple[str, dict[str, Any]]], str | None] | None = None

    def count(self) -> int:
        """Documents, exactly."""
        with self._store() as store:
            return store.count()

    def count_without_vector(self) -> int:
        """Documents that lack a vector."""
        with self._store() as store:
            return store.count_without_vector()

    def spans(self, count: int) -> list[Span]:
        """Ranges of point ids, which are UUIDs made by hashing."""
        return uuid_spans(count)

    def sample(self, count: int, seed: int) -> list[Record]:
        """Records from random places."""
        with self.held():
            return sampled(self.read, uuid_cursors(places(count), seed), self.count(), count, seed)

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """The point id of a document; there are no tenants."""
        return document_uuid(document_id)

    def read(self, span: Span, cursor: str | None, limit: int) -> Page:
        """See :class:`lusifer.reindex.endpoints.base.Source`; several windows are read at one opening."""
        begin = cursor or span.first or None
        if cursor is None or self._ahead is None or self._ahead[0] != begin:
            with self._store() as store:
                found, following = store.read(begin, limit * _WINDOWS_AT_ONCE)
            items = list(found.items())
        else:
            _, items, following = self._ahead
        taken, rest = items[:limit], items[limit:]
        after = rest[0][0] if rest else following
        self._ahead = (after, rest, following) if rest and after is not None else None
        records = [self._record(key, payload) for key, payload in taken if span.holds(key)]
        return Page(records, after if after is not None and span.holds(after) else None)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Those that are there."""
        with self._store() as store:
            return set(store.retrieve(keys, fields=["sha256"]))

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Content hash of the documents that are there."""
        with self._store() as store:
            found = store.retrieve(keys)
        return {key: self._record(key, payload).sha256 for key, (payload, _) in found.items()}

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """The stored content hash: nobody can write between the last pass and the switch."""
        with self._store() as store:
            return _hashes(store, keys)

    def vectors(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors ``(D,)`` of those that have one."""
        with self._store() as store:
            found = store.retrieve(keys, fields=False, vectors=True)
        return {key: vector for key, (_, vector) in found.items() if vector is not None}

    def nearest(
        self, vectors: Sequence[NDArray[np.float32]], limit: int, beside: Sequence[str]
    ) -> list[list[Record]]:
        """For each vector the nearest documents, best first."""
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
        self,
        records: Sequence[Record],
        vectors: Sequence[NDArray[np.float32] | None],
        seen: Mapping[str, str],
    ) -> int:
        """See :class:`lusifer.reindex.endpoints.base.Target`; the lock makes comparing and writing one step."""
        with self._store() as store:
            now = _hashes(store, [record.key for record in records])
            chosen = [
                (record.content, vector)
                for record, vector in zip(records, vectors, strict=True)
                if now.get(record.key) == seen.get(record.key)
            ]
            embedded = [(document, vector) for document, vector in chosen if vector is not None]
            if embedded:
                store.upsert(
                    [document for document, _ in embedded], np.stack([v for _, v in embedded])
                )
            if bare := [document for document, vector in chosen if vector is None]:
                store.insert_without_vector(bare)
            return len(chosen)

    def keys(self, span: Span, cursor: str | None, limit: int) -> tuple[dict[str, str], str | None]:
        """Keys with their versions, and where the next reading begins."""
        with self._store() as store:
            found, following = store.read(cursor or span.first or None, limit, fields=["sha256"])
        hashes = {
            key: str(payload.get("sha256")) for key, payload in found.items() if span.holds(key)
        }
        return hashes, following if following is not None and span.holds(following) else None

    def delete(self, seen: Mapping[str, str]) -> int:
        """Delete documents whose version still is the one that was seen."""
        with self._store() as store:
            now = _hashes(store, list(seen))
            return store.delete_points(
                [key for key, sha256 in seen.items() if now.get(key) == sha256]
            )

    def unmark(self) -> None:
        """Nothing was added."""

    def close(self) -> None:
        """Let other processes in."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    @contextmanager
    def held(self) -> Iterator[None]:
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
        end_s = time.monotonic() + self.retry_for_s
        while True:
            try:
                return self.collections.open(self.name)
            except IndexLockedError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(random.uniform(0.01, 0.1))  # noqa: S311

    def _record(self, key: str, payload: Mapping[str, Any]) -> Record:
        document = Document(str(payload["id"]), str(payload["text"]), payload.get("metadata") or {})
        return document_record(key, document, self.language_field)


class EmbeddedSwitch:
    """An alias of the folder.

    Args:
        collections: The folder.
        alias: What applications name.
        old: The collection with the old vectors; None where the documents come from elsewhere.
        new: The collection with the new ones.
        fingerprint: Of the new model.
        model: Its name for people.
        dimension: Length D of its vectors.
        keywords: Of the new collection.
    """

    def __init__(
        self,
        collections: EmbeddedCollections,
        *,
        alias: str,
        old: str | None,
        new: str,
        fingerprint: str,
        model: str,
        dimension: int,
        keywords: KeywordOptions | None,
    ) -> None:
        self.collections = collections
        self.alias = alias
        self.old = old
        self.new = new
        self._made_for = {"fingerprint": fingerprint, "model": model, "dimension": dimension}
        self._keywords = keywords

    def prepare(self) -> None:
        """Make the new collection."""
        from lusifer.embedded.store import EmbeddedStore

        path = self.collections.root / "collections" / self.new
        fields: dict[str, Any] = {**self._made_for, "keywords": self._keywords}
        EmbeddedStore.open_or_create(path, **fields).close()

    def shows_new(self) -> bool:
        """Whether the alias means the new collection."""
        return self.collections.aliases().get(self.alias) == self.new

    def show_new(self) -> None:
        """Let the alias mean the new collection."""
        self.collections.set_alias(self.alias, self.new)

    def show_old(self) -> None:
        """Let the alias mean the old collection, or nothing where there was none."""
        if self.old is not None:
            self.collections.set_alias(self.alias, self.old)
        elif self.alias in self.collections.aliases():
            self.collections.delete_alias(self.alias)

    def remove_old(self) -> str:
        """Delete the old collection."""
        if self.old is None:
            return "nothing"
        return self._remove(self.old)

    def remove_new(self) -> str:
        """Delete the new collection."""
        return self._remove(self.new)

    def _remove(self, name: str) -> str:
        if name not in self.collections.names():
            return "nothing"
        self.collections.delete(name)
        return f"the collection {name}"


def _hashes(store: EmbeddedStore, keys: Sequence[str]) -> dict[str, str]:
    found = store.retrieve(keys, fields=["sha256"])
    return {key: str(payload.get("sha256")) for key, (payload, _) in found.items()}
