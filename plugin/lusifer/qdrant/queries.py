"""What a search asks of Qdrant, as arguments of the client's query calls.

::

    dense      nearest to the question's vector
    hybrid     prefetch dense and BM25, fused by reciprocal ranks
    boost      prefetch dense, score + boost where the language is one of the preferred
    groups     any of these, a few hits for each value of a field
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.errors import InvalidInputError
from lusifer.qdrant.connection import import_client
from lusifer.qdrant.filters import build_filter, language_condition
from lusifer.qdrant.keywords import BM25_MODEL
from lusifer.qdrant.points import KEYWORD_VECTOR, hit_of
from lusifer.stores.payloads import check_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.qdrant.metadata import CollectionMetadata
    from lusifer.types import Hit, SearchOptions

__all__ = ["RRF_K", "candidates", "check_search", "hits_of", "query_arguments"]

RRF_K = 60
"""Rank constant of the fusion; 60 as in Cormack, Clarke and Büttcher (SIGIR 2009)."""


def candidates(limit: int) -> int:
    """Hits that each half of a fusion, or a boost, looks at."""
    return max(100, 5 * limit)


def check_search(
    vector: NDArray[np.float32],
    limit: int,
    options: SearchOptions,
    *,
    dimension: int,
    keywords: KeywordOptions | None,
    where: str,
) -> None:
    """Refuse a search that can't be done as asked.

    Raises:
        InvalidDimensionError: The vector has another dimension than the collection.
        InvalidInputError: The vector holds NaN, the limit is below 1, there are no keywords to
            search, or a boost is combined with them.
    """
    if limit < 1:
        raise InvalidInputError(f"The limit is {limit}.", next_step="Ask for at least 1 hit.")
    check_vectors(np.asarray(vector)[None], dimension, where)
    if options.keywords is not None:
        if keywords is None:
            raise InvalidInputError(
                f"{where} was made without keywords, so there is nothing for a hybrid search to fuse.",
                next_step="Search without keywords, or index into a collection made with --keywords.",
            )
        if options.language_boost:
            raise InvalidInputError(
                "A language boost is added to cosine similarities, which a hybrid search does not have.",
                next_step="Leave the boost out and filter by language, or search without keywords.",
            )


def query_arguments(
    card: CollectionMetadata, vector: NDArray[np.float32], limit: int, options: SearchOptions
) -> dict[str, Any]:
    """Arguments of ``query_points``, or of ``query_points_groups`` where ``group_by`` is among them.

    Args:
        card: Of the collection.
        vector: ``(D,)``.
        limit: Hits, or groups.
        options: What else is asked for.

    Raises:
        InvalidInputError: As :func:`check_search`.
    """
    models = import_client().models
    where = f"The collection {card.collection}"
    check_search(
        vector, limit, options, dimension=card.dimension, keywords=card.keywords, where=where
    )
    wanted = build_filter(models, options)
    dense = np.asarray(vector, dtype=np.float32).tolist()
    arguments: dict[str, Any] = {
        "collection_name": card.collection,
        "limit": limit,
        "with_payload": True,
    }
    depth = candidates(limit * (options.group_size if options.group_by else 1))
    # The filter belongs into each prefetch: after the fusion it would thin out what was found.
    near = models.Prefetch(query=dense, using=card.vector_name, limit=depth, filter=wanted)
    if options.keywords is not None and card.keywords is not None:
        words = models.Document(
            text=options.keywords, model=BM25_MODEL, options=card.keywords.bm25()
        )
        arguments["prefetch"] = [
            near,
            models.Prefetch(query=words, using=KEYWORD_VECTOR, limit=depth, filter=wanted),
        ]
        arguments["query"] = models.RrfQuery(rrf=models.Rrf(k=RRF_K))
    elif options.language_boost:
        arguments["prefetch"] = [near]
        boost = models.MultExpression(
            mult=[options.language_boost, language_condition(models, options)]
        )
        arguments["query"] = models.FormulaQuery(
            formula=models.SumExpression(sum=["$score", boost])
        )
    else:
        arguments |= {"query": dense, "using": card.vector_name, "query_filter": wanted}
    if options.group_by is not None:
        arguments |= {"group_by": f"metadata.{options.group_by}", "group_size": options.group_size}
    return arguments


def hits_of(answer: Any, collection: str) -> list[Hit]:
    """Hits of a ``QueryResponse``, or of a ``GroupsResult`` group after group.

    Raises:
        IndexCorruptError: A point is not that of a document.
    """
    if hasattr(answer, "groups"):
        found = [point for group in answer.groups for point in group.hits]
    else:
        found = list(answer.points)
    return [hit_of(point, f"the collection {collection}") for point in found]
