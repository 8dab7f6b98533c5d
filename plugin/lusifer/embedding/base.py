"""The contract of embedders, and the methods that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from lusifer.errors import LusiferError
    from lusifer.types import Embedding, Embeddings, Role

__all__ = ["BaseEmbedder", "Embedder"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors, in this process or through a service.

    :class:`lusifer.Vectorizer` and :class:`lusifer.embedding.remote.RemoteVectorizer` implement it.
    """

    @property
    def model_name(self) -> str:
        """Display name of the model."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of the model; vectors of different fingerprints must not be compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length D of the vectors."""
        ...

    @property
    def role_prompts(self) -> Mapping[str, str]:
        """Prompt that precedes a text, by role: ``query`` and ``document``."""
        ...

    def embed_query(self, text: str) -> Embedding:
        """Embed one query."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        """Embed N queries as vectors ``(N, D)``."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N documents as vectors ``(N, D)``."""
        ...

    def stream(
        self, texts: Iterable[str], role: Role, *, window: int = 512
    ) -> Iterator[Embedding | LusiferError]:
        """Embed any number of texts, in order; a text that can't be embedded yields its error."""
        ...

    def close(self) -> None:
        """Release threads, memory and connections."""
        ...


class BaseEmbedder(ABC):
    """Adds a method for each role and the context manager to :meth:`embed` and :meth:`close`."""

    @abstractmethod
    def embed(self, texts: Sequence[str], role: Role) -> Embeddings:
        """Embed N texts and return vectors ``(N, D)`` in their order."""

    @abstractmethod
    def close(self) -> None:
        """Release threads, memory and connections."""

    def embed_query(self, text: str) -> Embedding:
        """Embed one query; raises as :meth:`embed` does."""
        return self.embed([text], "query")[0]

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        """Embed N queries as vectors ``(N, D)``; raises as :meth:`embed` does."""
        return self.embed(texts, "query")

    def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed N documents as vectors ``(N, D)``; raises as :meth:`embed` does."""
        return self.embed(texts, "document")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
