"""Converts an object of Weaviate to a record and back: its key, its hash, and its version.

Its key is its UUID, or ``tenant/UUID``. Weaviate notes when each object was written last. Every
write, even of the same content, has a later time (observed on 1.39). So its version is the hash
with that time.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

from lusifer.reindex.endpoints.base import Record, canonical_sha256, language_in, title_of
from lusifer.stores.payloads import content_sha256
from lusifer.types import Document
from lusifer.weaviate.metadata import data_types
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY
from lusifer.weaviate.text_composition import compose_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weaviate.classes.data import DataObject
    from weaviate.classes.query import MetadataQuery, QueryNested
    from weaviate.collections.classes.config import NestedProperty
    from weaviate.collections.classes.grpc import _QueryReference
    from weaviate.collections.classes.internal import ReferenceInputs
    from weaviate.collections.classes.types import WeaviateField, WeaviateProperties
    from weaviate.outputs.config import CollectionConfig, PropertyConfig
    from weaviate.outputs.query import Object

    from lusifer.weaviate.text_composition import TextRules

    StoredObject: TypeAlias = Object[Any, Any]
    """An object with properties and references of any schema: the client's types name one each."""
    NewObject: TypeAlias = DataObject[WeaviateProperties, ReferenceInputs | None]
    StoredVector: TypeAlias = Sequence[float] | Sequence[Sequence[float]]

__all__ = [
    "Content",
    "ObjectContent",
    "Service",
    "WholeObject",
    "copied_content",
    "group_by_tenant",
    "hash_of",
    "join_key",
    "mark_of",
    "record_of",
    "tenant_order",
    "uuid_before",
    "version_of",
    "whole_object",
]


@dataclass(frozen=True, slots=True)
class ObjectContent:
    """Content copied with an object."""

    properties: Mapping[str, WeaviateField]
    vectors: Mapping[str, StoredVector]
    """Vectors other than the one that is replaced."""
    references: Mapping[str, list[str]]
    """UUIDs of the objects that each reference names."""


@dataclass(frozen=True, slots=True)
class Service:
    """The service of the new model, as a module of Weaviate asks it."""

    address: str | None
    """Address at which Weaviate reaches it; None keeps the source's."""
    dimension: int | None
    """Length of vectors that Weaviate requests; None is the model's own."""


Content: TypeAlias = Document | ObjectContent
"""A document that comes from a file, or an object of another collection."""


class WholeObject(TypedDict):
    """Arguments of a query that returns objects whole."""

    return_properties: list[str | QueryNested] | None
    return_references: list[_QueryReference] | None
    return_metadata: MetadataQuery


def join_key(tenant: str, key: str) -> str:
    """Return the key of an object: its UUID, after its tenant where there is one."""
    return f"{tenant}/{key}" if tenant else key


def tenant_order(tenant: str) -> str:
    """Return a sort key that puts tenants into the order of their objects' keys.

    A name may have characters that sort before the slash of a key: ``acme-eu/`` comes before
    ``acme/``.
    """
    return join_key(tenant, "")


def group_by_tenant(keys: Iterable[str]) -> dict[str, list[str]]:
    """Group UUIDs by tenant; the empty tenant stands for a collection without tenants."""
    found: dict[str, list[str]] = {}
    for each in keys:
        tenant, _, key = each.rpartition("/")
        found.setdefault(tenant, []).append(key)
    return found


def uuid_before(key: str) -> str | None:
    """Return the UUID before this one: Weaviate reads after a UUID, not from it."""
    number = uuid.UUID(key).int
    return str(uuid.UUID(int=number - 1)) if number else None


def mark_of(sha256: str) -> int:
    """Return a content hash as a number that float64 stores exactly: 52 bits."""
    return int(sha256[:13], 16)


def hash_of(stored: StoredObject) -> str:
    """Return the hash of all properties but the mark, and of references.

    Weaviate reports an absent property as null, so nulls are left out.
    """
    properties = {
        name: value
        for name, value in stored.properties.items()
        if value is not None and name != MARK_PROPERTY
    }
    return canonical_sha256([properties, _references(stored)])


def version_of(stored: StoredObject) -> str:
    """Return the version of an object that was read with the time of its last write."""
    written = stored.metadata.last_update_time
    assert written is not None, "whole_object asks for it"  # noqa: S101
    return f"{hash_of(stored)}@{written.timestamp()}"


def record_of(
    key: str, stored: StoredObject, *, rules: TextRules, language_field: str, vector_name: str
) -> Record[Content]:
    """Return an object as a record; ``vector_name`` is not part of its content."""
    properties = dict(stored.properties)
    text = compose_text(properties, rules)
    others = {
        name: vector
        for name, vector in (stored.vector or {}).items()
        if name != vector_name and vector
    }
    return Record(
        key=key,
        sha256=hash_of(stored),
        text=text,
        language=language_in(properties, language_field, text),
        title=title_of(properties),
        content=ObjectContent(properties, others, _references(stored)),
    )


def copied_content(record: Record[Content], text_property: str) -> ObjectContent:
    """Return what to write for a record.

    Args:
        record: A document or an object.
        text_property: Property for the text of a document that comes from a file.
    """
    content = record.content
    if isinstance(content, ObjectContent):
        present = {name: each for name, each in content.properties.items() if each is not None}
        return ObjectContent(present, content.vectors, content.references)
    properties = {name: each for name, each in content.metadata.items() if each is not None}
    properties |= {
        text_property: content.text,
        ID_PROPERTY: content.id,
        HASH_PROPERTY: content_sha256(content),
    }
    return ObjectContent(cast("WeaviateProperties", properties), {}, {})


def whole_object(config: CollectionConfig) -> WholeObject:
    """Return the arguments of a query for properties, references and the time of the last write."""
    from weaviate.classes.query import MetadataQuery, QueryReference

    # None returns all properties but blobs: where there are some, every property is named.
    blobs = "blob" in data_types(config).values()
    names = [each.name for each in config.references]
    return {
        "return_properties": [_property(each) for each in config.properties] if blobs else None,
        "return_references": [QueryReference(link_on=name, return_properties=[]) for name in names]
        or None,
        "return_metadata": MetadataQuery(last_update_time=True),
    }


def _references(stored: StoredObject) -> dict[str, list[str]]:
    return {
        name: sorted(str(linked.uuid) for linked in reference.objects)
        for name, reference in (stored.references or {}).items()
        if reference.objects
    }


def _property(config: PropertyConfig | NestedProperty) -> str | QueryNested:
    from weaviate.classes.query import QueryNested

    if not config.nested_properties:
        return config.name
    nested = [_property(each) for each in config.nested_properties]
    return QueryNested(name=config.name, properties=nested)
