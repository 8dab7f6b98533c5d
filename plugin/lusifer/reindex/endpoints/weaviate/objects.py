"""Converts an object of Weaviate to a record and back: its key, its hash, and its version.

An object is JSON, as the REST API gives it, so that no value is changed on its way. Its key is its
UUID, or ``tenant/UUID``. Weaviate notes when each object was written last. Every write, even of the
same content, has a later time (observed on 1.39). So its version is the hash with that time.

A reference is written as ``Collection/UUID``, and as ``./UUID`` if it points into the object's own
collection: the copy's then points into the copy.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lusifer.reindex.endpoints.base import Record, canonical_sha256, language_in, title_of
from lusifer.stores.payloads import content_sha256
from lusifer.types import Document
from lusifer.weaviate.schema import HASH_PROPERTY, ID_PROPERTY, MARK_PROPERTY
from lusifer.weaviate.text_composition import compose_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lusifer.types import JSON
    from lusifer.weaviate.text_composition import TextRules

__all__ = [
    "Content",
    "NewObject",
    "ObjectContent",
    "Service",
    "StoredObject",
    "StoredVector",
    "copied_content",
    "group_by_tenant",
    "hash_of",
    "is_reference",
    "join_key",
    "mark_of",
    "new_object",
    "record_of",
    "target_of",
    "tenant_order",
    "uuid_before",
    "vector_of",
    "version_of",
]

StoredObject: TypeAlias = Mapping[str, Any]
"""An object of any schema, as the server gives it."""
NewObject: TypeAlias = dict[str, Any]
"""An object as the server takes it."""
StoredVector: TypeAlias = Sequence[float] | Sequence[Sequence[float]]

_BEACON = "weaviate://"


@dataclass(frozen=True, slots=True)
class ObjectContent:
    """Content copied with an object."""

    properties: Mapping[str, JSON]
    vectors: Mapping[str, StoredVector]
    """Vectors other than the one that is replaced."""
    references: Mapping[str, list[str]]
    """Objects that each reference names."""


@dataclass(frozen=True, slots=True)
class Service:
    """The service of the new model, as a module of Weaviate asks it."""

    address: str | None
    """Address at which Weaviate reaches it; None keeps the source's."""
    dimension: int | None
    """Length of vectors that Weaviate requests; None is the model's own."""


Content: TypeAlias = Document | ObjectContent
"""A document that comes from a file, or an object of another collection."""


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

    Weaviate does not distinguish an absent property from null, so nulls are left out.
    """
    properties, references = _split(stored)
    properties.pop(MARK_PROPERTY, None)
    return canonical_sha256([properties, {name: sorted(each) for name, each in references.items()}])


def version_of(stored: StoredObject) -> str:
    """Return the version of an object: its hash and the time of its last write, in ms."""
    return f"{hash_of(stored)}@{stored['lastUpdateTimeUnix']}"


def vector_of(stored: StoredObject, name: str) -> StoredVector | None:
    """Return a vector of an object; None for none, and for zeros, which stand for none.

    Args:
        stored: The object, read with its vectors.
        name: The vector's name; empty for the unnamed one.
    """
    found: StoredVector | None
    found = (stored.get("vectors") or {}).get(name) if name else stored.get("vector")
    return found if found and any(found) else None


def record_of(
    key: str, stored: StoredObject, *, rules: TextRules, language_field: str, vector_name: str
) -> Record[Content]:
    """Return an object as a record; ``vector_name`` is not part of its content."""
    properties, references = _split(stored)
    text = compose_text(properties, rules)
    vectors = stored.get("vectors") or {}
    others = {name: each for name, each in vectors.items() if name != vector_name and each}
    return Record(
        key=key,
        sha256=hash_of(stored),
        text=text,
        language=language_in(properties, language_field, text),
        title=title_of(properties),
        content=ObjectContent(properties, others, references),
    )


def copied_content(record: Record[Content], text_property: str) -> ObjectContent:
    """Return what to write for a record.

    Args:
        record: A document or an object.
        text_property: Property for the text of a document that comes from a file.
    """
    content = record.content
    if isinstance(content, ObjectContent):
        return content
    properties: dict[str, JSON] = {
        name: each for name, each in content.metadata.items() if each is not None
    }
    properties |= {
        text_property: content.text,
        ID_PROPERTY: content.id,
        HASH_PROPERTY: content_sha256(content),
    }
    return ObjectContent(properties, {}, {})


def new_object(
    collection: str, key: str, content: ObjectContent, vectors: Mapping[str, StoredVector]
) -> NewObject:
    """Return an object as the server takes it.

    Args:
        collection: Collection to write it to.
        key: Key of the object, with its tenant.
        content: Properties and references.
        vectors: All its vectors.
    """
    tenant, _, own_id = key.rpartition("/")
    references = {
        name: [{"beacon": _beacon(each, collection)} for each in targets]
        for name, targets in content.references.items()
    }
    made: NewObject = {
        "class": collection,
        "id": own_id,
        "properties": {**content.properties, **references},
        "vectors": dict(vectors),
    }
    return {**made, "tenant": tenant} if tenant else made


def _split(stored: StoredObject) -> tuple[dict[str, JSON], dict[str, list[str]]]:
    """Return the properties without nulls, and the references."""
    properties: dict[str, JSON] = {}
    references: dict[str, list[str]] = {}
    for name, value in (stored.get("properties") or {}).items():
        if is_reference(value):
            references[name] = [target_of(each["beacon"], stored["class"]) for each in value]
        elif value is not None:
            properties[name] = value
    return properties, references


def is_reference(value: object) -> bool:
    """Return whether a value is a list of beacons, as only references are."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, Mapping)
            and each.keys() <= {"beacon", "href", "classification"}
            and str(each.get("beacon", "")).startswith(_BEACON)
            for each in value
        )
    )


def target_of(beacon: str, own_collection: str) -> str:
    """Return the target of ``weaviate://localhost/Collection/UUID``."""
    _, _, target = beacon.removeprefix(_BEACON).partition("/")
    collection, slash, key = target.rpartition("/")
    return f"./{key}" if slash and collection == own_collection else target


def _beacon(target: str, own_collection: str) -> str:
    if target.startswith("./"):
        target = f"{own_collection}{target[1:]}"
    return f"{_BEACON}localhost/{target}"
