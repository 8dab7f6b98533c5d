"""The contract of a vector store, and the documents and hits that go in and out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from lusifer.errors import InvalidInputError
from lusifer.texts import check_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["JSON", "Document", "Hit", "SearchOptions", "Store", "check_document", "content_sha256"]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What JSON can hold; lists and dictionaries come back as such."""


@dataclass(frozen=True)
class Document:
    """A text to be found."""

    id: str
    """Chosen by the caller and stable: writing the same id again replaces the document."""
    text: str
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    """Comes back with every hit."""


@dataclass(frozen=True)
class Hit:
    """A document that answers a search."""

    id: str
    score: float
    """Higher is nearer: cosine similarity, -1 to 1, plus a boost; of a hybrid search, the fused ranks."""
    text: str
    metadata: Mapping[str, JSON]


@dataclass(frozen=True)
class SearchOptions:
    """What a search does beyond finding the nearest vectors; every store understands all of it or refuses.

    Raises:
        InvalidInputError: Numbers out of range, or options that contradict each other.
    """

    where: Mapping[str, JSON] = field(default_factory=dict)
    """Metadata field (nested ones with dots) to the value it must have, or a list of values it may have.
    All fields must match."""
    keywords: str | None = None
    """Words for a keyword search (BM25) whose ranking is fused with that of the vectors: a hybrid search."""
    languages: tuple[str, ...] = ()
    """Languages preferred, or demanded where ``language_boost`` is 0, as they stand in ``language_field``."""
    language_field: str = "lang"
    """Metadata field that holds a document's language."""
    language_boost: float = 0.0
    """Added to the score of documents in ``languages``; 0 leaves out all others."""
    group_by: str | None = None
    """Metadata field of which each value may come at most ``group_size`` times, such as the document that
    passages belong to."""
    group_size: int = 1

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise InvalidInputError(f"group_size is {self.group_size}.", next_step="Use at least 1.")
        if not 0 <= self.language_boost <= 1:
            raise InvalidInputError(
                f"The language boost is {self.language_boost}, scores lie between -1 and 1.",
                next_step="Use a number from 0 to 1; 0.05 breaks near ties.",
            )
        if self.language_boost and not self.languages:
            raise InvalidInputError(
                "A language boost without a language.", next_step="Name the languages to prefer."
            )


@runtime_checkable
class Store(Protocol):
    """Keeps documents with their vectors and finds the nearest.

    Everything a returned ``upsert`` wrote survives the death of the process.
    """

    @property
    def fingerprint(self) -> str:
        """Identity of the model whose vectors lie here."""
        ...

    @property
    def dimension(self) -> int:
        """Length D of every vector."""
        ...

    def count(self) -> int:
        """Number of documents."""
        ...

    def count_without_vector(self) -> int:
        """Number of documents that no search finds because they lack a vector: 0 unless others write too."""
        ...

    def text_of(self, document: Document) -> str:
        """The text to embed for a document; a database may join several of its fields."""
        ...

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Ids whose stored text and metadata equal the given ones: embedding them again adds nothing."""
        ...

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``; of two with the same id the last one stays.

        Raises:
            InvalidInputError: A document or vector can't be stored; nothing was written.
            StorageFullError: No room; nothing was written.
        """
        ...

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """The ``limit`` nearest documents to a unit vector ``(D,)``, best first.

        Raises:
            InvalidInputError: The vector or the limit can't be used, or the store can't do what is asked.
        """
        ...

    def flush(self) -> None:
        """Make everything survive a power cut too."""
        ...

    def optimize(self) -> None:
        """Build what makes search fast; searches are right without it."""
        ...

    def close(self) -> None:
        """Flush and release; calling it twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


def content_sha256(document: Document) -> str:
    """Hash of text and metadata, the order of keys aside: equal hashes, nothing to write again."""
    canonical = json.dumps(
        [document.text, document.metadata], sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def check_document(document: Document) -> None:
    """Refuse a document that would not come back as it went in.

    Raises:
        InvalidInputError: The id is empty or not clean text, or the metadata is not JSON.
        InvalidTextError: The text can't be embedded.
    """
    try:
        check_text(document.id)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"The document id {document.id!r} can't be used: {error.message}",
            next_step="Give it a readable id.",
        ) from error
    check_text(document.text)
    if not isinstance(document.metadata, dict):
        raise _not_json(document, "metadata", document.metadata)
    _check_json(document, "metadata", document.metadata)


def _check_json(document: Document, path: str, value: object) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_json(document, path, key if isinstance(key, str) else _Refused(key))
            _check_json(document, f"{path}.{key}", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(document, f"{path}[{index}]", item)
    elif isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate
            raise _not_json(document, path, value) from None
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        # Stores keep 64 bits; a larger number would silently come back as a rounded float.
        if not -(2**63) <= value < 2**63:
            raise _not_json(document, path, value)
    elif not isinstance(value, float) or value - value != 0:  # NaN and infinities
        raise _not_json(document, path, value)


@dataclass(frozen=True)
class _Refused:
    key: object


def _not_json(document: Document, path: str, value: object) -> InvalidInputError:
    return InvalidInputError(
        f"Document {document.id!r}: {path} holds {value!r} ({type(value).__name__}), which JSON or "
        "a store's 64-bit numbers can't keep.",
        next_step="Convert it to a string, a 64-bit integer or a finite number.",
    )
