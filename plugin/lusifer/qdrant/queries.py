"""Searches in an open collection, as query calls of the client.

::

    dense      nearest to the query vector
    hybrid     prefetch dense and BM25, fused by reciprocal ranks
    boost      prefetch dense, score + boost where the language is one of the preferred
    groups     any of these, a few hits for each value of a field
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.qdrant.connection import client_errors, import_client
from lusifer.qdrant.filters import (
    build_filter,
    field_key,
    language_condition,
    question_filter,
)
from lusifer.qdrant.points import KEYWORD_VECTOR, hit_of, keyword_document
from lusifer.stores.conditions import answer_questions, check_fields, needs_check, parse_path
from lusifer.stores.search import RRF_K, candidates, check_search

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from qdrant_client import QdrantClient
    from qdrant_client.models import Filter, GroupsResult, QueryResponse, Record

    from lusifer.qdrant.metadata import CollectionMetadata
    from lusifer.stores.conditions import Question
    from lusifer.types import JSON, Hit, SearchOptions

__all__ = [
    "find",
    "hits_of",
    "metadata_of",
    "query_arguments",
    "question_arguments",
    "without_vector",
]


def query_arguments(
    metadata: CollectionMetadata, vector: NDArray[np.float32], limit: int, options: SearchOptions
) -> dict[str, Any]:  # keyword arguments of many types, which only Any passes on
    """Return arguments of ``query_points``.

    Where ``group_by`` is among them they are for ``query_points_groups``.

    Args:
        metadata: What the collection says about its model.
        vector: ``(D,)``.
        limit: Hits, or groups, at most.
        options: Filters, keywords and groups.

    Raises:
        InvalidInputError: As :func:`lusifer.stores.search.check_search`.
    """
    models = import_client().models
    check_search(
        vector,
        limit,
        options,
        dimension=metadata.dimension,
        keywords=metadata.keywords is not None,
        where=f"The collection {metadata.collection}",
    )
    wanted = build_filter(models, options)
    dense = np.asarray(vector, dtype=np.float32).tolist()
    arguments: dict[str, Any] = {
        "collection_name": metadata.collection,
        "limit": limit,
        "with_payload": True,
    }
    depth = candidates(limit * (options.group_size if options.group_by else 1))
    # The filter belongs into each prefetch: after the fusion it would thin out what was found.
    near = models.Prefetch(query=dense, using=metadata.vector_name, limit=depth, filter=wanted)
    if options.keywords is not None and metadata.keywords is not None:
        words = keyword_document(options.keywords, metadata.keywords, "query")
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
        arguments |= {"query": dense, "using": metadata.vector_name, "query_filter": wanted}
    if options.group_by is not None:
        arguments |= {
            "group_by": field_key(parse_path(options.group_by)),
            "group_size": options.group_size,
        }
    return arguments


def hits_of(answer: QueryResponse | GroupsResult, metadata: CollectionMetadata) -> list[Hit]:
    """Return the hits of an answer, of groups one group after the other.

    Raises:
        IndexCorruptError: A point is not that of a document.
    """
    if hasattr(answer, "groups"):
        found = [point for group in answer.groups for point in group.hits]
    else:
        found = list(answer.points)
    where = f"the collection {metadata.collection}"
    return [hit_of(point, where, metadata.rules) for point in found]


def without_vector(vector_name: str) -> Filter:
    """Return the filter for points that lack a named vector, which no search of ours finds."""
    models = import_client().models
    lacking: Filter = models.Filter(must_not=[models.HasVectorCondition(has_vector=vector_name)])
    return lacking


def find(
    client: QdrantClient,
    metadata: CollectionMetadata,
    vector: NDArray[np.float32],
    limit: int,
    options: SearchOptions,
) -> list[Hit]:
    """Return the nearest documents of an open collection to a vector ``(D,)``, best first.

    Raises:
        InvalidDimensionError: The vector has another dimension than the collection.
        InvalidInputError: The vector, the limit or an option can't be used, or no document has a
            field of a condition.
        IndexCorruptError: A point found was not written as a document.
        StoreError: The server refused or does not answer.
    """
    arguments = query_arguments(metadata, vector, limit, options)
    call = client.query_points_groups if "group_by" in arguments else client.query_points
    with client_errors(metadata.collection):
        hits = hits_of(call(**arguments), metadata)
        if needs_check(options, found=bool(hits)):
            answer_questions(
                check_fields(options),
                lambda question: metadata_of(
                    client.scroll(**question_arguments(metadata.collection, question))
                ),
            )
    return hits


def question_arguments(
    collection: str, question: Question
) -> dict[str, Any]:  # keyword arguments of many types, which only Any passes on
    """Return arguments of ``scroll`` that answer a question about a collection's documents."""
    wanted, limit = question_filter(import_client().models, question)
    return {
        "collection_name": collection,
        "scroll_filter": wanted,
        "limit": limit,
        "with_payload": ["metadata"],
        "with_vectors": False,
    }


def metadata_of(answer: tuple[Sequence[Record], object]) -> list[Mapping[str, JSON]]:
    """Return the metadata of the points that a scroll found."""
    return [
        metadata
        for record in answer[0]
        if isinstance(metadata := (record.payload or {}).get("metadata"), dict)
    ]
