"""Documents that were split: the ids of their parts, and what keeps the parts together.

The first part has the id of its document, so that a document keeps its id whether it is split or
not. Each part is a document of its own in the store; its metadata names the document.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from lusifer.common.iteration import chunked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from lusifer.stores.base import Store
    from lusifer.types import Hit

__all__ = [
    "PART",
    "PART_OF",
    "delete_documents",
    "delete_further_parts",
    "part_id",
    "search_documents",
]

PART_OF = "lusifer_part_of"
"""Metadata field of a part with the id of its document."""
PART = "lusifer_part"
"""Metadata field of a part with its number, from 1."""

_PARTS_AT_ONCE = 8
_DOCUMENTS_AT_ONCE = 256


def part_id(document_id: str, number: int) -> str:
    """Return the id of a part of a document, by its number from 1.

    A checksum is part of it, so that no document of the user has it by chance.
    """
    if number == 1:
        return document_id
    checksum = hashlib.blake2b(f"{number} {document_id}".encode(), digest_size=8).hexdigest()
    return f"{document_id}#{number}-{checksum}"


def delete_further_parts(store: Store, counts: Mapping[str, int]) -> int:
    """Delete what is left of longer versions of documents; return how many parts existed.

    Args:
        store: The store.
        counts: Number of parts that each document has now, by its id.
    """
    deleted, first = 0, 1
    while counts:
        ids = (
            part_id(document_id, count + number)
            for document_id, count in counts.items()
            for number in range(first, first + (1 if first == 1 else _PARTS_AT_ONCE))
        )
        # Parts are numbered without gaps: where no document has the next ones, there are no more.
        found = store.delete(ids)
        if not found:
            break
        deleted += found
        first += 1 if first == 1 else _PARTS_AT_ONCE
    return deleted


def delete_documents(store: Store, ids: Iterable[str]) -> int:
    """Delete documents with all their parts; return how many documents existed."""
    deleted = 0
    for part in chunked(dict.fromkeys(ids), _DOCUMENTS_AT_ONCE):
        delete_further_parts(store, dict.fromkeys(part, 1))
        deleted += store.delete(part)
    return deleted


def search_documents(search: Callable[[int], list[Hit]], limit: int) -> list[Hit]:
    """Return the best documents, each with its best part.

    Args:
        search: Returns the best hits, parts among them, by how many at most.
        limit: Documents at most.

    Returns:
        Hits whose id is that of the document; the metadata of a part keeps its number.
    """
    depth = limit
    while True:
        found = search(depth)
        best: dict[str, Hit] = {}
        for hit in found:
            document_id = str(hit.metadata.get(PART_OF, hit.id))
            if document_id not in best:
                metadata = {name: value for name, value in hit.metadata.items() if name != PART_OF}
                best[document_id] = replace(hit, id=document_id, metadata=metadata)
        if len(best) >= limit or len(found) < depth:
            return list(best.values())[:limit]
        depth *= 4
