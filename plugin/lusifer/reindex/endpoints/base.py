"""Interface of a database to re-embedding: a source of documents, a target for new vectors.

::

    source ── read ──▶ records without a current new vector ── embed ──▶ write ──▶ target
      ▲                                                                              │
      └──── present: which are still there? ◀── keys ◀── delete orphans ─────────────┘

Source and target are two collections behind an alias that applications ask, or one collection with
two named vectors ("in place"). Each database has one class for both.

A *version* says what the target holds for a document. It is the hash of the content. Where the
database allows it, an ``@`` follows, with something that sets this write apart from another write
of the same content: the time of the write, or ``copy`` where a copy carries a mark that no
application's write has. So a document that an application wrote is never taken for our copy, even
if the two are equal.

Applications may write to either side at any moment. :mod:`lusifer.reindex.snapshot` keeps what both
sides held when a document was last copied, so that a change of either can be told from the copy.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

from lusifer.common.language_detection import detect_language
from lusifer.stores.payloads import content_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.types import Document

__all__ = [
    "ALL_KEYS",
    "COPY_SUFFIX",
    "AnyMigration",
    "Cutover",
    "KeyRange",
    "Migration",
    "Page",
    "Record",
    "Source",
    "Target",
    "Vector",
    "canonical_sha256",
    "content_of",
    "document_record",
    "is_copy",
    "language_in",
    "title_of",
]

ContentT = TypeVar("ContentT")
ContentT_co = TypeVar("ContentT_co", covariant=True)

Vector: TypeAlias = "NDArray[np.float32]"
"""One vector ``(D,)``."""


@dataclass(frozen=True, slots=True)
class Record(Generic[ContentT_co]):
    """A document as its database stores it."""

    key: str
    """The database's own id."""
    sha256: str
    """Hash of everything that a reader of the document sees. Equal hashes need no new vector."""
    text: str
    """Text to embed; empty where there is none."""
    language: str
    title: str
    """Field ``title`` or ``name``, for the queries of the quality gate; empty without one."""
    content: ContentT_co = field(compare=False)
    """Content that the target needs to write the document: payload, other vectors, references."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys from ``first`` up to, not including, ``end``; an empty end is open."""

    first: str = ""
    end: str = ""

    def __contains__(self, key: str) -> bool:
        return (not self.first or key >= self.first) and (not self.end or key < self.end)


ALL_KEYS = KeyRange()

COPY_SUFFIX = "@copy"
"""End of a version in databases where every copy is marked as one."""


@dataclass(frozen=True, slots=True)
class Page(Generic[ContentT_co]):
    """Records that one call of :meth:`Source.read` returned."""

    records: Sequence[Record[ContentT_co]]
    cursor: str | None
    """Cursor of the next page; None at the end of the key range."""


class Source(Protocol[ContentT_co]):
    """Documents and their old vectors; applications may write while they are read."""

    def count(self) -> int:
        """Count the documents, exactly."""
        ...

    def count_without_vector(self) -> int:
        """Count the documents that no search finds because they have no vector."""
        ...

    def key_ranges(self, count: int) -> list[KeyRange]:
        """Split all keys into about ``count`` ranges of about the same size."""
        ...

    def sample(self, count: int, seed: int) -> Sequence[Record[ContentT_co]]:
        """Return at most ``count`` records from random places, in the order of their keys."""
        ...

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """Return the key of a document that ``lusifer index`` wrote.

        Raises:
            InvalidInputError: The collection has tenants and none is named.
        """
        ...

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[ContentT_co]:
        """Return at most ``limit`` records of a range from ``cursor`` on, in the order of keys.

        Records that are inserted before the cursor are left to the next pass.
        """
        ...

    def present(self, keys: Sequence[str]) -> set[str]:
        """Return those of the keys that are there."""
        ...

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Return content hashes of those documents that are there, computed from what is there."""
        ...

    def vectors(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Return the vectors ``(D,)`` of those documents that have one."""
        ...

    def nearest(
        self, vectors: Sequence[Vector], limit: int, tenant_keys: Sequence[str]
    ) -> Sequence[Sequence[Record[ContentT_co]]]:
        """Return the nearest documents for each vector ``(D,)``, best first.

        Args:
            vectors: Query vectors.
            limit: Documents for each vector, at most.
            tenant_keys: A key for each vector. In a collection with tenants, the tenant of this key
                is searched.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class Target(Source[ContentT], Protocol[ContentT]):
    """The place that new vectors are written to.

    In place, ``hashes`` and ``versions`` leave out the documents that lack a current new vector.
    """

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Return versions of those documents that are there, as noted when they were written."""
        ...

    def write(
        self, rows: Sequence[tuple[Record[ContentT], Vector | None]], expected: Mapping[str, str]
    ) -> dict[str, str]:
        """Write each record with its vector, unless the document changed since it was read.

        A changed document is skipped and left to the next pass. In place, it has changed if its
        hash is no longer the record's. In another collection, it has changed if its version is no
        longer the expected one.

        Args:
            rows: Records with their new vectors. None stands for a text that can't be embedded: the
                document is kept without a vector.
            expected: Versions by key. A document without one is expected to be absent.

        Returns:
            Versions that the written documents have now, by key. The hash in a version differs from
            the record's if the document could not be written whole yet; the next pass does so.
        """
        ...

    def keys(
        self, key_range: KeyRange, cursor: str | None, limit: int
    ) -> tuple[dict[str, str], str | None]:
        """Return keys with their versions, and the cursor of the next page."""
        ...

    def delete(self, versions: Mapping[str, str]) -> int:
        """Delete the documents that still have these versions; return how many were deleted."""
        ...

    def remove_copy_markers(self) -> None:
        """Remove what marks documents as copies, once no cutover needs it any more."""
        ...


