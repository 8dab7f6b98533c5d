"""How a document lies in Qdrant: its point id and payload, the same on a server and in the embedded engine.

::

    id       uuid5 of the document's id: Qdrant takes only numbers and UUIDs
    vector   {"lusifer": [...], "bm25": {...}}     the second only where keyword search was asked for
    payload  {"id": ..., "text": ..., "metadata": {...}, "sha256": ...}

``sha256`` is the hash of text and metadata. It tells what needs no new vector, and guards
re-embedding: a vector may be written only where the hash is still that of the text it was made
from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from lusifer.errors import IndexCorruptError, InvalidInputError
from lusifer.stores.payloads import check_document, content_sha256
from lusifer.types import Document, Hit, Quantization

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["KEYWORD_VECTOR", "hit_of", "payload_of", "unknown_quantization"]

KEYWORD_VECTOR = "bm25"


def unknown_quantization(kind: str) -> InvalidInputError:
    """Neither a server nor the engine keeps vectors so."""
    return InvalidInputError(
        f"The quantization is {kind!r}.", next_step=f"Use {', '.join(get_args(Quantization))}."
    )


def payload_of(document: Document) -> dict[str, Any]:
    """The payload of a document's point.

    Raises:
        InvalidInputError: The document would not come back as it went in.
    """
    check_document(document)
    return {
        "id": document.id,
        "text": document.text,
        "metadata": document.metadata,
        "sha256": content_sha256(document),
    }


def hit_of(point: Any, where: str) -> Hit:
    """The hit for a found point, which another program may have written.

    Args:
        point: Of the client or of the engine, with ``id``, ``score`` and ``payload``. Where the
            payload has no ``id``, the hit has that of the point; where it has no ``metadata``, the
            hit has none.
        where: The collection, for the error.

    Raises:
        IndexCorruptError: The payload's ``text`` is missing or no text, or its ``metadata`` is no
            object.
    """
    payload: Mapping[str, Any] = point.payload or {}
    for name, kind, absent in (("text", str, None), ("metadata", dict, {})):
        if not isinstance(found := payload.get(name, absent), kind):
            raise IndexCorruptError(
                f"The payload of the point {point.id} of {where} "
                f"{'lacks' if found is None else f'has a {type(found).__name__} as'} {name}; its fields are "
                f"{', '.join(sorted(payload)) or 'none'}.",
                next_step="Write it again as lusifer index does, with id, text, metadata and sha256, or "
                "delete it.",
            )
    return Hit(
        str(payload.get("id", point.id)),
        float(point.score),
        payload["text"],
        payload.get("metadata", {}),
    )
