"""The documents of a file, of any kind that ``lusifer index`` reads, as a source."""

from __future__ import annotations

import random
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NoReturn

from lusifer.common.disk_map import DiskMap
from lusifer.common.iteration import chunked
from lusifer.errors import ReindexError
from lusifer.ingest.sources.source import DocumentSource
from lusifer.reindex.endpoints.base import KeyRange, Page, document_record
from lusifer.reindex.endpoints.key_ranges import cursor_count, sample_records
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lusifer.ingest.sources.base import Rejected
    from lusifer.reindex.endpoints.base import Record, Vector
    from lusifer.reindex.plan import Plan

__all__ = ["FileSource", "open_file"]

_KEYS_AT_ONCE = 1024
_REJECTED_KEPT = 100


def open_file(plan: Plan, *, key_of: Callable[[str], str] = document_uuid) -> FileSource:
    """Open the file that a plan takes its documents from.

    Args:
        plan: The plan.
        key_of: Maps a document's id to its key in the target.

    Raises:
        InvalidInputError: The file is not there, or of no kind that can be read.
    """
    place = plan.source
    documents = DocumentSource(place.address, id_field=place.id_field, rules=place.rules)
    return FileSource(documents, key_of=key_of, language_field=plan.language_field)


class FileSource:
    """A file, read from front to back; a cursor is the number of the next document.

    Args:
        source: Documents of the file.
        key_of: Maps a document's id to its key in the target.
        language_field: Field with the language of a document.
    """

    def __init__(
        self,
        source: DocumentSource,
        *,
        key_of: Callable[[str], str] = document_uuid,
        language_field: str = "lang",
    ) -> None:
        self.source = source
        self.language_field = language_field
        self.rejected_count = 0
        self.rejected: list[Rejected] = []
        """First 100 records of the file that are no documents; filled by :meth:`count`."""
        self._key_of = key_of
        self._items: Iterator[Document] = iter(())
        self._next = -1
        self._count: int | None = None
        self._rows = 0

    def count(self) -> int:
        """Count the documents; an id that occurs twice counts once. Reads the whole file once."""
        if self._count is None:
            self.rejected_count, self.rejected, self._rows = 0, [], 0
            with DiskMap() as keys:
                for page in chunked(self._read_ids(), _KEYS_AT_ONCE):
                    keys.put({self._key_of(document_id): "" for document_id in page})
                self._count = len(keys)
        return self._count

    def count_without_vector(self) -> int:
        """Return 0: a file has no vectors."""
        return 0

    def key_ranges(self, count: int) -> list[KeyRange]:
        """Split the documents by their numbers; each worker skips to its own range."""
        self.count()
        edges = [f"{index * self._rows // count:015d}" for index in range(1, count)]
        return [KeyRange(first, end) for first, end in pairwise(["", *edges, ""])]

    def sample(self, count: int, seed: int) -> list[Record[Document]]:
        """Return records from random places, in order, so that the file is read once."""
        total = self.count()
        chooser = random.Random(seed)  # noqa: S311
        numbers = sorted(chooser.randrange(max(1, self._rows)) for _ in range(cursor_count(count)))
        cursors = [f"{number:015d}" for number in numbers]
        return sample_records(self.read, cursors, total, count, seed)

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """Return the key of a document in the target; a file has no tenants."""
        return self._key_of(document_id)

    def read(self, key_range: KeyRange, cursor: str | None, limit: int) -> Page[Document]:
        """Return the next records; a read that continues the one before skips nothing."""
        begin = int(cursor or key_range.first or 0)
        if key_range.end:
            limit = min(limit, int(key_range.end) - begin)
        if begin < self._next or self._next < 0:
            self._items = (item for item in self.source if isinstance(item, Document))
            self._next = 0
        skipped = sum(1 for _ in islice(self._items, begin - self._next))
        documents = list(islice(self._items, limit))
        self._next += skipped + len(documents)
        more = len(documents) == limit and (not key_range.end or self._next < int(key_range.end))
        records = {(record := self._record(document)).key: record for document in documents}
        return Page(list(records.values()), f"{self._next:015d}" if more else None)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Raise: a file can't be asked by key."""
        self._refuse()

    def hashes(self, keys: Sequence[str]) -> dict[str, str]:
        """Raise: a file can't be asked by key."""
        self._refuse()

    def vectors(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Raise: a file has no vectors."""
        self._refuse()

    def nearest(
        self, vectors: Sequence[Vector], limit: int, tenant_keys: Sequence[str]
    ) -> list[list[Record[Document]]]:
        """Raise: a file can't be searched."""
        self._refuse()

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def _read_ids(self) -> Iterator[str]:
        for item in self.source:
            if isinstance(item, Document):
                self._rows += 1
                yield item.id
            else:
                self.rejected_count += 1
                if self.rejected_count <= _REJECTED_KEPT:
                    self.rejected.append(item)

    def _record(self, document: Document) -> Record[Document]:
        return document_record(self._key_of(document.id), document, self.language_field)

    def _refuse(self) -> NoReturn:
        raise ReindexError(
            f"{self.source.source} is a file and can't be searched.", next_step="Ask a database."
        )
