"""Values that pass between packages: documents, hits, embeddings and the choices of commands."""

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
    "Condition",
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
"""Policy for a text over the token limit: it is cut and marked as truncated, its windows are
averaged, or it is refused."""

Role = Literal["query", "document"]
"""Role of a text in a search. The prompts differ, so the role must never be lost."""

Ordering = Literal["weak", "medium", "strong"]
"""Qdrant's write ordering, for replicated collections."""

Quantization = Literal["none", "turbo4", "turbo2", "scalar", "binary"]
"""Form of vectors in Qdrant's memory. ``turbo4`` is TurboQuant with 4 bits a number, an eighth of
float32."""

Route = Literal["transformers", "cohere"]
"""Module through which Weaviate calls the vectorizer service. ``transformers`` sends one text in a
request; ``cohere`` sends up to 96 and needs an API key, which may be any text."""

WeaviateQuantizer = Literal["none", "rq", "sq", "bq", "pq"]
"""Form of vectors in Weaviate's memory. Weaviate recommends ``rq`` (rotational, 8 bits)."""

WeaviateTokenization = Literal[
    "word", "whitespace", "lowercase", "field", "trigram", "gse", "gse_ch", "kagome_ja", "kagome_kr"
]
"""Rule by which Weaviate splits a text into words for keyword searches."""

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""Values that JSON can hold; parsed JSON has lists and dictionaries."""


@dataclass(frozen=True)
class Document:
    """A text that searches can find."""

    id: str
    """Stable id, chosen by the caller: writing the same id again replaces the document."""
    text: str
    metadata: Mapping[str, JSON] = field(default_factory=dict)
    """Fields that every hit of the document returns."""


@dataclass(frozen=True)
class Hit:
    """A document that a search found."""

    id: str
    score: float
    """Higher is nearer: cosine similarity from -1 to 1 plus a boost, or the fused ranks of a hybrid
    search."""
    text: str
    metadata: Mapping[str, JSON]


@dataclass(frozen=True)
class Condition:
    """A condition on a metadata field; :mod:`lusifer.stores.conditions` reads them from texts."""

    path: tuple[str, ...]
    """Name of the field; for one inside objects, their names before it."""
    operator: Literal["=", "!=", "<", "<=", ">", ">="]
    """Comparison. A field that is missing or of another type meets ``!=`` only."""
    value: JSON
    """Text, number or truth value; a list of allowed texts or whole numbers for ``=`` and ``!=``; a
    number or a date in ISO 8601 for a range."""


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search beyond the nearest vectors; every store applies all of them or refuses.

    Raises:
        InvalidInputError: A number is out of range, or options contradict each other.
    """

    where: Mapping[str, JSON] | Sequence[Condition] = field(default_factory=dict)
    """Conditions that all must hold, or values that metadata fields must have, by field; a list
    holds the allowed values. Nested fields have dots. A field that no document has is an error."""
    keywords: str | None = None
    """Words of a keyword search (BM25). Its ranking is fused with that of the vectors: a hybrid
    search."""
    languages: tuple[str, ...] = ()
    """Languages that are preferred, or required if ``language_boost`` is 0, as ``language_field``
    spells them."""
    language_field: str = "lang"
    """Metadata field that holds a document's language."""
    language_boost: float = 0.0
    """Number that is added to the score of documents in ``languages``; 0 leaves out all others."""
    group_by: str | None = None
    """Metadata field each value of which may occur in at most ``group_size`` hits, such as the
    document that passages belong to."""
    group_size: int = 1
    """Largest number of hits with the same value of ``group_by``."""

    def __post_init__(self) -> None:
        if self.group_size < 1:
            raise InvalidInputError(
                f"group_size is {self.group_size}, the least is 1.", next_step="Use at least 1."
            )
        if not 0 <= self.language_boost <= 1:
            raise InvalidInputError(
                f"The language boost is {self.language_boost}, it must be from 0 to 1.",
                next_step="Use a number from 0 to 1; 0.05 breaks near ties.",
            )
        if self.language_boost and not self.languages:
            raise InvalidInputError(
                "A language boost needs at least one language.",
                next_step="Name the languages to prefer.",
            )


@dataclass(frozen=True)
class Embedding:
    """The vector of one text, and how much of the text it covers."""

    vector: NDArray[np.float32]
    """Vector ``(D,)`` with unit norm."""
    tokens: int
    """Tokens that the model read in all windows, prompt and special tokens included."""
    truncated: bool
    """Whether the end of the text was cut off."""


@dataclass(frozen=True)
class Embeddings:
    """The vectors of N texts, in the order of the texts."""

    vectors: NDArray[np.float32]
    """Vectors ``(N, D)`` with unit norm."""
    tokens: tuple[int, ...]
    """Tokens that the model read of each text."""
    truncated: tuple[bool, ...]
    """Whether the end of each text was cut off."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> Embedding:
        return Embedding(self.vectors[index], self.tokens[index], self.truncated[index])

    def __iter__(self) -> Iterator[Embedding]:
        return (self[index] for index in range(len(self)))
