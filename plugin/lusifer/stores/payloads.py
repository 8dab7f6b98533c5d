"""Id, content hash and checks of a document before a store writes it."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer.common.validation import check_text, vector_fault
from lusifer.errors import InvalidDimensionError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lusifer.types import Document

__all__ = [
    "VECTOR_NAME",
    "check_document",
    "check_rows",
    "check_vectors",
    "content_sha256",
    "document_uuid",
    "payload_bytes",
]

VECTOR_NAME = "lusifer"
"""Default name of our vector in a collection."""

_NAMESPACE = uuid.UUID("5b0b5a0e-6d0c-5d4e-9f1c-6c7573696665")
"""Namespace of point ids. Never change it: every collection has points named with it."""


def document_uuid(document_id: str) -> str:
    """Return the point id of a document."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


def content_sha256(document: Document) -> str:
    """Return the hash of text and metadata, whatever the order of keys.

    Documents with equal hashes need not be written again.
    """
    canonical = json.dumps(
        [document.text, document.metadata], sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def payload_bytes(payload: Mapping[str, object]) -> int:
    """Return the size of a payload as JSON."""
    return len(json.dumps(payload, ensure_ascii=False).encode())


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
        vectors: ``(N, D)`` if they are right.
        dimension: D of the collection.
        where: The collection, for the error.

    Raises:
        InvalidDimensionError: They have another shape.
        InvalidInputError: A vector is zero or not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidDimensionError(
            f"Vectors have shape {vectors.shape}, {where} takes (N, {dimension}).",
            next_step=f"Embed with dimension {dimension}, or index again.",
        )
    fault = vector_fault(vectors.astype(np.float32), len(vectors), dimension, unit_norm=False)
    if fault is not None:
        raise InvalidInputError(
            f"The vectors for {where} have {fault}.", next_step="Embed the text again."
        )


def check_document(document: Document) -> None:
    """Refuse a document that would not come back as it went in.

    Raises:
        InvalidInputError: The id is empty or not clean text, or the metadata is not JSON.
        InvalidTextError: The text can't be embedded.
    """
    try:
        check_text(document.id)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"The document id {document.id!r} can't be used: {error.message}",
            next_step="Give it a readable id.",
        ) from error
    check_text(document.text)
    if not isinstance(document.metadata, dict):
        raise _not_json(document, "metadata", document.metadata)
    _check_json(document, "metadata", document.metadata)


def _check_json(document: Document, path: str, value: object) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _check_json(document, path, key if isinstance(key, str) else _Refused(key))
            _check_json(document, f"{path}.{key}", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_json(document, f"{path}[{index}]", item)
    elif isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate
            raise _not_json(document, path, value) from None
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        # Stores keep 64 bits; a larger number would silently come back as a rounded float.
        if not -(2**63) <= value < 2**63:
            raise _not_json(document, path, value)
    elif not isinstance(value, float) or value - value != 0:  # NaN and infinities
        raise _not_json(document, path, value)


@dataclass(frozen=True)
class _Refused:
    key: object


def _not_json(document: Document, path: str, value: object) -> InvalidInputError:
    return InvalidInputError(
        f"Document {document.id!r}: {path} holds {value!r} ({type(value).__name__}), which JSON or "
        "a store's 64-bit numbers can't keep.",
        next_step="Convert it to a string, a 64-bit integer or a finite number.",
    )
