"""Converts a point of Qdrant to a record and back: its key, its hash, and the mark of a copy.

* Every copy carries its content's hash in the payload, as ``lusifer_sha256``. A point that an
  application rewrites does not, so it is never taken for our copy. A point that ``lusifer index``
  wrote has ``sha256`` too.
* A filter that is an OR of (id AND hash) guards each point of a request by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lusifer.qdrant.points import COPY_HASH, payload_of
from lusifer.reindex.endpoints.base import (
    COPY_SUFFIX,
    Record,
    canonical_sha256,
    language_in,
    title_of,
)
from lusifer.reindex.endpoints.key_ranges import number_key
from lusifer.stores.fields import FieldRules
from lusifer.stores.payloads import content_sha256
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from qdrant_client import models

__all__ = [
    "HASHES",
    "Content",
    "PointContent",
    "content_unchanged",
    "copied_payload",
    "has_version",
    "id_of",
    "key_of",
    "lacks_vector",
    "record_of",
    "version_of",
]

_INDEX_HASH = "sha256"
HASHES = [_INDEX_HASH, COPY_HASH]
"""Payload fields that a version is made of."""


@dataclass(frozen=True, slots=True)
class PointContent:
    """Content copied with a point."""

    payload: Mapping[str, object]
    vectors: Mapping[str, models.Vector]
    """Vectors other than the one that is replaced."""


Content: TypeAlias = Document | PointContent
"""A document that comes from a file, or a point of another collection."""


def key_of(point_id: int | str | UUID) -> str:
    """Return a point's id as text that sorts as Qdrant does: numbers first."""
    return number_key(point_id) if isinstance(point_id, int) else str(point_id)


def id_of(key: str) -> int | str:
    """Return the id that :func:`key_of` made a key of."""
    return int(key[1:]) if key.startswith("#") else key


def record_of(
    point: models.Record | models.ScoredPoint,
    *,
    rules: FieldRules,
    language_field: str,
    vector_name: str,
) -> Record[Content]:
    """Return a point as a record; ``vector_name`` is not part of its content.

    Its payload is as a copy has it: without the fields that the rules drop.
    """
    found = rules.find_text(point.payload or {})
    payload = rules.kept(point.payload or {})
    metadata = payload.get("metadata")
    fields = metadata if isinstance(metadata, dict) else payload
    text = found if isinstance(found, str) else ""
    others = {}
    if isinstance(point.vector, dict):
        others = {name: vector for name, vector in point.vector.items() if name != vector_name}
    return Record(
        key=key_of(point.id),
        sha256=_content_sha256(payload),
        text=text,
        language=language_in(fields, language_field, text),
        title=title_of(fields),
        content=PointContent(payload, others),
    )


def version_of(payload: Mapping[str, object] | None) -> str:
    """Return the version of a point from its payload fields ``HASHES``."""
    payload = payload or {}
    if copied := payload.get(COPY_HASH):
        return f"{copied}{COPY_SUFFIX}"
    return str(payload.get(_INDEX_HASH) or "")


def copied_payload(record: Record[Content]) -> Mapping[str, object]:
    """Return the payload for the target, marked as a copy with the hash of its content."""
    if isinstance(record.content, Document):
        return {**payload_of(record.content), COPY_HASH: record.sha256}
    payload = record.content.payload
    indexed = {_INDEX_HASH: record.sha256} if _written_by_index(payload) else {}
    return {**payload, **indexed, COPY_HASH: record.sha256}


def lacks_vector(vector_name: str) -> models.Filter:
    """Return the filter for points without a vector."""
    from qdrant_client import models

    return models.Filter(must_not=[models.HasVectorCondition(has_vector=vector_name)])


def has_version(key: str, version: str) -> models.Filter:
    """Return the filter for the point with a key, if it has this version."""
    sha256, _, copied = version.partition("@")
    if copied:
        return _point_with(key, {COPY_HASH: sha256})
    return _point_with(key, {COPY_HASH: "", _INDEX_HASH: sha256})


def content_unchanged(record: Record[Content], rules: FieldRules) -> models.Filter:
    """Return the filter for a record's point, if its content still is the record's.

    Without a stored hash, or with one that does not match the content, only the fields of the text
    are compared.
    """
    payload = {} if isinstance(record.content, Document) else record.content.payload
    if payload.get(_INDEX_HASH) == record.sha256:
        return _point_with(record.key, {_INDEX_HASH: record.sha256})
    from qdrant_client import models

    conditions: list[models.Condition] = [models.HasIdCondition(has_id=[id_of(record.key)])]
    for name in rules.text_fields:
        value = FieldRules(name).find_text(payload)
        if value is None:
            empty = models.PayloadField(key=name)
            conditions.append(models.IsEmptyCondition(is_empty=empty))
        elif isinstance(value, str | int):
            match = models.MatchValue(value=value)
            conditions.append(models.FieldCondition(key=name, match=match))
    return models.Filter(must=conditions)


def _point_with(key: str, fields: Mapping[str, str]) -> models.Filter:
    """Return the filter for a point with these payload fields; empty values are absent fields."""
    from qdrant_client import models

    conditions: list[models.Condition] = [models.HasIdCondition(has_id=[id_of(key)])]
    for name, value in fields.items():
        if value:
            matched = models.MatchValue(value=value)
            conditions.append(models.FieldCondition(key=name, match=matched))
        else:
            absent = models.PayloadField(key=name)
            conditions.append(models.IsEmptyCondition(is_empty=absent))
    return models.Filter(must=conditions)


def _content_sha256(payload: Mapping[str, object]) -> str:
    """Return the hash of all fields but our own, or the hash that ``lusifer index`` computes."""
    metadata = payload.get("metadata")
    if _written_by_index(payload) and isinstance(metadata, dict):
        return content_sha256(Document(str(payload["id"]), str(payload["text"]), metadata))
    return canonical_sha256({name: value for name, value in payload.items() if name != COPY_HASH})


def _written_by_index(payload: Mapping[str, object]) -> bool:
    """Return whether ``lusifer index`` wrote a payload, and its hash covers all of its fields."""
    fields = set(payload) - {COPY_HASH}
    return fields == {"id", "text", "metadata", _INDEX_HASH} and isinstance(
        payload["metadata"], dict
    )
