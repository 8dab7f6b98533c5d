"""How a document lies in Qdrant: its point id and payload, the same on a server and in the embedded engine.

::

    id       uuid5 of the document's id: Qdrant takes only numbers and UUIDs
    vector   {"lusifer": [...], "bm25": {...}}     the second only where keyword search was asked for
    payload  {"id": ..., "text": ..., "metadata": {...}, "sha256": ...}

``sha256`` is the hash of text and metadata. It tells what needs no new vector, and guards re-embedding: a
vector may be written only where the hash is still that of the text it was made from.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from lusifer.choices import Quantization
from lusifer.errors import IndexCorruptError, InvalidDimensionError, InvalidInputError
from lusifer.store import Document, Hit, check_document, content_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "KEYWORD_VECTOR",
    "VECTOR_NAME",
    "check_rows",
    "check_vectors",
    "hit_of",
    "payload_bytes",
    "payload_of",
    "point_id",
    "split",
    "unknown_quantization",
]

VECTOR_NAME = "lusifer"
KEYWORD_VECTOR = "bm25"

_NAMESPACE = uuid.UUID("5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665")
"""Never change it: the points of every collection are named with it."""


def unknown_quantization(kind: str) -> InvalidInputError:
    """Neither a server nor the engine keeps vectors so."""
    return InvalidInputError(
        f"The quantization is {kind!r}.", next_step=f"Use {', '.join(get_args(Quantization))}."
    )


def point_id(document_id: str) -> str:
    """The point id of a document."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


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


def payload_bytes(payload: Mapping[str, Any]) -> int:
    """Size of a payload as JSON."""
    return len(json.dumps(payload, ensure_ascii=False).encode())


def hit_of(point: Any, where: str) -> Hit:
    """The hit for a found point, which another program may have written.

    Args:
        point: Of the client or of the engine, with ``id``, ``score`` and ``payload``. Where the payload has
            no ``id``, the hit has that of the point; where it has no ``metadata``, the hit has none.
        where: The collection, for the error.

    Raises:
        IndexCorruptError: The payload's ``text`` is missing or no text, or its ``metadata`` is no object.
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
        str(payload.get("id", point.id)), float(point.score), payload["text"], payload.get("metadata", {})
    )


def split(sizes_bytes: Sequence[int], *, points: int, size_bytes: int) -> Iterator[list[int]]:
    """Indices of documents in operations of at most ``points`` points and ``size_bytes``, in order.

    A document larger than ``size_bytes`` gets an operation of its own.
    """
    part: list[int] = []
    part_bytes = 0
    for index, document_bytes in enumerate(sizes_bytes):
        if part and (len(part) == points or part_bytes + document_bytes > size_bytes):
            yield part
            part, part_bytes = [], 0
        part.append(index)
        part_bytes += document_bytes
    if part:
        yield part


def check_rows(documents: int, vectors: NDArray[np.float32], dimension: int, where: str) -> None:
    """Refuse vectors that are not one for each document; raises as :func:`check_vectors`."""
    check_vectors(vectors, dimension, where)
    if len(vectors) != documents:
        raise InvalidInputError(
            f"Got {documents} documents and {len(vectors)} vectors.",
            next_step="Give one vector for each document.",
        )


def check_vectors(vectors: NDArray[np.float32], dimension: int, where: str) -> None:
    """Refuse vectors that can't be stored or searched with.

    Args:
        vectors: Should be ``(N, D)``.
        dimension: D of the collection.
        where: The collection, for the error.

    Raises:
        InvalidDimensionError: Another shape.
        InvalidInputError: A vector is zero or not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidDimensionError(
            f"Vectors have shape {vectors.shape}, {where} takes (N, {dimension}).",
            next_step=f"Embed with dimension {dimension}, or index anew.",
        )
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.isfinite(norms).all() or (norms == 0).any():
        bad = int(np.flatnonzero(~np.isfinite(norms) | (norms == 0))[0])
        raise InvalidInputError(
            f"Vector {bad} of {len(vectors)} is zero or holds NaN or infinity.",
            next_step="Embed the text again.",
        )
