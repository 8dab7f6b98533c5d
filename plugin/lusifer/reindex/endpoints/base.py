"""What re-embedding asks of a database: two sides, the old vectors and the new ones.

::

    old side ── read ──▶ records whose new vector is missing or of other content ── embed ──▶ new side
       ▲                                                                                        │
       └───────────── present: still there? ◀── keys ───────────── sweep: delete what is gone ───┘

Both sides are of one class for each database. They are two collections, with an alias that
applications ask, or one collection with two named vectors ("in place").

What the new side holds is known by *versions*: the hash of a document's content, and where the
database can tell, after an ``@``, what sets this writing of it apart from another of the same
content. With it a copy of ours is never taken for what an application wrote, be they equal to the
letter.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from lusifer.common.language_detection import detect_language
from lusifer.stores.payloads import content_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.types import Document

__all__ = [
    "EVERYTHING",
    "Migration",
    "Page",
    "Record",
    "Source",
    "Span",
    "Target",
    "canonical_sha256",
    "content_of",
    "document_record",
    "language_in",
    "parts",
    "title_of",
]

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Record:
    """A document as its database keeps it."""

    key: str
    """The database's own id."""
    sha256: str
    """Of everything a reader of the document sees: equal hashes, nothing to do."""
    text: str
    """What is embedded; empty where there is nothing to embed."""
    language: str
    title: str = ""
    """A field of that name, for the questions of the gate."""
    content: Any = field(compare=False, default=None)
    """What the new side needs to write it: payload, other vectors, references."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a collection: keys from ``first`` up to, not including, ``end``; empty means open."""

    first: str = ""
    end: str = ""

    def holds(self, key: str) -> bool:
        """Whether a key lies in it."""
        return (not self.first or key >= self.first) and (not self.end or key < self.end)


EVERYTHING = Span()


@dataclass(frozen=True, slots=True)
class Page:
    """What one reading gave."""

    records: list[Record]
    cursor: str | None
    """Where the next reading begins; None at the end of the span."""


@runtime_checkable
class Source(Protocol):
    """Where documents and their old vectors are; applications go on writing here."""

    def count(self) -> int:
        """Documents, exactly."""
        ...

    def count_without_vector(self) -> int:
        """Documents that no search finds, because they have no vector."""
        ...

    def spans(self, count: int) -> list[Span]:
        """The whole in ``count`` parts of about the same size."""
        ...

    def sample(self, count: int, seed: int) -> list[Record]:
        """At most ``count`` records from random places, in the order of their keys."""
        ...

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """The key of a document that ``lusifer index`` wrote.

        Raises:
            InvalidInputError: The side has tenants and none is named.
        """
        ...

    def read(self, span: Span, cursor: str | None, limit: int) -> Page:
        """At most ``limit`` records of a span in the order of their keys, from ``cursor`` on.

        Records that are inserted behind the cursor are left to the next pass.
        """
        ...

    def present(self, keys: Sequence[str]) -> set[str]:
        """Those that are there."""
        ...

    def vectors(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Vectors ``(D,)`` of those that have one."""
        ...

    def nearest(
        self, vectors: Sequence[NDArray[np.float32]], limit: int, beside: Sequence[str]
    ) -> list[list[Record]]:
        """For each vector ``(D,)`` the nearest documents, best first, without their content.

        ``beside`` has a key for each: where there are tenants, that document's tenant is searched.
        """
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


@runtime_checkable
class Target(Source, Protocol):
    """Where the new vectors go."""

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Content hash of those that are there, computed from what is there."""
        ...

    def versions(self, keys: Sequence[str]) -> dict[str, str]:
        """Version of those that are there, as they were marked when they were written."""
        ...

    def write(
        self,
        records: Sequence[Record],
        vectors: Sequence[NDArray[np.float32] | None],
        seen: Mapping[str, str],
    ) -> int:
        """Write each record with its vector, if the side still is as it was seen.

        A record is skipped, and left to the next pass, where its content changed meanwhile: in
        place, where its hash is no longer the record's; in another collection, where the version
        there is no longer the one in ``seen`` (absent: where somebody else inserted it). None
        stands for a text that can't be
        embedded: the document is kept without a vector.

        Returns:
            How many were written.
        """
        ...

    def keys(self, span: Span, cursor: str | None, limit: int) -> tuple[dict[str, str], str | None]:
        """Keys with their versions, and where the next reading begins."""
        ...

    def delete(self, seen: Mapping[str, str]) -> int:
        """Delete documents whose version still is the one that was seen; returns how many."""
        ...

    def unmark(self) -> None:
        """Take off the documents what marks them as copies, once no switch needs it any more."""
        ...


@runtime_checkable
class Switch(Protocol):
    """Lets applications see one side or the other; each change is one atomic operation."""

    def prepare(self) -> None:
        """Make the new side; doing it again changes nothing."""
        ...

    def shows_new(self) -> bool:
        """Whether applications see the new side."""
        ...

    def show_new(self) -> None:
        """Let applications see the new side."""
        ...

    def show_old(self) -> None:
        """Let applications see what they saw before."""
        ...

    def remove_old(self) -> str:
        """Delete the old side; returns what was deleted."""
        ...

    def remove_new(self) -> str:
        """Delete the new side; returns what was deleted."""
        ...


def _nothing() -> None:
    return


@dataclass(frozen=True)
class Migration:
    """Two sides and the switch between them."""

    old: Source
    new: Target
    switch: Switch
    in_place: bool = False
    """One collection, two vectors: nothing needs to be swept or brought over after the switch."""
    searchable: bool = True
    """Whether the old side can be searched and asked for documents by key; a file can't."""

    fence: Callable[[], AbstractContextManager[None]] = nullcontext
    """Keeps applications from writing while it is held, where the database can."""

    release: Callable[[], None] = _nothing
    """Closes what both sides share."""

    @property
    def sweeps(self) -> bool:
        """Whether documents can be left over on the new side."""
        return self.searchable and not self.in_place

    def close_sides(self) -> None:
        """Let other processes at both sides; they open again when they are used."""
        self.old.close()
        self.new.close()

    def close(self) -> None:
        """Release both sides and what they share."""
        self.close_sides()
        self.release()


def content_of(version: str) -> str:
    """The content hash in a version."""
    return version.partition("@")[0]


def canonical_sha256(value: Any) -> str:
    """Hash of JSON, the order of keys aside."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def title_of(fields: Mapping[str, Any]) -> str:
    """The title among a document's fields, or nothing."""
    named = fields.get("title") or fields.get("name")
    return named if isinstance(named, str) else ""


def language_in(fields: Mapping[str, Any], name: str, text: str) -> str:
    """The language that a document names in its field ``name``, or a guess from its text."""
    named = fields.get(name)
    return named if isinstance(named, str) else detect_language(text)


def document_record(key: str, document: Document, language_field: str) -> Record:
    """The record of a document that ``lusifer index`` wrote, or would write."""
    fields = document.metadata
    language = language_in(fields, language_field, document.text)
    return Record(
        key, content_sha256(document), document.text, language, title_of(fields), document
    )


def parts(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Runs of at most ``size`` items, in order."""
    return (items[start : start + size] for start in range(0, len(items), size))
