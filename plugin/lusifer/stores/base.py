"""The contract of a vector store, and the documents and hits that go in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.types import Document, Hit, SearchOptions

__all__ = ["Store"]


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
            InvalidInputError: The vector or the limit can't be used, or the store can't do what is
                asked.
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...
