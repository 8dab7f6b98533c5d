"""What every embedder can do, in this process or behind a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from lusifer.errors import LusiferError
    from lusifer.types import Embedding, Embeddings, Role

__all__ = ["Embedder"]


@runtime_checkable
class Embedder(Protocol):
    """What :class:`lusifer.Vectorizer` and :class:`lusifer.embedding.remote.RemoteVectorizer` have in common."""

    @property
    def model_name(self) -> str:
        """The model's name for people."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity of the model."""
        ...

    @property
    def dimension(self) -> int:
        """Length D of the vectors."""
        ...

    @property
    def role_prompts(self) -> Mapping[str, str]:
        """What is put before a text of each role, ``query`` and ``document``."""
        ...

    def embed_query(self, text: str) -> Embedding:
        """Embed one question."""
        ...

    def embed_queries(self, texts: Sequence[str]) -> Embeddings:
        """Embed questions ``(N, D)``."""
        ...

    def embed_documents(self, texts: Sequence[str]) -> Embeddings:
        """Embed texts that may answer questions ``(N, D)``."""
        ...

    def stream(
        self, texts: Iterable[str], role: Role, *, window: int = 512
    ) -> Iterator[Embedding | LusiferError]:
        """Embed any number of texts, in order; a text that can't be embedded yields its error."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...
