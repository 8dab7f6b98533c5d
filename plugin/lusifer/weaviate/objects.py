"""Documents as Weaviate objects: their UUIDs, their properties, and how all are read."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError
from lusifer.stores.payloads import document_uuid
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY
from lusifer.weaviate.text_composition import property_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weaviate.collections import Collection
    from weaviate.collections.classes.types import WeaviateProperties
    from weaviate.outputs.query import Object

    from lusifer.types import JSON, Document
    from lusifer.weaviate.metadata import CollectionMetadata

__all__ = ["iterate_objects", "object_id", "properties_of", "storable_value"]

_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,230}")
_RESERVED = frozenset({"id", "vector", ID_PROPERTY, HASH_PROPERTY, MARK_PROPERTY})
_EXACT = 2**53
"""Largest whole number up to which every one is exact as float64."""


def object_id(document_id: str) -> str:
    """Return the UUID of a document's object: the id itself where it is one as Weaviate writes it.

    Other spellings of the same UUID are other ids, so that no two documents share an object.
    """
    try:
        canonical = str(uuid.UUID(document_id))
    except ValueError:
        canonical = ""
    return document_id if document_id == canonical else document_uuid(document_id)


def iterate_objects(
    handle: Collection, vector_name: str, *, properties: bool = True
) -> Iterator[Object[WeaviateProperties, None]]:
    """Yield every object of a collection or tenant with one of its vectors.

    Args:
        handle: The collection or one of its tenants.
        vector_name: Name of the vector to read.
        properties: Whether to read the properties too.
    """
    # The client's iterator is typed for a truth value only, but takes names of vectors as well.
    yield from handle.iterator(  # type: ignore[call-overload]
        include_vector=[vector_name],
        return_properties=None if properties else [],
    )


def properties_of(document: Document, metadata: CollectionMetadata) -> dict[str, JSON]:
    """Return text and metadata of a document as properties; null is left out, as Weaviate does.

    Raises:
        InvalidInputError: A field's name or value can't be stored.
    """
    properties: dict[str, JSON] = {metadata.text_property: document.text}
    for given, value in document.metadata.items():
        if value is None:
            continue
        name = property_name(given)
        if name in _RESERVED or not _NAME.fullmatch(name) or name in properties:
            raise InvalidInputError(
                f"Document {document.id!r}: the field {given!r} can't be a property of "
                f"{metadata.collection}{', it is there already' if name in properties else ''}.",
                next_step="Use letters, digits and _, with the first letter taken as a small one, "
                f"and none of {', '.join(sorted(_RESERVED | {metadata.text_property}))}.",
            )
        properties[name] = storable_value(document, given, value)
    return properties


def storable_value(document: Document, path: str, value: JSON) -> JSON:
    """Return a value as the client takes it.

    Args:
        document: The document, for the error.
        path: Path of the field, for the error.
        value: The value of the field.

    Raises:
        InvalidInputError: Weaviate would change the value silently, or has no type for it.
    """
    fault = ""
    if isinstance(value, dict) and value:
        return {
            name: storable_value(document, f"{path}.{name}", item)
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list | tuple):
        kinds = {"number" if type(item) in {int, float} else type(item).__name__ for item in value}
        if len(kinds) <= 1 and not kinds & {"list", "tuple", "NoneType"}:
            # The client takes the type of the first item for that of all.
            fractions = any(type(item) is float for item in value)
            items = [storable_value(document, path, item) for item in value]
            return [float(item) if isinstance(item, int) and fractions else item for item in items]
        fault = f"is a list of {' and '.join(sorted(kinds))}"
    elif isinstance(value, dict):
        fault = "is an empty object"
    elif type(value) is int and not -_EXACT <= value <= _EXACT:
        fault = f"is {value}, and numbers travel to Weaviate as float64, which rounds it"
    if fault:
        raise InvalidInputError(
            f"Document {document.id!r}: the field {path!r} {fault}.",
            next_step="Leave it out, or write it as a text or a list of one kind.",
        )
    return value
