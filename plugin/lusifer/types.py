"""The values that pass between packages: documents, hits, embeddings, and the choices that commands
offer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from lusifer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "JSON",
    "Document",
    "Embedding",
    "Embeddings",
    "Hit",
    "LongTextPolicy",
    "Ordering",
    "Quantization",
    "Role",
    "Route",
    "SearchOptions",
    "WeaviateQuantizer",
    "WeaviateTokenization",
]

LongTextPolicy = Literal["truncate", "mean_of_windows", "error"]
"""What happens to a text over the token limit: cut it and say so, average its windows, or refuse
it."""

Role = Literal["query", "document"]
"""A question, or a text that may answer one. The prompts differ, so the role must never be lost."""

Ordering = Literal["weak", "medium", "strong"]
"""Qdrant's write ordering, for replicated collections."""

Quantization = Literal["none", "turbo4", "turbo2", "scalar", "binary"]
"""How Qdrant keeps vectors in memory. ``turbo4`` is TurboQuant with 4 bits a number, an eighth of
float32."""

Route = Literal["transformers", "cohere"]
"""The module through which Weaviate reaches our service: one text a request, or 96 and any key."""

WeaviateQuantizer = Literal["none", "rq", "sq", "bq", "pq"]
"""How Weaviate keeps vectors in memory: ``rq`` (rotational, 8 bits) is its own default advice."""

WeaviateTokenization = Literal[
    "word", "whitespace", "lowercase", "field", "trigram", "gse", "gse_ch", "kagome_ja", "kagome_kr"
]
"""How Weaviate cuts a text into words for keyword searches."""

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
    """Higher is nearer: cosine similarity, -1 to 1, plus a boost; of a hybrid search, the fused
    ranks."""
    text: str
    metadata: Mapping[str, JSON]


@dataclass(frozen=True)
class SearchOptions:
    """What a search does beyond finding the nearest vectors; every store understands all of it or refuses.

    Raises:
        InvalidInputError: Numbers out of range, or options that contradict each other.
    """

    where: Mapping[str, JSON] = field(default_factory=dict)
    """Metadata field (nested ones with dots) to the value it must have, or a list of values it may
    have. All fields must match."""
    keywords: str | None = None
    """Words for a keyword search (BM25) whose ranking is fused with that of the vectors: a hybrid
    search."""
    languages: tuple[str, ...] = ()
    """Languages preferred, or demanded where ``language_boost`` is 0, as they stand in
    ``language_field``."""
    language_field: str = "lang"
    """Metadata field that holds a document's language."""
    language_boost: float = 0.0
    """Added to the score of documents in ``languages``; 0 leaves out all others."""
    group_by: str | None = None
    """Metadata field of which each value may come at most ``group_size`` times, such as the
    document that passages belong to."""
    group_size: int = 1

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise InvalidInputError(
                f"group_size is {self.group_size}.", next_step="Use at least 1."
            )
        if not 0 <= self.language_boost <= 1:
            raise InvalidInputError(
                f"The language boost is {self.language_boost}, scores lie between -1 and 1.",
                next_step="Use a number from 0 to 1; 0.05 breaks near ties.",
            )
        if self.language_boost and not self.languages:
            raise InvalidInputError(
                "A language boost without a language.", next_step="Name the languages to prefer."
            )


@dataclass(frozen=True)
class Embedding:
    """The vector of one text, and how much of the text is in it."""

    vector: NDArray[np.float32]
    """``(D,)``, unit norm."""
    tokens: int
    """Tokens fed to the model, prompt and special tokens included, over all windows."""
    truncated: bool
    """Whether the end of the text was cut off."""


@dataclass(frozen=True)
class Embeddings:
    """The vectors of N texts, in the order of the texts."""

    vectors: NDArray[np.float32]
    """``(N, D)``, unit norm."""
    tokens: tuple[int, ...]
    truncated: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> Embedding:
        return Embedding(self.vectors[index], self.tokens[index], self.truncated[index])

    def __iter__(self) -> Iterator[Embedding]:
        return (self[index] for index in range(len(self)))
