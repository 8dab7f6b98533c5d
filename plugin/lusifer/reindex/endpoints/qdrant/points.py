"""A point of Qdrant's as a record and back: its key, its hash, and the mark of a copy.

* Every copy has its content's hash in the payload, as ``lusifer_sha256``. What an application
  writes anew has not, so it is never taken for a copy of ours. What ``lusifer index`` wrote has
  ``sha256`` too.
* A filter that is an OR of (id AND hash) guards each point of a request by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lusifer.qdrant.connection import import_client
from lusifer.qdrant.points import payload_of
from lusifer.reindex.endpoints.base import Record, canonical_sha256, language_in, title_of
from lusifer.reindex.endpoints.key_ranges import number_key
from lusifer.stores.payloads import content_sha256
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COPY_HASH",
    "HASHES",
    "copied_payload",
    "holds",
    "id_of",
    "key_of",
    "lacking",
    "record_of",
    "unchanged",
    "version_of",
]

COPY_HASH = "lusifer_sha256"
_OUR_HASH = "sha256"
HASHES = [_OUR_HASH, COPY_HASH]
"""All of a payload that a version is made of."""


def key_of(point: int | str) -> str:
    """A point's id as text that sorts as Qdrant does: numbers first."""
    return number_key(point) if isinstance(point, int) else str(point)


def id_of(key: str) -> int | str:
    """The id back from :func:`key_of`."""
    return int(key[1:]) if key.startswith("#") else key


def record_of(point: Any, *, text_field: str, language_field: str, vector_name: str) -> Record:
    """A point as a record; its content is the payload and the vectors other than ``vector_name``."""
    payload = point.payload or {}
    metadata = payload.get("metadata")
    fields = metadata if isinstance(metadata, dict) else payload
    found = payload.get(text_field)
    text = found if isinstance(found, str) else ""
    others = {}
    if isinstance(getattr(point, "vector", None), dict):
        others = {name: vector for name, vector in point.vector.items() if name != vector_name}
    language = language_in(fields, language_field, text)
    return Record(
        key_of(point.id),
        _content_sha256(payload),
        text,
        language,
        title_of(fields),
        (payload, others),
    )


def version_of(payload: Mapping[str, Any] | None) -> str:
    """The version of a point, from its ``HASHES``."""
    payload = payload or {}
    if copied := payload.get(COPY_HASH):
        return f"{copied}@copy"
    return str(payload.get(_OUR_HASH) or "")


def copied_payload(record: Record) -> dict[str, Any]:
    """The payload for the new side, marked as a copy with the hash of what it holds."""
    if isinstance(record.content, Document):
        return payload_of(record.content)
    payload = dict(record.content[0])
    ours = {_OUR_HASH: record.sha256} if _ours(payload) else {}
    return {**payload, **ours, COPY_HASH: record.sha256}


def lacking(vector_name: str) -> Any:
    """The filter for points without this vector."""
    models = import_client().models
    return models.Filter(must_not=[models.HasVectorCondition(has_vector=vector_name)])


def holds(key: str, version: str) -> Any:
    """The filter for the point with this key, if it is of this version."""
    models = import_client().models
    sha256, _, copied = version.partition("@")
    held = {COPY_HASH: sha256} if copied else {COPY_HASH: "", _OUR_HASH: sha256}
    conditions: list[Any] = [models.HasIdCondition(has_id=[id_of(key)])]
    for name, value in held.items():
        if value:
            condition: Any = models.FieldCondition(key=name, match=models.MatchValue(value=value))
        else:
            condition = models.IsEmptyCondition(is_empty=models.PayloadField(key=name))
        conditions.append(condition)
    return models.Filter(must=conditions)


def unchanged(record: Record, text_field: str) -> Any:
    """The filter for a record's point, if its content still is the record's.

    Without a stored hash, or with one that is not that of its content, the text alone decides.
    """
    models = import_client().models
    payload, _ = record.content
    guarded = payload.get(_OUR_HASH) == record.sha256
    field, value = (_OUR_HASH, record.sha256) if guarded else (text_field, record.text)
    return models.Filter(
        must=[
            models.HasIdCondition(has_id=[id_of(record.key)]),
            models.FieldCondition(key=field, match=models.MatchValue(value=value)),
        ]
    )


def _content_sha256(payload: Mapping[str, Any]) -> str:
    """Of everything but our own bookkeeping; of a document as ``lusifer index`` computes it."""
    if _ours(payload):
        return content_sha256(Document(str(payload["id"]), payload["text"], payload["metadata"]))
    return canonical_sha256({name: value for name, value in payload.items() if name != COPY_HASH})


def _ours(payload: Mapping[str, Any]) -> bool:
    """Whether ``lusifer index`` wrote it, and nobody added fields that its hash does not cover."""
    fields = set(payload) - {COPY_HASH}
    return fields == {"id", "text", "metadata", _OUR_HASH} and isinstance(payload["metadata"], dict)
