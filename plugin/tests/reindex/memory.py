"""Source, target and cutover in dictionaries, for tests without a database."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from lusifer.reindex.endpoints.base import KeyRange, Migration, Page, document_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lusifer.reindex.endpoints.base import Record, Vector
    from lusifer.types import Document


class MemoryEndpoint:
    """Documents by id. The version of a copy ends in ``@copy``, that of an application's write does not."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.stored_vectors: dict[str, Vector] = {}
        self.noted: dict[str, str] = {}
        self.closed = 0

    def put(self, document: Document, vector: Sequence[float] | Vector | None = None) -> None:
        """Write as an application."""
        self._store(document, None if vector is None else np.asarray(vector, dtype=np.float32))
        self.noted[document.id] = self.record(document.id).sha256

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
    ) -> int:
        chosen = [row for row in rows if self.noted.get(row[0].key) == expected.get(row[0].key)]
        for record, vector in chosen:
            self._store(record.content, vector)
            self.noted[record.key] = f"{record.sha256}@copy"
        return len(chosen)

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
        self.noted = {key: version.partition("@")[0] for key, version in self.noted.items()}

    def close(self) -> None:
        self.closed += 1

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
        self.calls: list[str] = []
        self.uses: list[str] = []

    def prepare(self) -> None:
        self.calls.append("prepare")

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


def memory_migration() -> tuple[MemoryEndpoint, MemoryEndpoint, Migration[Document]]:
    """Return an empty source, an empty target, and their migration."""
    source, target = MemoryEndpoint(), MemoryEndpoint()
    return source, target, Migration(source, target, MemoryCutover())
