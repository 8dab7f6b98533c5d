"""Searches of an open Weaviate collection, by a vector or by a text that the server has embedded.

Weaviate can't add a language boost to a score, and its own groups can't be combined with one. Both
are made here from a ranking that is read deeper until it is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias, TypedDict

import numpy as np
from pydantic import BaseModel

from lusifer.stores.conditions import parse_path
from lusifer.stores.search import check_search, search_deeper, value_at
from lusifer.types import JSON, Hit, SearchOptions
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.filters import build_filters, check_properties, wanted_conditions
from lusifer.weaviate.metadata import data_types
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY
from lusifer.weaviate.text_composition import property_name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from weaviate.classes.query import FilterReturn
    from weaviate.collections import Collection
    from weaviate.collections.classes.types import WeaviateProperties
    from weaviate.outputs.config import CollectionConfig
    from weaviate.outputs.query import Object

    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["Query", "find"]

Query: TypeAlias = "NDArray[np.float32] | str"
"""A vector ``(D,)``, or a text that the server has embedded by its module."""

_ALPHA = 0.5
"""Weight of the vectors in a hybrid search: both rankings count alike, as in the other stores."""

_GROUPING = (bool, int, float, str)
"""Types of a value that forms a group."""


class _RequestOptions(TypedDict):
    """Arguments common to all search requests."""

    filters: FilterReturn | None
    limit: int
    target_vector: str


def find(
    handle: Collection,
    config: CollectionConfig,
    metadata: CollectionMetadata,
    query: Query,
    limit: int,
    options: SearchOptions,
) -> list[Hit]:
    """Search an open collection.

    Args:
        handle: The collection or one of its tenants.
        config: Its configuration.
        metadata: Its metadata.
        query: What to search for.
        limit: Number of hits, or of groups.
        options: Filters, hybrid search, languages, groups.

    Raises:
        InvalidDimensionError: The vector has another dimension than the collection.
        InvalidInputError: The vector, the limit or an option can't be used.
        StoreError: The server refused or does not answer.
    """
    check_search(
        None if isinstance(query, str) else query,
        limit,
        options,
        dimension=metadata.dimension,
        keywords=True,
        where=f"The collection {config.name}",
    )
    options = replace(
        options,
        where=wanted_conditions(replace(options, languages=(), language_boost=0.0)),
        language_field=property_name(options.language_field),
        group_by=options.group_by and property_name(options.group_by),
    )
    wanted = wanted_conditions(options)
    further = [options.group_by, options.language_field if options.language_boost else None]
    fields = [parse_path(name)[0] for name in further if name is not None]
    named = {each.path[0] for each in wanted} | set(fields)
    if not named <= {each.name for each in config.properties}:
        # Weaviate adds properties by itself when objects have new ones.
        with client_errors(config.name):
            config = handle.config.get()
    filters = build_filters(wanted, data_types(config))
    check_properties(fields, data_types(config))

    def ranked(depth: int) -> list[Hit]:
        return _boosted(_request(handle, metadata, query, depth, options, filters), options)

    if options.group_by is None and not options.language_boost:
        return ranked(limit)
    depth = max(100, 4 * limit * options.group_size)
    return search_deeper(ranked, limit, options, depth=depth, kinds=_GROUPING)


def _request(
    handle: Collection,
    metadata: CollectionMetadata,
    query: Query,
    limit: int,
    options: SearchOptions,
    filters: list[FilterReturn],
) -> list[Hit]:
    """Send one search request and return its hits, best first."""
    from weaviate.classes.query import Filter, HybridFusion, HybridVector, MetadataQuery

    common: _RequestOptions = {
        "filters": Filter.all_of(filters) if filters else None,
        "limit": limit,
        "target_vector": metadata.vector_name,
    }
    distance = MetadataQuery(distance=True)
    with client_errors(metadata.collection):
        if options.keywords is not None:
            answer = handle.query.hybrid(
                query=options.keywords,
                # The words of the search and the text that is embedded may differ.
                vector=HybridVector.near_text(query) if isinstance(query, str) else _numbers(query),
                alpha=_ALPHA,
                fusion_type=HybridFusion.RANKED,
                query_properties=[metadata.text_property],
                return_metadata=MetadataQuery(score=True),
                **common,
            )
        elif isinstance(query, str):
            answer = handle.query.near_text(query, return_metadata=distance, **common)
        else:
            answer = handle.query.near_vector(_numbers(query), return_metadata=distance, **common)
    return [_hit(each, metadata.text_property) for each in answer.objects]


def _numbers(vector: NDArray[np.float32]) -> list[float]:
    numbers: list[float] = np.asarray(vector, dtype=np.float32).tolist()
    return numbers


def _hit(found: Object[WeaviateProperties, None], text_property: str) -> Hit:
    """Return a found object as the hit of its document."""
    properties = {
        name: _plain(value) for name, value in found.properties.items() if value is not None
    }
    document_id = properties.pop(ID_PROPERTY, None) or str(found.uuid)
    properties.pop(HASH_PROPERTY, None)
    properties.pop(MARK_PROPERTY, None)
    text = str(properties.pop(text_property, ""))
    distance, score = found.metadata.distance, found.metadata.score or 0.0
    if distance is not None:
        score = 1 - distance
    return Hit(str(document_id), float(score), text, properties)


def _plain(value: object) -> JSON:
    """Return a property's value as JSON; the client gives dates, UUIDs and places as objects."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(exclude_none=True))
    return str(value)


def _boosted(hits: list[Hit], options: SearchOptions) -> list[Hit]:
    """Add the language boost to the scores and sort by them."""
    if not options.language_boost:
        return hits
    boosted = [
        replace(hit, score=hit.score + options.language_boost)
        if value_at(hit.metadata, options.language_field) in options.languages
        else hit
        for hit in hits
    ]
    return sorted(boosted, key=lambda hit: -hit.score)
