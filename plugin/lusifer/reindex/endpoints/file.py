"""Documents of another store, in any file that ``lusifer index`` reads, as the old side."""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from lusifer.common.disk_map import DiskMap
from lusifer.errors import StoreError
from lusifer.ingest.sources.base import Rejected
from lusifer.reindex.endpoints.base import Page, Record, Span, document_record
from lusifer.reindex.endpoints.key_ranges import places, sampled
from lusifer.stores.payloads import document_uuid
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from lusifer.ingest.sources.source import DocumentSource

__all__ = ["FileSide"]


class FileSide:
    """A file, read from front to back; a cursor is the number of the next document.

    Args:
        source: What to read.
        key_of: From a document's id to the key it gets on the new side.
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
        """The first records of the file that are no documents; found by :meth:`count`."""
        self._key_of = key_of
        self._items: Iterator[Document] = iter(())
        self._next = -1
        self._count: int | None = None
        self._rows = 0

    def count(self) -> int:
        """Documents; one that stands there twice counts once. The file is read once, whole."""
        if self._count is None:
            self.rejected_count, self.rejected, self._rows = 0, [], 0
            with DiskMap() as ids:
                page: dict[str, str] = {}
                for item in self.source:
                    if isinstance(item, Rejected):
                        self.rejected_count += 1
                        if self.rejected_count <= 100:
                            self.rejected.append(item)
                        continue
                    self._rows += 1
                    page[self._key_of(item.id)] = ""
                    if len(page) == 1024:
                        ids.put(page)
                        page = {}
                ids.put(page)
                self._count = len(ids)
        return self._count

    def count_without_vector(self) -> int:
        """A file has no vectors, and promises none."""
        return 0

    def spans(self, count: int) -> list[Span]:
        """Ranges of documents by their numbers; each worker skips to its own."""
        self.count()
        edges = [f"{index * self._rows // count:015d}" for index in range(1, count)]
        return [Span(first, end) for first, end in zip(["", *edges], [*edges, ""], strict=True)]

    def sample(self, count: int, seed: int) -> list[Record]:
        """Records from random places, in order, so that the file is read once."""
        total = self.count()
        chooser = random.Random(seed)  # noqa: S311
        numbers = sorted(chooser.randrange(max(1, self._rows)) for _ in range(places(count)))
        return sampled(self.read, [f"{number:015d}" for number in numbers], total, count, seed)

    def key_of(self, document_id: str, tenant: str = "") -> str:
        """The key of a document on the new side; there are no tenants."""
        return self._key_of(document_id)

    def read(self, span: Span, cursor: str | None, limit: int) -> Page:
        """See :class:`lusifer.reindex.endpoints.base.Source`; going on where the last one ended skips nothing."""
        begin = int(cursor or span.first or 0)
        if span.end:
            limit = min(limit, int(span.end) - begin)
        if begin < self._next or self._next < 0:
            self._items, self._next = (
                (each for each in self.source if isinstance(each, Document)),
                0,
            )
        skipped = sum(1 for _ in islice(self._items, begin - self._next))
        documents = list(islice(self._items, limit))
        self._next += skipped + len(documents)
        more = len(documents) == limit and (not span.end or self._next < int(span.end))
        records = {(record := self._record(document)).key: record for document in documents}
        return Page(list(records.values()), f"{self._next:015d}" if more else None)

    def present(self, keys: Sequence[str]) -> set[str]:
        """A file can't be asked by key."""
        self._refuse()

    def vectors(self, keys: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """A file has no vectors."""
        self._refuse()

    def nearest(
        self, vectors: Sequence[NDArray[np.float32]], limit: int, beside: Sequence[str]
    ) -> list[list[Record]]:
        """A file can't be searched."""
        self._refuse()

    def close(self) -> None:
        """Nothing is held."""

    def _record(self, document: Document) -> Record:
        return document_record(self._key_of(document.id), document, self.language_field)

    def _refuse(self) -> NoReturn:
        raise StoreError(f"{self.source.source} is a file.", next_step="Ask a database.")
