"""The texts of one request before and after the engine.

:func:`prepare` keeps each text once, looks it up in the cache and tokenises the rest.
:func:`finish` joins cached and computed vectors in the order of the request and fills the cache.
Both block, so the service calls them in a thread.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.iteration import chunked
from lusifer.common.validation import check_texts, vector_fault
from lusifer.embedding.batching import check_engine_output
from lusifer.service.cache import cache_key
from lusifer.types import Embedding, Embeddings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from lusifer.embedding.tokenization import TokenRows
    from lusifer.embedding.vectorizer import Vectorizer
    from lusifer.service.cache import VectorCache
    from lusifer.types import LongTextPolicy, Role

__all__ = ["PreparedTexts", "finish", "prepare"]

_LOG = logging.getLogger(__name__)

_SLICE_TEXTS = 512
_SLICE_CHARACTERS = 2**20
"""Bounds of what is checked and tokenised between two looks at whether the client is there."""


@dataclass(frozen=True)
class PreparedTexts:
    """The distinct texts of a request: embeddings of the cached ones, token rows of the others."""

    order: list[int]
    """Index among the distinct texts, for each text of the request."""
    found: list[Embedding | None]
    """Embedding of each distinct text from the cache, None for a text to compute."""
    keys: list[bytes]
    """Cache keys of the texts to compute."""
    rows: list[TokenRows]
    """Token rows of the texts to compute, in the order of ``keys``."""

    @property
    def tokens(self) -> int:
        """Number of tokens to compute."""
        return sum(row.tokens for row in self.rows)

    @property
    def repeated(self) -> int:
        """Number of the request's texts that are equal to an earlier one of it."""
        return len(self.order) - len(self.found)

    @property
    def cached(self) -> int:
        """Number of the request's texts that were found in the cache."""
        return sum(self.found[index] is not None for index in self.order)


def prepare(
    texts: Sequence[str],
    role: Role,
    dimension: int,
    long_text: LongTextPolicy,
    *,
    vectorizer: Vectorizer,
    cache: VectorCache | None,
    between: Callable[[], None] = lambda: None,
) -> PreparedTexts:
    """Check the texts, look them up in the cache and tokenise those that are not there.

    Args:
        texts: The texts of the request.
        role: Role of all texts.
        dimension: Length D of the vectors.
        long_text: Policy for texts over the token limit.
        vectorizer: Tokenises.
        cache: Holds earlier vectors.
        between: Called between two slices of the work. What it raises ends the work.

    Raises:
        InvalidTextError: A text can't be embedded. The message names its index in the request.
        TextTooLongError: The policy is ``error`` and a text is over the token limit.
    """
    # Before the cache, so that the message names the index in the request.
    first = 0
    for part in _slices(texts):
        between()
        check_texts(part, first=first)
        first += len(part)
    indices: dict[str, int] = {}
    order = [indices.setdefault(text, len(indices)) for text in texts]
    distinct = list(indices)
    found: list[Embedding | None] = [None] * len(distinct)
    if cache is not None:
        # First the key of texts within the limit, which most are. A longer text has one for each
        # policy.
        for policy in (None, long_text):
            missing = [index for index, hit in enumerate(found) if hit is None]
            keys = [
                cache_key(vectorizer.fingerprint, role, dimension, policy, distinct[index])
                for index in missing
            ]
            hits = _usable(cache.get_many(keys), dimension)
            for index, hit in zip(missing, hits, strict=True):
                found[index] = hit
    to_compute = [text for text, hit in zip(distinct, found, strict=True) if hit is None]
    rows: list[TokenRows] = []
    for part in _slices(to_compute):
        rows += vectorizer.tokenize(
            part, role, long_text=long_text, index_of=texts.index, between=between
        )
    return PreparedTexts(
        order,
        found,
        [
            cache_key(
                vectorizer.fingerprint, role, dimension, None if _fits(row) else long_text, text
            )
            for text, row in zip(to_compute, rows, strict=True)
        ],
        rows,
    )


def finish(
    prepared: PreparedTexts,
    computed: NDArray[np.float32],
    dimension: int,
    *,
    vectorizer: Vectorizer,
    cache: VectorCache | None,
) -> Embeddings:
    """Return the embeddings of the request in its order and store the computed ones.

    Args:
        prepared: The texts, as :func:`prepare` returned them.
        computed: ``(W, D_model)`` vectors of all windows of ``prepared.rows``.
        dimension: Length D of the vectors to return.
        vectorizer: Joins windows and shortens vectors.
        cache: Stores the computed embeddings.

    Raises:
        EngineOutputError: A vector has another dimension, is not finite or has no unit norm.
    """
    fresh = vectorizer.assemble(prepared.rows, computed, dimension=dimension)
    remaining = iter(fresh)
    distinct = [hit if hit is not None else next(remaining) for hit in prepared.found]
    answer = Embeddings(
        np.stack([distinct[index].vector for index in prepared.order]),
        tuple(distinct[index].tokens for index in prepared.order),
        tuple(distinct[index].truncated for index in prepared.order),
    )
    # The batcher has checked the engine's vectors. This checks the cache and our own arithmetic.
    check_engine_output(answer.vectors, len(prepared.order), dimension, "engine or the cache")
    if cache is not None:
        cache.put_many(list(zip(prepared.keys, fresh, strict=True)))
    return answer


def _usable(hits: list[Embedding | None], dimension: int) -> list[Embedding | None]:
    """Return the hits, without those whose vector is none of the model; they are computed again."""
    vectors = [hit.vector for hit in hits if hit is not None]
    if not vectors:
        return hits
    if all(vector.shape == (dimension,) for vector in vectors):
        together = np.stack(vectors)
        if vector_fault(together, len(vectors), dimension) is None:
            return hits
    usable = [
        None if hit is None or vector_fault(hit.vector[None], 1, dimension) else hit for hit in hits
    ]
    count = sum(hit is not None for hit in hits) - sum(hit is not None for hit in usable)
    _LOG.warning("%d vectors of the cache are damaged and are computed again", count)
    return usable


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    return chunked(texts, _SLICE_TEXTS, size=len, maximum_size=_SLICE_CHARACTERS)


def _fits(row: TokenRows) -> bool:
    return len(row.windows) == 1 and not row.truncated