class Cutover(Protocol):
    """Points applications at the source or at the target; each change is one atomic operation."""

    def prepare(self) -> bool:
        """Create the target, unless it is there; return whether it was created."""
        ...

    def is_live(self) -> bool:
        """Return whether applications see the target."""
        ...

    def activate(self) -> None:
        """Point applications at the target."""
        ...

    def deactivate(self) -> None:
        """Point applications at what they saw before."""
        ...

    def source_uses(self) -> Sequence[str]:
        """Return what would break or be lost if the source was deleted, one sentence each."""
        ...

    def remove_source(self) -> str:
        """Delete the source; return what was deleted, as text."""
        ...

    def remove_target(self) -> str:
        """Delete the target; return what was deleted, as text."""
        ...


def _do_nothing() -> None:
    return


def _advise_nothing() -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Migration(Generic[ContentT]):
    """A source, a target, and the cutover from one to the other."""

    source: Source[ContentT]
    target: Target[ContentT]
    cutover: Cutover
    in_place: bool = False
    """One collection with two vectors: there are no orphans, and nothing to reconcile."""
    searchable: bool = True
    """Whether the source can be searched and asked for documents by key; a file can't."""
    write_freeze: Callable[[], AbstractContextManager[None]] = nullcontext
    """Keeps applications from writing to the source at the cutover, where the database can."""
    source_hold: Callable[[], AbstractContextManager[None]] = nullcontext
    """Keeps applications from writing to the source until it is deleted, where the database can."""
    target_hold: Callable[[], AbstractContextManager[None]] = nullcontext
    """Keeps applications from writing to the target until it is deleted, where the database can."""
    advise: Callable[[], Sequence[str]] = _advise_nothing
    """Says what else must change for the side that applications see now, one sentence each."""
    release: Callable[[], None] = _do_nothing
    """Closes what source and target share."""

    @property
    def has_orphans(self) -> bool:
        """Whether the target can hold documents that no longer exist in the source."""
        return self.searchable and not self.in_place

    def close_endpoints(self) -> None:
        """Let other processes use source and target; both open again at the next call."""
        self.source.close()
        self.target.close()

    def close(self) -> None:
        """Release source, target and what they share."""
        self.close_endpoints()
        self.release()


AnyMigration: TypeAlias = Migration[Any]
"""A migration whose records are only passed on; which content they have depends on the database."""


def content_of(version: str) -> str:
    """Return the content hash in a version."""
    return version.partition("@")[0]


def is_copy(version: str) -> bool:
    """Return whether a version carries the mark that only copies have."""
    return version.endswith(COPY_SUFFIX)


def canonical_sha256(value: object) -> str:
    """Return the hash of a JSON value, regardless of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def title_of(fields: Mapping[str, object]) -> str:
    """Return a document's title, or an empty string."""
    named = fields.get("title") or fields.get("name")
    return named if isinstance(named, str) else ""


def language_in(fields: Mapping[str, object], name: str, text: str) -> str:
    """Return the language in a document's field ``name``, or detect it from the text."""
    named = fields.get(name)
    return named if isinstance(named, str) else detect_language(text)


def document_record(key: str, document: Document, language_field: str) -> Record[Document]:
    """Return the record of a document that ``lusifer index`` wrote, or would write."""
    fields = document.metadata
    language = language_in(fields, language_field, document.text)
    return Record(
        key, content_sha256(document), document.text, language, title_of(fields), document
    )
