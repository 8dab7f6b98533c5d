"""Find hubs in a live collection: documents that come first for far too many queries.

Two kinds of queries are made from a sample of documents: their first words, if the model that
filled the collection is at hand, and their stored vectors. Hubs are mostly short texts, which come
first for short queries and not for whole documents.
"""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lusifer.common.hubness import find_hubs
from lusifer.common.language_detection import detect_language
from lusifer.stores.diagnostics import Diagnostic, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.common.hubness import Hub
    from lusifer.embedding.base import Embedder

__all__ = ["FEWEST_DOCUMENTS", "SAMPLED", "HubSearch", "StoredText", "examine_hubs", "uuid_places"]

SAMPLED = 400
"""Documents in the sample: with so many, a document that is first for 10 % of them is a hub."""
FEWEST_DOCUMENTS = 100
"""Smaller collections have no hubs that their readers do not know."""
NEIGHBOURS = 3
"""Hits that are read for each query: the document itself, a duplicate, and another one."""
_WORDS = 12
_CHARACTERS = 48
_SHOWN = 3
_SHOWN_CHARACTERS = 60
_PER_PLACE = 8


@dataclass(frozen=True)
class StoredText:
    """A document of the sample, or a hit."""

    key: str
    """Id of the document as people know it."""
    text: str
    """Text of the document."""
    vector: NDArray[np.float32] | None = None
    """Stored vector ``(D,)``; None for a hit."""


class HubSearch(Protocol):
    """Searches a collection for its doctor."""

    def sample(self) -> Sequence[StoredText]:
        """Return at most :data:`SAMPLED` documents that have a vector, from random places."""
        ...

    def nearest(
        self, vectors: Sequence[NDArray[np.float32]], limit: int
    ) -> Sequence[Sequence[StoredText]]:
        """Return the nearest documents for each vector ``(D,)``, best first."""
        ...


def uuid_places() -> list[str]:
    """Draw random ids to read a sample of documents from, eight at each; equal at every call."""
    chooser = random.Random(0)  # noqa: S311
    return [str(uuid.UUID(int=chooser.getrandbits(128))) for _ in range(SAMPLED // _PER_PLACE)]


def examine_hubs(
    search: HubSearch, documents: int, embedder: Embedder | None
) -> Iterator[Diagnostic]:
    """Report documents that are the first hit of an implausible share of the queries.

    The document that a query was made from does not count, and neither does a duplicate of it.

    Args:
        search: Searches the collection.
        documents: Number of documents in the collection; below 100 nothing is reported.
        embedder: The model that filled the collection, for queries from first words; None uses the
            stored vectors only.
    """
    if documents < FEWEST_DOCUMENTS:
        return
    sample = search.sample()
    kinds: dict[str, Sequence[NDArray[np.float32]]] = {
        "stored vectors": [each.vector for each in sample if each.vector is not None]
    }
    if embedder is not None and sample:
        queries = [_first_words(each.text) or each.key for each in sample]
        kinds["first words"] = list(embedder.embed_queries(queries).vectors)
    found: dict[str, tuple[str, Hub]] = {}
    texts: dict[str, str] = {}
    for kind, vectors in kinds.items():
        # A query of first words that finds its document says nothing. Of a stored vector, the
        # nearest document is always itself: the next one counts.
        skips_itself = kind == "stored vectors"
        first: dict[str, list[str | None]] = defaultdict(list)
        for asked, hits in zip(sample, search.nearest(vectors, NEIGHBOURS), strict=True):
            wrong = _first_other(asked, hits, skips_itself=skips_itself)
            first[detect_language(asked.text)].append(wrong.key if wrong else None)
            if wrong:
                texts[wrong.key] = wrong.text
        for hub in find_hubs(first, documents):
            known = found.get(hub.key)
            if known is None or hub.queries * known[1].of > known[1].queries * hub.of:
                found[hub.key] = (kind, hub)
    if not found:
        yield ok("hubs", f"no document comes first for too many of {len(sample)} sampled queries")
    for kind, hub in list(found.values())[:_SHOWN]:
        language = f" in {hub.language}" if hub.language else ""
        yield warning(
            "hubs",
            f"Document {hub.key} ({texts[hub.key][:_SHOWN_CHARACTERS]!r}) comes first for "
            f"{hub.queries} of {hub.of} queries{language} that it does not answer, made from the "
            f"{kind} of sampled documents; {hub.allowed} would be plausible.",
            "Delete the document if it says nothing, or re-embed with a model whose vectors are "
            "centred: lusifer reindex.",
        )
    if len(found) > _SHOWN:
        yield warning("hubs", f"{len(found) - _SHOWN} more documents do.", "Fix the first ones.")


def _first_other(
    asked: StoredText, hits: Sequence[StoredText], *, skips_itself: bool
) -> StoredText | None:
    for hit in hits:
        if hit.key != asked.key and hit.text != asked.text:
            return hit
        if not skips_itself:
            return None
    return None


def _first_words(text: str) -> str:
    """Return the beginning of a text as a query; scripts without spaces are cut by characters."""
    words = text.split()
    return (" ".join(words[:_WORDS]) if len(words) > _WORDS // 2 else text[:_CHARACTERS]).strip()
