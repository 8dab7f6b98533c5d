"""The contract of a vector store, and the base class of stores on a database server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, runtime_checkable

from lusifer.common.retry import RETRY_FOR_S, call_with_retry
from lusifer.errors import StoreError
from lusifer.stores.metadata import CollectionMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.types import Document, Hit, SearchOptions

__all__ = ["ClosingStore", "ServerStore", "Store"]

_Answer = TypeVar("_Answer")


@runtime_checkable
class Store(Protocol):
    """Keeps documents with their vectors and finds the nearest.

    Everything a returned ``upsert`` wrote survives the death of the process.
    """

    @property
    def fingerprint(self) -> str:
        """Identity of the model whose vectors are stored here."""
        ...

    @property
    def dimension(self) -> int:
        """Length D of every vector."""
        ...

    def count(self) -> int:
        """Return the number of documents."""
        ...

    def count_without_vector(self) -> int:
        """Return the number of documents that no search finds because they lack a vector.

        It is 0 unless others write too.
        """
        ...

    def text_of(self, document: Document) -> str:
        """Return the text to embed for a document; a database may join several of its fields."""
        ...

    def unchanged(self, documents: Iterable[Document]) -> set[str]:
        """Return the ids of documents whose stored text and metadata equal the given ones.

        Embedding them again adds nothing.
        """
        ...

    def upsert(self, documents: Sequence[Document], vectors: NDArray[np.float32]) -> None:
        """Insert or replace N documents with vectors ``(N, D)``.

        Of two documents with the same id the last one stays.

        Raises:
            InvalidInputError: A document or vector can't be stored; nothing was written.
            StorageFullError: No space is left; nothing was written.
        """
        ...

    def document_ids(self) -> Iterator[str]:
        """Yield the ids of all documents, without those that another program wrote."""
        ...

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents by their ids; return how many of them existed.

        Raises:
            StoreError: The store can't write; the same call again completes it.
        """
        ...

    def search(
        self, vector: NDArray[np.float32], limit: int, options: SearchOptions | None = None
    ) -> list[Hit]:
        """Return the ``limit`` nearest documents to a unit vector ``(D,)``, best first.

        Raises:
            InvalidInputError: The vector or the limit can't be used, or the store does not support
                an option.
        """
        ...

    def flush(self) -> None:
        """Make everything survive a power cut too."""
        ...

    def optimize(self) -> None:
        """Build what makes search fast; results are correct without it."""
        ...

    def close(self) -> None:
        """Flush and release the store; calling it twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class ClosingStore(ABC):
    """A store that a ``with`` statement closes."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release the store; calling it twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Client(Protocol):
    def close(self) -> object: ...


_ClientT = TypeVar("_ClientT", bound=_Client)
_MetadataT = TypeVar("_MetadataT", bound=CollectionMetadata)


class ServerStore(ClosingStore, Generic[_ClientT, _MetadataT]):
    """An open collection on a database server.

    Requests to a busy or unreachable server are retried; see
    :func:`lusifer.common.retry.call_with_retry`.

    Args:
        client: The vendor's client; closed with the store.
        metadata: What the collection says about the model that filled it.
        retry_for_s: Seconds for which a busy or absent server is retried.
    """

    def __init__(
        self, client: _ClientT, metadata: _MetadataT, *, retry_for_s: float = RETRY_FOR_S
    ) -> None:
        self.client = client
        self.metadata = metadata
        self.retry_for_s = retry_for_s
        self._closed = False

    @property
    def collection(self) -> str:
        """The collection's own name, never an alias."""
        return self.metadata.collection

    @property
    def fingerprint(self) -> str:
        """Identity of the model whose vectors are stored here."""
        return self.metadata.fingerprint

    @property
    def dimension(self) -> int:
        """Length D of every vector."""
        return self.metadata.dimension

    def flush(self) -> None:
        """Do nothing: the server's log has every acknowledged write."""

    def optimize(self) -> None:
        """Do nothing: the server builds its index by itself."""

    def close(self) -> None:
        """Close the client; calling it twice is fine."""
        self._closed = True
        self.client.close()

    @abstractmethod
    def _errors(self) -> AbstractContextManager[None]:
        """Return a context that turns the client's errors into ours."""

    def _ask(self, call: Callable[[], _Answer]) -> _Answer:
        """Run a call of the client that is safe to repeat, and retry it while that can help.

        Raises:
            StoreError: The store is closed, or the server refused or does not answer.
        """
        self._check_open()

        def attempt() -> _Answer:
            with self._errors():
                return call()

        return call_with_retry(attempt, retry_for_s=self.retry_for_s)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(
                f"The collection {self.collection} is closed.", next_step="Open it again."
            )
