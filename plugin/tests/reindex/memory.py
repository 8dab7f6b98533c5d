"""Source, target and cutover in dictionaries, for tests without a database."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lusifer.errors import StoreError
from lusifer.reindex.endpoints.base import (
    COPY_SUFFIX,
    KeyRange,
    Migration,
    Page,
    document_record,
)
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lusifer.reindex.endpoints.base import Record, Vector


class MemoryEndpoint:
    """Documents by id.

    The version of a copy ends in ``@copy``, that of an application's write does not.

    Args:
        clock: Every version ends in the time of the write instead, and copies have no mark.
    """

    def __init__(self, *, clock: bool = False) -> None:
        self.clock = itertools.count() if clock else None
        self.documents: dict[str, Document] = {}
        self.stored_vectors: dict[str, Vector] = {}
        self.noted: dict[str, str] = {}
        self.closed = 0

    def put(self, document: Document, vector: Sequence[float] | Vector | None = None) -> None:
        """Write as an application."""
        self._store(document, None if vector is None else np.asarray(vector, dtype=np.float32))
        self.noted[document.id] = self._version(self.record(document.id).sha256, "")

    def edit(self, document: Document) -> None:
        """Replace a document's content, and leave its vector and version."""
        self.documents[document.id] = document

    def remove(self, key: str) -> None:
        del self.documents[key]
        self.stored_vectors.pop(key, None)
        self.noted.pop(key, None)

    def record(self, key: str) -> Record[Document]:
        return document_record(key, self.documents[key], "lang")

    def count(self) -> int:
        return len(self.documents)

    def count_without_vector(self) -> int:
        return len(self.documents) - len(self.stored_vectors)

    def key_ranges(self, count: int) -> list[KeyRange]:
        keys = sorted(self.documents)
        edges = ["", *(keys[index * len(keys) // count] for index in range(1, count)), ""]
        return [KeyRange(first, end) for first, end in itertools.pairwise(edges)]

    def sample(self, count: int, seed: int) -> list[Record[Document]]:
        return [self.record(key) for key in sorted(self.documents)[:count]]

    def key_of(self, document_id: str, tenant: str = "") -> str:
        return f"{tenant}/{document_id}" if tenant else document_id

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[Document]:
        keys, following = self._page(key_range, cursor, limit)
        return Page([self.record(key) for key in keys], following)

    def present(self, keys: Sequence[str]) -> set[str]:
        return set(keys) & set(self.documents)

    def vectors(self, keys: Sequence[str]) -> dict[str, Vector]:
        return {key: self.stored_vectors[key] for key in keys if key in self.stored_vectors}

    def nearest(
        self, vectors: Sequence[Vector], limit: int, tenant_keys: Sequence[str]
    ) -> list[list[Record[Document]]]:
        found = []
        for vector in vectors:
            scores = {key: float(each @ vector) for key, each in self.stored_vectors.items()}
            best = sorted(scores, key=lambda key: (-scores[key], key))
            found.append([self.record(key) for key in best[:limit]])
        return found

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: self.record(key).sha256 for key in keys if key in self.documents}

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: self.noted[key] for key in keys if key in self.noted}

    def write(
        self, rows: Sequence[tuple[Record[Document], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        chosen = [row for row in rows if self.noted.get(row[0].key) == expected.get(row[0].key)]
        for record, vector in chosen:
            self._store(record.content, vector)
            self.noted[record.key] = self._version(record.sha256, COPY_SUFFIX)
        return {record.key: self.noted[record.key] for record, _ in chosen}

    def keys(
        self, key_range: KeyRange, cursor: str | None, limit: int
    ) -> tuple[dict[str, str], str | None]:
        keys, following = self._page(key_range, cursor, limit)
        return {key: self.noted[key] for key in keys}, following

    def delete(self, versions: Mapping[str, str]) -> int:
        unchanged = [key for key, version in versions.items() if self.noted.get(key) == version]
        for key in unchanged:
            self.remove(key)
        return len(unchanged)

    def remove_copy_markers(self) -> None:
        if self.clock is None:
            self.noted = {key: version.partition("@")[0] for key, version in self.noted.items()}

    def close(self) -> None:
        self.closed += 1

    def _version(self, sha256: str, mark: str) -> str:
        return sha256 + mark if self.clock is None else f"{sha256}@{next(self.clock)}"

    def _store(self, document: Document, vector: Vector | None) -> None:
        self.documents[document.id] = document
        self.stored_vectors.pop(document.id, None)
        if vector is not None:
            self.stored_vectors[document.id] = vector

    def _page(
        self, key_range: KeyRange, cursor: str | None, limit: int
    ) -> tuple[list[str], str | None]:
        begin = cursor or key_range.first
        keys = [key for key in sorted(self.documents) if key >= begin and key in key_range]
        return keys[:limit], keys[limit] if len(keys) > limit else None


class MemoryCutover:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.live = False
        self.prepared = False
        self.calls: list[str] = []
        self.uses: list[str] = []

    def prepare(self) -> bool:
        self.calls.append("prepare")
        created, self.prepared = not self.prepared, True
        return created

    def is_live(self) -> bool:
        return self.live

    def activate(self) -> None:
        self.calls.append("activate")
        self.live = True

    def deactivate(self) -> None:
        self.calls.append("deactivate")
        self.live = False

    def source_uses(self) -> list[str]:
        return self.uses

    def remove_source(self) -> str:
        return "the source"

    def remove_target(self) -> str:
        return "the target"


def memory_migration(
    *, clock: bool = False
) -> tuple[MemoryEndpoint, MemoryEndpoint, Migration[Document]]:
    """Return an empty source, an empty target, and their migration."""
    source, target = MemoryEndpoint(clock=clock), MemoryEndpoint(clock=clock)
    return source, target, Migration(source, target, MemoryCutover())


class MemoryCollection:
    """One collection with vectors named ``old`` and ``new``, for re-embedding in place.

    An application writes a document with one of them, and the other one is gone.
    """

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.vectors: dict[str, dict[str, Vector]] = {"old": {}, "new": {}}

    def put(self, key: str, text: str, name: str, vector: Vector) -> None:
        """Write as an application."""
        self.put_document(Document(key, text, {"lang": "en", "title": text}), name, vector)

    def put_document(self, document: Document, name: str, vector: Vector) -> None:
        """Write as an application."""
        self.remove(document.id)
        self.documents[document.id] = document
        self.vectors[name][document.id] = vector

    def remove(self, key: str) -> None:
        """Delete as an application."""
        for each in (self.documents, *self.vectors.values()):
            each.pop(key, None)

    def migration(self, source: str, target: str) -> Migration[Document]:
        """Return the migration from one vector to the other."""
        return Migration(
            _VectorEndpoint(self, source, lacking=target),
            _VectorEndpoint(self, target),
            MemoryCutover(),
            in_place=True,
        )


class _VectorEndpoint(MemoryEndpoint):
    """One vector of a collection.

    Args:
        collection: The collection.
        name: Name of the vector.
        lacking: Only documents that lack this vector are read.
    """

    def __init__(self, collection: MemoryCollection, name: str, lacking: str | None = None) -> None:
        super().__init__()
        self.documents = collection.documents
        self.stored_vectors = collection.vectors[name]
        self.hidden = {} if lacking is None else collection.vectors[lacking]

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[Document]:
        page = super().read(key_range, cursor, limit)
        return Page([each for each in page.records if each.key not in self.hidden], page.cursor)

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        return super().hashes([key for key in keys if key in self.stored_vectors])

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        return self.hashes(keys)

    def write(
        self, rows: Sequence[tuple[Record[Document], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        written = {}
        for record, vector in rows:
            now = self.documents.get(record.key)
            if vector is not None and now == record.content:
                self.stored_vectors[record.key] = vector
                written[record.key] = record.sha256
        return written


class MemoryWorld:
    """Two collections and an alias; see :class:`plugin.tests.reindex_world.World`."""

    in_place = False
    holds = ("old", "new")

    def __init__(self, *, clock: bool) -> None:
        self.source, self.target, made = memory_migration(clock=clock)
        self.cutover = made.cutover
        self.held: str | None = None

    def migration(self) -> Migration[Document]:
        return Migration(
            self.source,
            self.target,
            self.cutover,
            source_hold=lambda: self._hold("old"),
            target_hold=lambda: self._hold("new"),
        )

    @contextmanager
    def _hold(self, side: str) -> Iterator[None]:
        self.held = side
        try:
            yield
        finally:
            self.held = None

    def write(self, document: Document, vector: Vector, side: str) -> None:
        self._writable(side).put(document, vector)

    def delete(self, document_id: str, side: str) -> None:
        self._writable(side).remove(document_id)

    def everything(self, side: str) -> dict[str, tuple[Document, Vector | None]]:
        found = self._side(side)
        return {
            key: (document, found.stored_vectors.get(key))
            for key, document in found.documents.items()
        }

    def close(self) -> None:
        """Do nothing."""

    def _writable(self, side: str) -> MemoryEndpoint:
        if self.held == side:
            raise StoreError("Held.", next_step="Write later.")
        return self._side(side)

    def _side(self, side: str) -> MemoryEndpoint:
        return self.source if side == "old" else self.target


class MemoryVectorWorld:
    """One collection, two vectors."""

    in_place = True
    holds = ()

    def __init__(self) -> None:
        self.collection = MemoryCollection()
        self.cutover = MemoryCutover()

    def migration(self, *, backwards: bool = False) -> Migration[Document]:
        names = ("new", "old") if backwards else ("old", "new")
        return replace(self.collection.migration(*names), cutover=self.cutover)

    def write(self, document: Document, vector: Vector, side: str) -> None:
        self.collection.put_document(document, side, vector)

    def delete(self, document_id: str, side: str) -> None:
        self.collection.remove(document_id)

    def everything(self, side: str) -> dict[str, tuple[Document, Vector | None]]:
        vectors = self.collection.vectors[side]
        return {
            key: (document, vectors.get(key)) for key, document in self.collection.documents.items()
        }

    def close(self) -> None:
        """Do nothing."""
