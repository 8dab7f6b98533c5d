"""Cutover between two named vectors of the same documents ("in place").

The collection's metadata names the vector that applications use.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from lusifer.common.iteration import chunked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lusifer.reindex.endpoints.base import Record, Vector
    from lusifer.stores.metadata import CollectionMetadata

__all__ = ["NamedVectorCutover", "NamedVectorTarget"]

_ROWS_AT_ONCE = 32
"""Documents that are compared and then written. Qdrant applies 32 points as one chunk. Weaviate
compares just before it writes, one object after the other."""

_Content = TypeVar("_Content")


_MetadataT = TypeVar("_MetadataT", bound="CollectionMetadata")


class NamedVectorTarget(ABC, Generic[_Content]):
    """The new vector of documents that are there already: the target in place."""

    @abstractmethod
    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of those documents whose new vector is there."""

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the content hashes: in place there are no copies to distinguish."""
        return self.hashes(keys)

    def write(
        self, rows: Sequence[tuple[Record[_Content], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        """Write the vectors of those documents whose content did not change since it was read."""
        made = [(record, vector) for record, vector in rows if vector is not None]
        written: set[str] = set()
        for chunk in chunked(made, _ROWS_AT_ONCE):
            written |= self._write_vectors(chunk)
        return {record.key: record.sha256 for record, _ in made if record.key in written}

    @abstractmethod
    def _write_vectors(self, rows: Sequence[tuple[Record[_Content], Vector]]) -> set[str]:
        """Write the vectors of unchanged documents; return the keys of those that were written."""


@dataclass(eq=False, kw_only=True)
class NamedVectorCutover(ABC, Generic[_MetadataT]):
    """The collection's metadata, which names the vector in use."""

    source: _MetadataT
    """Metadata as it was planned."""
    target: _MetadataT
    """Metadata with the new vector's name and model."""

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self.target.collection

    @abstractmethod
    def prepare(self) -> bool:
        """Add the named vector, which is empty at first; return whether it was added."""

    def is_live(self) -> bool:
        """Return whether the metadata names the new vector."""
        return self._read_metadata().vector_name == self.target.vector_name

    def activate(self) -> None:
        """Write the metadata of the new vector, in one operation."""
        self._write_metadata(self.target)

    def deactivate(self) -> None:
        """Write the metadata of the old vector, in one operation."""
        self._write_metadata(self.source)

    def source_uses(self) -> Sequence[str]:
        """Return what would break or be lost if the source was deleted, one sentence each."""
        return ()

    def remove_source(self) -> str:
        """Delete the old vector from all documents; return what was deleted."""
        return self._delete_vector(self.source.vector_name)

    def remove_target(self) -> str:
        """Delete the new vector from all documents; return what was deleted."""
        return self._delete_vector(self.target.vector_name)

    @abstractmethod
    def _read_metadata(self) -> _MetadataT:
        """Return the metadata that the collection has now."""

    @abstractmethod
    def _write_metadata(self, metadata: _MetadataT) -> None:
        """Replace the collection's metadata."""

    @abstractmethod
    def _delete_vector(self, vector_name: str) -> str:
        """Delete a named vector; return what was deleted, as text."""
