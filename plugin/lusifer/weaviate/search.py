"""Questions to a Weaviate collection: by a vector made here, or through the server's own module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from lusifer.common.validation import check_text
from lusifer.errors import InvalidInputError
from lusifer.stores.payloads import check_vectors
from lusifer.types import Hit, SearchOptions
from lusifer.weaviate.connection import weaviate_errors
from lusifer.weaviate.metadata import data_types, find_metadata, open_metadata
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY
from lusifer.weaviate.text_composition import property_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lusifer.embedding.base import Embedder
    from lusifer.types import JSON
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["ask_server", "find", "search"]

_ALPHA = 0.5
"""Weight of the vectors in a hybrid search: both rankings count alike, as in the other stores."""


def search(
    client: Any,
    collection: str,
    question: str,
    embedder: Embedder,
    *,
    limit: int = 10,
    options: SearchOptions | None = None,
    tenant: str | None = None,
) -> list[Hit]:
    """Ask a collection a question in any language, with a vector made here.

    Args:
        client: A connected ``WeaviateClient``.
        collection: Its name or an alias.
        question: A text.
        embedder: A vectorizer or a remote one, of the model that filled the collection.
        limit: Number of hits, or of groups.
        options: Filters, hybrid search, languages, groups.
        tenant: Of a collection with tenants.

    Raises:
        FingerprintMismatchError: The collection holds vectors of another model.
        InvalidInputError: The question or an option can't be used.
        StoreError: The server refused or does not answer.
    """
    card, config = open_metadata(
        client, collection, fingerprint=embedder.fingerprint, model=embedder.model_name
    )
    handle = client.collections.get(config.name)
    if tenant is not None:
        handle = handle.with_tenant(tenant)
    vector = embedder.embed_query(question).vector
    return find(handle, config, card, vector, limit, options or SearchOptions())


def ask_server(
    client: Any,
    collection: str,
    question: str,
    *,
    limit: int = 10,
    hybrid: bool = False,
    options: SearchOptions | None = None,
    tenant: str | None = None,
) -> list[Hit]:
    """Ask through the server: it has the question embedded by its module, as for any client of it.

    No model is needed here, so none is compared with the collection's: ``lusifer doctor weaviate``
    does.

    Args:
        client: A connected ``WeaviateClient``.
        collection: Its name or an alias, made for LUSIFER.
        question: A text in any language.
        limit: Number of hits, or of groups.
        hybrid: Search the question's words too; other words go into ``options.keywords``.
        options: Filters, languages, groups.
        tenant: Of a collection with tenants.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: It was not made for LUSIFER, or its module is off.
        StoreBusyError: The service asks to slow down.
        StoreUnavailableError: The server or the service behind its module does not answer.
        InvalidInputError: The question or an option can't be used.
    """
    options = options or SearchOptions()
    if hybrid and options.keywords is None:
        options = replace(options, keywords=question)
    check_text(question)
    card, config = find_metadata(client, collection)
    handle = client.collections.get(config.name)
    if tenant is not None:
        handle = handle.with_tenant(tenant)
    return _find(handle, config, card, question, limit, options)


def find(
    handle: Any,
    config: Any,
    card: CollectionMetadata,
    vector: NDArray[np.float32],
    limit: int,
    options: SearchOptions,
) -> list[Hit]:
    """What :meth:`WeaviateStore.search` does, on an open collection.

    Raises:
        InvalidDimensionError: The vector has another dimension than the collection.
        InvalidInputError: The vector, the limit or an option can't be used.
        StoreError: The server refused or does not answer.
    """
    check_vectors(np.asarray(vector)[None], card.dimension, f"The collection {config.name}")
    return _find(
        handle, config, card, np.asarray(vector, dtype=np.float32).tolist(), limit, options
    )


def _find(
    handle: Any,
    config: Any,
    card: CollectionMetadata,
    asked: str | list[float],
    limit: int,
    options: SearchOptions,
) -> list[Hit]:
    """What is asked is a vector, or a question that the server has embedded."""
    if limit < 1:
        raise InvalidInputError(f"The limit is {limit}.", next_step="Ask for at least 1 hit.")
    if options.keywords is not None and options.language_boost:
        raise InvalidInputError(
            "A language boost is added to cosine similarities, which a hybrid search does not have.",
            next_step="Leave the boost out and filter by language, or search without keywords.",
        )
    options = replace(
        options,
        where={property_name(name): value for name, value in options.where.items()},
        language_field=property_name(options.language_field),
        group_by=options.group_by and property_name(options.group_by),
    )
    conditions = _filter(handle, config, options)
    if conditions is _NOTHING:
        return []
    if options.group_by is None and not options.language_boost:
        return _ask(handle, config, card, asked, limit, options, conditions)
    depth = max(100, 4 * limit * options.group_size)
    while True:
        found = _ask(handle, config, card, asked, depth, options, conditions)
        hits = _grouped(_boosted(found, options), limit, options)
        if (
            len(hits) >= limit * (options.group_size if options.group_by else 1)
            or len(found) < depth
        ):
            return hits
        depth *= 4


def _ask(
    handle: Any,
    config: Any,
    card: CollectionMetadata,
    asked: str | list[float],
    limit: int,
    options: SearchOptions,
    conditions: Any,
) -> list[Hit]:
    from weaviate.classes.query import HybridFusion, HybridVector, MetadataQuery

    common = {"filters": conditions, "limit": limit, "target_vector": card.vector_name}
    with weaviate_errors(config.name):
        if options.keywords is None:
            nearest = handle.query.near_text if isinstance(asked, str) else handle.query.near_vector
            answer = nearest(asked, return_metadata=MetadataQuery(distance=True), **common)
        else:
            answer = handle.query.hybrid(
                query=options.keywords,
                # The words that are searched and the question that is embedded may differ.
                vector=HybridVector.near_text(asked) if isinstance(asked, str) else asked,
                alpha=_ALPHA,
                fusion_type=HybridFusion.RANKED,
                query_properties=[card.text_property],
                return_metadata=MetadataQuery(score=True),
                **common,
            )
    return [_hit(each, card.text_property) for each in answer.objects]


def _hit(found: Any, text_property: str) -> Hit:
    properties = {
        name: _plain(value) for name, value in found.properties.items() if value is not None
    }
    document_id = properties.pop(ID_PROPERTY, None) or str(found.uuid)
    properties.pop(HASH_PROPERTY, None)
    properties.pop(MARK_PROPERTY, None)
    text = str(properties.pop(text_property, ""))
    metadata = found.metadata
    score = 1 - metadata.distance if metadata.distance is not None else metadata.score or 0.0
    return Hit(str(document_id), float(score), text, properties)


def _plain(value: Any) -> Any:
    """As JSON has it: the client gives dates, UUIDs and coordinates as objects."""
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else str(value)


def _boosted(hits: list[Hit], options: SearchOptions) -> list[Hit]:
    if not options.language_boost:
        return hits
    raised = [
        Hit(hit.id, hit.score + options.language_boost, hit.text, hit.metadata)
        if _inside(hit.metadata, options.language_field) in options.languages
        else hit
        for hit in hits
    ]
    return sorted(raised, key=lambda hit: -hit.score)


def _grouped(hits: list[Hit], limit: int, options: SearchOptions) -> list[Hit]:
    if options.group_by is None:
        return hits[:limit]
    groups: dict[object, list[Hit]] = {}
    for hit in hits:
        value = _inside(hit.metadata, options.group_by)
        if isinstance(value, str | int | float):
            group = groups.setdefault(value, [])
            if len(group) < options.group_size:
                group.append(hit)
    return [hit for group in list(groups.values())[:limit] for hit in group]


def _inside(metadata: Any, path: str) -> Any:
    """A field of the metadata, with dots for one inside an object; None where there is none."""
    for name in path.split("."):
        metadata = metadata.get(name) if isinstance(metadata, Mapping) else None
    return metadata


_NOTHING = object()
"""A filter that nothing can match."""


def _filter(handle: Any, config: Any, options: SearchOptions) -> Any:
    from weaviate.classes.query import Filter

    wanted: dict[str, JSON] = dict(options.where)
    if options.languages and not options.language_boost:
        wanted[options.language_field] = list(options.languages)
    if not set(wanted) <= {each.name for each in config.properties}:
        # Weaviate adds properties by itself when objects have new ones.
        with weaviate_errors(config.name):
            config = handle.config.get()
    types = data_types(config)
    conditions = []
    for name, value in wanted.items():
        values = value if isinstance(value, list | tuple) else [value]
        if (
            not values
            or (
                isinstance(value, list | tuple)
                and {type(item) for item in values} not in ({str}, {int})
            )
            or any(not isinstance(item, bool | int | float | str) for item in values)
        ):
            raise InvalidInputError(
                f"The filter on {name!r} has the value {value!r}.",
                next_step="Compare with a text, a number, true, or a list of texts or whole numbers.",
            )
        if "." in name:
            raise InvalidInputError(
                f"The filter on {name!r} looks inside an object, which Weaviate can't.",
                next_step="Keep the value in a property of its own.",
            )
        kind = types.get(name, "").removesuffix("[]")
        compared = [_as(kind, item) for item in values]
        if kind not in {"text", "int", "number", "boolean", "uuid", "date"} or None in compared:
            # No such property, or one that can't have such a value.
            return _NOTHING
        where = Filter.by_property(name)
        conditions.append(
            where.contains_any(compared)
            if isinstance(value, list | tuple)
            else where.equal(compared[0])
        )
    return Filter.all_of(conditions) if conditions else None


def _as(kind: str, value: Any) -> Any:
    """A value in the type of the property, which the server insists on; None where it can't be one."""
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind in {"int", "number"}:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if kind == "number" else int(value) if value == int(value) else None
    return value if isinstance(value, str) else None
