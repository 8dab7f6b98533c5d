"""Convert documents to points and back, for a server and the embedded engine alike.

::

    id       uuid5 of the document's id: Qdrant takes only numbers and UUIDs
    vector   {"lusifer": [...], "bm25": {...}}     the second only with keyword search
    payload  {"id": ..., "text": ..., "metadata": {...}, "sha256": ...}

``sha256`` is the hash of text and metadata. It shows what needs no new vector, and guards
re-embedding: a vector may be written only where the hash is still that of the text it was made
from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, get_args

from lusifer.errors import IndexCorruptError, InvalidInputError
from lusifer.qdrant.connection import import_client
from lusifer.qdrant.keywords import BM25_MODEL
from lusifer.stores.fields import FieldRules
from lusifer.stores.payloads import check_document, content_sha256
from lusifer.types import Document, Hit, Quantization

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qdrant_client import models

    from lusifer.qdrant.keywords import KeywordOptions
    from lusifer.types import JSON, Role

__all__ = [
    "COPY_HASH",
    "KEYWORD_VECTOR",
    "FoundPoint",
    "StoredPoint",
    "hit_of",
    "ids_with_hash",
    "keyword_document",
    "keyword_vector",
    "payload_of",
    "unknown_quantization",
]

KEYWORD_VECTOR = "bm25"
"""Name of the sparse vector for keyword search."""
COPY_HASH = "lusifer_sha256"
"""Payload field that marks a copy which re-embedding made, with the hash of its content."""


_AS_WRITTEN = FieldRules()


class FoundPoint(Protocol):
    """A point that a search of the client or of the engine found."""

    @property
    def id(self) -> object:
        """Its id: a number or a UUID."""
        ...

    @property
    def score(self) -> float:
        """Its score, higher is nearer."""
        ...

    @property
    def payload(self) -> Mapping[str, JSON] | None:
        """Its payload, which another program may have written."""
        ...


class StoredPoint(Protocol):
    """A point that the client or the engine read by its id."""

    @property
    def id(self) -> object:
        """Its id: a number or a UUID."""
        ...

    @property
    def payload(self) -> Mapping[str, JSON] | None:
        """Its payload."""
        ...


def unknown_quantization(kind: str) -> InvalidInputError:
    """Return the error for a quantization that neither a server nor the engine has."""
    return InvalidInputError(
        f"The quantization is {kind!r}.", next_step=f"Use {', '.join(get_args(Quantization))}."
    )


def payload_of(document: Document, rules: FieldRules = _AS_WRITTEN) -> dict[str, JSON]:
    """Return the payload of a document's point.

    Args:
        document: What to store.
        rules: Where the collection has its texts.

    Raises:
        InvalidInputError: The document would not come back as it went in.
    """
    check_document(document)
    if rules.template or "." in rules.text_field:
        raise InvalidInputError(
            f"The texts of the collection are made of {', '.join(rules.text_fields)}, which no "
            "document here has.",
            next_step="Write its points as the application does that made it, or index into "
            "another collection.",
        )
    return {
        "id": document.id,
        rules.text_field: document.text,
        "metadata": document.metadata,
        "sha256": content_sha256(document),
    }


def ids_with_hash(
    points: Iterable[StoredPoint], documents: Mapping[str, Document]
) -> Iterator[str]:
    """Yield the ids of documents whose stored hash is that of their text and metadata.

    Args:
        points: Points that are stored, with ``sha256`` in their payload.
        documents: Documents by the id of their point.
    """
    for point in points:
        document = documents[str(point.id)]
        if (point.payload or {}).get("sha256") == content_sha256(document):
            yield document.id


def keyword_vector(
    document: Document, keywords: KeywordOptions | None
) -> dict[str, models.Document]:
    """Return the BM25 vector of a document by its name; nothing without keyword options."""
    if keywords is None:
        return {}
    return {KEYWORD_VECTOR: keyword_document(document.text, keywords, "document")}


def keyword_document(text: str, keywords: KeywordOptions, role: Role) -> models.Document:
    """Return what makes the BM25 vector of a text inside Qdrant."""
    document: type[models.Document] = import_client().models.Document
    return document(
        text=keywords.text_for_bm25(text, role), model=BM25_MODEL, options=keywords.bm25()
    )


def hit_of(point: FoundPoint, where: str, rules: FieldRules = _AS_WRITTEN) -> Hit:
    """Return the hit for a found point, which another program may have written.

    Args:
        point: A point. Where the payload has no ``id``, the hit has the point's id; where it has no
            ``metadata``, the hit has none, or the other fields if the text has another name.
        where: The collection, for the error.
        rules: Where the payload has its text.

    Raises:
        IndexCorruptError: The payload's text is missing or no text, or its ``metadata`` is no
            object.
    """
    payload = point.payload or {}
    text = rules.find_text(payload)
    if not isinstance(text, str):
        raise _not_a_document(point, where, " or ".join(rules.text_fields), text)
    others = {
        name: value
        for name, value in rules.without_text(payload).items()
        if name not in {"id", "sha256", COPY_HASH}
    }
    metadata = payload.get("metadata", {} if rules == _AS_WRITTEN else others)
    if not isinstance(metadata, dict):
        raise _not_a_document(point, where, "metadata", metadata)
    return Hit(str(payload.get("id", point.id)), float(point.score), text, metadata)


def _not_a_document(point: FoundPoint, where: str, name: str, found: JSON) -> IndexCorruptError:
    fault = "lacks" if found is None else f"has a {type(found).__name__} as"
    return IndexCorruptError(
        f"The payload of the point {point.id} of {where} {fault} {name}; its fields are "
        f"{', '.join(sorted(point.payload or {})) or 'none'}.",
        next_step="Write it again as lusifer index does, with id, text, metadata and sha256, or "
        "delete it.",
    )
