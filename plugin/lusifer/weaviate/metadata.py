"""Metadata and schema of a collection.

The metadata is one line of JSON in the description, so that every client that opens the collection
can refuse another model.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from lusifer.errors import CollectionMismatchError
from lusifer.stores import metadata as shared
from lusifer.stores.payloads import VECTOR_NAME
from lusifer.weaviate.connection import client_errors
from lusifer.weaviate.refusals import not_found
from lusifer.weaviate.text_composition import TextRules, property_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weaviate import WeaviateClient
    from weaviate.collections.classes.config import NestedProperty
    from weaviate.outputs.config import CollectionConfig, PropertyConfig

    from lusifer.embedding.base import Embedder

__all__ = [
    "CollectionMetadata",
    "data_types",
    "find_metadata",
    "metadata_for",
    "module_of",
    "open_metadata",
    "parse_metadata",
    "rules_of",
    "without_metadata",
]

_PREFIX = "lusifer: "


class CollectionMetadata(shared.CollectionMetadata):
    """One line of JSON at the end of a collection's description, after ``lusifer:``."""

    collection: Annotated[str, Field(exclude=True)]
    """The collection's own name. It is not part of the line: the schema has it."""
    text_property: str = "text"
    """Property where ``lusifer index`` puts the text of a document."""
    lower_case: bool = False
    """Whether the server runs with ``LOWERCASE_VECTORIZATION_INPUT``."""

    def in_description(self, text: str = "") -> str:
        """Return a description that ends with this metadata."""
        return f"{text}\n{_PREFIX}{self.model_dump_json()}".strip()


def without_metadata(description: str | None) -> str:
    """Return a description without its metadata."""
    lines = (description or "").split("\n")
    return "\n".join(line for line in lines if not line.startswith(_PREFIX)).strip()


def metadata_for(
    collection: str,
    embedder: Embedder,
    *,
    text_property: str = "text",
    vector_name: str = VECTOR_NAME,
    lower_case: bool = False,
) -> CollectionMetadata:
    """Return the metadata for a collection that ``embedder`` is going to fill."""
    return CollectionMetadata(
        collection=collection,
        text_property=property_name(text_property),
        vector_name=vector_name,
        lower_case=lower_case,
        **shared.identity_of(embedder),
    )


def parse_metadata(collection: str, config: CollectionConfig) -> CollectionMetadata:
    """Read a collection's metadata and compare it with the schema.

    Args:
        collection: The collection's name or an alias, for the errors.
        config: Configuration from the client's ``config.get()``.

    Raises:
        CollectionMismatchError: The collection was not made for LUSIFER, or its schema contradicts
            its metadata.
    """
    advice = "Make one with: lusifer weaviate setup"
    vectors = config.vector_config or {}
    line = re.search(rf"^{re.escape(_PREFIX)}(.*)$", config.description or "", re.MULTILINE)
    if not line:
        names = ", ".join(vectors) or "no named vector"
        raise CollectionMismatchError(
            f"The description of the collection {collection} has no LUSIFER metadata; the "
            f"collection has {names}.",
            next_step=advice,
        )
    try:
        stored = {**json.loads(line[1]), "collection": config.name}
        metadata = CollectionMetadata.model_validate(stored)
    except (ValueError, TypeError) as error:
        raise CollectionMismatchError(
            f"The description of the collection {collection} can't be read: "
            f"{' '.join(str(error).split())}.",
            next_step="Upgrade LUSIFER, or make the collection again with: lusifer weaviate setup",
        ) from error
    name = metadata.vector_name
    vector = vectors.get(name)
    if vector is None:
        raise CollectionMismatchError(
            f"The collection {collection} has no vector named {name!r}.", next_step=advice
        )
    if not vector.vectorizer.source_properties and module_of(config, name) != "none":
        raise CollectionMismatchError(
            f"The vector {name!r} of the collection {collection} names no source properties, so "
            "every text property is embedded, LUSIFER's own too.",
            next_step=advice,
        )
    distance = str(getattr(vector.vector_index_config, "distance_metric", "cosine"))
    if "cosine" not in distance.lower():
        raise CollectionMismatchError(
            f"The collection {collection} compares by {distance}, not by cosine.", next_step=advice
        )
    return metadata


def find_metadata(
    client: WeaviateClient, collection: str
) -> tuple[CollectionMetadata, CollectionConfig]:
    """Return metadata and configuration of a collection or alias, whatever its model.

    Raises:
        IndexNotFoundError: There is no such collection.
        CollectionMismatchError: The collection was not made for LUSIFER.
        StoreUnavailableError: The server does not answer.
    """
    with client_errors(collection):
        handle = client.collections.get(collection)
        if not handle.exists():
            raise not_found(collection)
        config = handle.config.get()
    return parse_metadata(collection, config), config


def open_metadata(
    client: WeaviateClient,
    collection: str,
    *,
    fingerprint: str,
    model: str,
    dimension: int | None = None,
) -> tuple[CollectionMetadata, CollectionConfig]:
    """Return metadata and configuration of a collection, checked against the model in use.

    Raises:
        FingerprintMismatchError: The collection holds vectors of another model.
        InvalidDimensionError: The collection holds vectors of another dimension D.
        StoreError: As :func:`find_metadata`.
    """
    metadata, config = find_metadata(client, collection)
    metadata.check(fingerprint=fingerprint, model=model, dimension=dimension)
    return metadata, config


def rules_of(metadata: CollectionMetadata, config: CollectionConfig) -> TextRules:
    """Return the rules by which the server composes the text of the collection's vector."""
    vectorizer = (config.vector_config or {})[metadata.vector_name].vectorizer
    sources = tuple(vectorizer.source_properties or (metadata.text_property,))
    settings = vectorizer.model or {}
    module = module_of(config, metadata.vector_name)
    skipped, named = set(), set()
    for each in config.properties:
        own = (each.vectorizer_configs or {}).get(module)
        if own is not None and own.skip:
            skipped.add(each.name)
        if own is not None and own.vectorize_property_name:
            named.add(each.name)
    return TextRules(
        collection=config.name,
        source_properties=sources,
        vectorize_collection_name=bool(settings.get("vectorizeClassName", False)),
        skipped=frozenset(skipped),
        named=frozenset(named),
        data_types=data_types(config),
        lower_case=metadata.lower_case,
    )


def data_types(config: CollectionConfig) -> dict[str, str]:
    """Return each property's data type as the schema writes it.

    The key of a property within an object is its path, such as ``author.born``.
    """
    return dict(_paths("", config.properties))


def _paths(
    prefix: str, properties: Sequence[PropertyConfig | NestedProperty]
) -> Iterator[tuple[str, str]]:
    """Yield the path and the data type of properties and of those within them."""
    for each in properties:
        yield prefix + each.name, str(getattr(each.data_type, "value", each.data_type))
        yield from _paths(f"{prefix}{each.name}.", each.nested_properties or ())


def module_of(config: CollectionConfig, vector_name: str) -> str:
    """Return the module that embeds for a vector; ``none`` where clients send the vectors."""
    vectorizer = (config.vector_config or {})[vector_name].vectorizer.vectorizer
    return str(getattr(vectorizer, "value", vectorizer))
