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

__all__ = ["JSON", "Document", "Hit", "Store", "check_document", "content_sha256"]

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
    """Cosine similarity, -1 to 1, higher is nearer."""
    text: str
    metadata: Mapping[str, JSON]


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

    def search(self, vector: NDArray[np.float32], limit: int) -> list[Hit]:
        """The ``limit`` nearest documents to a unit vector ``(D,)``, best first."""
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
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise _not_json(document, path, value)
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
