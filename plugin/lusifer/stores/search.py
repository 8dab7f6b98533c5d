"""Parts common to searches of several stores: checks, groups, and the depth of a ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from lusifer.errors import InvalidInputError
from lusifer.stores.conditions import parse_path
from lusifer.stores.payloads import check_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from lusifer.types import JSON, Hit, SearchOptions

__all__ = ["RRF_K", "candidates", "check_search", "group_hits", "search_deeper", "value_at"]

RRF_K = 60
"""Rank constant of reciprocal rank fusion; 60 as in Cormack, Clarke and Büttcher (SIGIR 2009)."""


def candidates(limit: int) -> int:
    """Return how many hits each half of a fusion, or a language boost, looks at."""
    return max(100, 5 * limit)


def check_search(
    vector: NDArray[np.float32] | None,
    limit: int,
    options: SearchOptions,
    *,
    dimension: int,
    keywords: bool,
    where: str,
) -> None:
    """Refuse a search that can't be done as asked.

    Args:
        vector: ``(D,)``; None where the database has the query embedded.
        limit: Hits, or groups, at most.
        options: Filters, keywords and groups.
        dimension: D of the collection.
        keywords: Whether the collection can be searched by keywords.
        where: The collection, for the error.

    Raises:
        InvalidDimensionError: The vector has another dimension than the collection.
        InvalidInputError: The vector holds NaN, the limit is below 1, there are no keywords to
            search, or a language boost is combined with them.
    """
    if limit < 1:
        raise InvalidInputError(f"The limit is {limit}.", next_step="Ask for at least 1 hit.")
    if vector is not None:
        check_vectors(np.asarray(vector)[None], dimension, where)
    if options.keywords is None:
        return
    if not keywords:
        raise InvalidInputError(
            f"{where} was made without keywords, so there is nothing for a hybrid search to fuse.",
            next_step="Search without keywords, or index into a collection made with --keywords.",
        )
    if options.language_boost:
        raise InvalidInputError(
            "A language boost is added to cosine similarities, and a hybrid search has none.",
            next_step="Leave the boost out and filter by language, or search without keywords.",
        )


def search_deeper(
    search: Callable[[int], list[Hit]],
    limit: int,
    options: SearchOptions,
    *,
    depth: int,
    kinds: Collection[type],
) -> list[Hit]:
    """Search deeper and deeper until there are enough hits, or nothing more is found.

    For databases that can't group or boost by themselves.

    Args:
        search: Returns the best hits, without groups, by how many at most.
        limit: Hits, or groups, at most.
        options: The field and size of a group.
        depth: Hits of the first search at most; each further one looks 4 times as deep.
        kinds: Types of a value that forms a group; see :func:`group_hits`.
    """
    wanted = limit * (options.group_size if options.group_by is not None else 1)
    while True:
        found = search(depth)
        hits = group_hits(found, limit, options, kinds)
        if len(hits) >= wanted or len(found) < depth:
            return hits
        depth *= 4


def group_hits(
    hits: list[Hit], limit: int, options: SearchOptions, kinds: Collection[type]
) -> list[Hit]:
    """Return the best hits of the best groups, group after group; without groups, the best hits.

    Args:
        hits: Best first.
        limit: Groups at most; without groups, hits at most.
        options: The field and size of a group.
        kinds: Types of a value that forms a group. A hit whose field is missing or of another type
            belongs to no group.
    """
    if options.group_by is None:
        return hits[:limit]
    groups: dict[object, list[Hit]] = {}
    for hit in hits:
        value = value_at(hit.metadata, options.group_by)
        if type(value) in kinds:
            group = groups.setdefault(value, [])
            if len(group) < options.group_size:
                group.append(hit)
    return [hit for group in list(groups.values())[:limit] for hit in group]


def value_at(metadata: JSON, path: str) -> JSON:
    """Return a field of the metadata, with dots for one inside an object; None without one."""
    for name in parse_path(path):
        metadata = metadata.get(name) if isinstance(metadata, Mapping) else None
    return metadata
