"""Find and delete the documents of a store that its source no longer has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.common.disk_map import DiskMap
from lusifer.common.iteration import chunked
from lusifer.errors import InvalidInputError
from lusifer.ingest.sources.base import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lusifer.stores.base import Store
    from lusifer.types import Document

__all__ = ["MAXIMUM_SHARE", "SourceSync"]

MAXIMUM_SHARE = 0.1
"""Largest share of the documents that is deleted without ``--force``: more is rather a wrong
source than a change of it."""

_IDS_AT_ONCE = 1000


class SourceSync:
    """Remembers which documents a source has, on disk, and deletes the others from a store."""

    def __init__(self) -> None:
        self._seen = DiskMap()
        self._orphans = DiskMap()
        self._stored = 0
        self._rejected = 0

    def watch(self, documents: Iterable[Document | Rejected]) -> Iterator[Document | Rejected]:
        """Yield the documents of the source, and remember their ids."""
        for item in documents:
            if isinstance(item, Rejected):
                self._rejected += 1
            else:
                self._seen.setdefault(item.id, "")
            yield item

    def find_orphans(self, store: Store) -> int:
        """Find the stored documents that the source did not have; return how many there are."""
        self._orphans.clear()
        self._stored = 0
        for ids in chunked(store.document_ids(), _IDS_AT_ONCE):
            self._stored += len(ids)
            seen = self._seen.get(ids)
            self._orphans.put({each: "" for each in ids if each not in seen})
        return len(self._orphans)

    def check(self, *, force: bool) -> None:
        """Refuse to delete what may still be in the source.

        Args:
            force: Delete in any case.

        Raises:
            InvalidInputError: Records were rejected, or too many documents would be deleted.
        """
        count = len(self._orphans)
        if force or not count:
            return
        if self._rejected:
            raise InvalidInputError(
                f"{count:,} of {self._stored:,} documents are not in the source, but "
                f"{self._rejected:,} records could not be read and may be among them. Nothing was "
                "deleted.",
                next_step="Correct the records, or delete in any case with --force.",
            )
        if count > MAXIMUM_SHARE * self._stored:
            raise InvalidInputError(
                f"{count:,} of {self._stored:,} documents are not in the source, which is more "
                f"than {MAXIMUM_SHARE:.0%}. Nothing was deleted.",
                next_step="Check that the source is whole, then delete with --force.",
            )

    def delete_orphans(self, store: Store) -> int:
        """Delete what :meth:`find_orphans` found; return how many documents existed."""
        return sum(store.delete(page) for page in self._orphans.pages(_IDS_AT_ONCE))

    def close(self) -> None:
        """Remove the temporary files."""
        self._seen.close()
        self._orphans.close()
