"""An object of Weaviate's as a record and back: its key, its hash, and its version.

Its key is its UUID, or ``tenant/UUID``. Weaviate notes when each object was written last, and every
writing, even of the same content, has a later time (seen on 1.39): so its version is the hash with
that time.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from lusifer.reindex.endpoints.base import Record, canonical_sha256, language_in, title_of
from lusifer.stores.payloads import content_sha256
from lusifer.types import Document
from lusifer.weaviate.metadata import data_types
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY
from lusifer.weaviate.text_composition import compose_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lusifer.weaviate.text_composition import TextRules

__all__ = [
    "by_tenant",
    "copied_content",
    "everything_of",
    "hash_of",
    "join",
    "mark_of",
    "record_of",
    "uuid_before",
    "version_of",
]


def join(tenant: str, key: str) -> str:
    """The key of an object."""
    return f"{tenant}/{key}" if tenant else key


def by_tenant(keys: Iterable[str]) -> dict[str, list[str]]:
    """UUIDs by tenant; the empty tenant where there are none."""
    found: dict[str, list[str]] = {}
    for each in keys:
        tenant, _, key = each.rpartition("/")
        found.setdefault(tenant, []).append(key)
    return found


def uuid_before(key: str) -> str | None:
    """The UUID before this one: Weaviate reads after a UUID, not from it."""
    number = uuid.UUID(key).int
    return str(uuid.UUID(int=number - 1)) if number else None


def mark_of(sha256: str) -> int:
    """A content hash as a number that float64 holds exactly: 52 bits."""
    return int(sha256[:13], 16)


def hash_of(each: Any) -> str:
    """Of all properties but the mark, and references; null is what Weaviate calls absent."""
    properties = {
        name: value
        for name, value in each.properties.items()
        if value is not None and name != MARK_PROPERTY
    }
    return canonical_sha256([properties, _links(each)])


def version_of(each: Any) -> str:
    """The version of an object that was read with the time of its last writing."""
    return f"{hash_of(each)}@{each.metadata.last_update_time.timestamp()}"


def record_of(
    key: str, each: Any, *, rules: TextRules, language_field: str, vector_name: str
) -> Record:
    """An object as a record; its content is properties, vectors other than ``vector_name``, references."""
    properties = dict(each.properties)
    text = compose_text(properties, rules)
    others = {
        name: vector
        for name, vector in (each.vector or {}).items()
        if name != vector_name and vector
    }
    language = language_in(properties, language_field, text)
    content = (properties, others, _links(each) or None)
    return Record(key, hash_of(each), text, language, title_of(properties), content)


def copied_content(
    record: Record, text_property: str
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Properties, other vectors and references of a copy; ``text_property`` is for documents of a file."""
    if not isinstance(record.content, Document):
        properties, others, references = record.content
        return (
            {name: each for name, each in properties.items() if each is not None},
            others,
            references,
        )
    document = record.content
    properties = {name: each for name, each in document.metadata.items() if each is not None}
    own = {
        text_property: document.text,
        ID_PROPERTY: document.id,
        HASH_PROPERTY: content_sha256(document),
    }
    return {**properties, **own}, {}, None


def everything_of(config: Any) -> dict[str, Any]:
    """What to ask for to get objects whole: their properties, references, and the time of writing."""
    from weaviate.classes.query import MetadataQuery, QueryReference

    # None is all properties but blobs: where there are some, everything is named.
    blobs = "blob" in data_types(config).values()
    names = [each.name for each in config.references]
    return {
        "return_properties": [_named(each) for each in config.properties] if blobs else None,
        "return_references": [QueryReference(link_on=name, return_properties=[]) for name in names]
        or None,
        "return_metadata": MetadataQuery(last_update_time=True),
    }


def _links(each: Any) -> dict[str, list[str]]:
    return {
        name: sorted(str(linked.uuid) for linked in reference.objects)
        for name, reference in (each.references or {}).items()
        if reference.objects
    }


def _named(each: Any) -> Any:
    from weaviate.classes.query import QueryNested

    if not each.nested_properties:
        return each.name
    return QueryNested(
        name=each.name, properties=[_named(inner) for inner in each.nested_properties]
    )
