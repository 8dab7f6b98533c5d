"""Documents of one source: a file, a folder or standard input.

A record that can't be indexed comes out as a :class:`~lusifer.ingest.sources.base.Rejected` value
in its place. The other records are not affected, and no record is dropped silently. Everything is
streamed: memory does not grow with the source. A checksum for each id, to notice an id that two
texts use, goes to a temporary file.
"""

from __future__ import annotations

import json
from dataclasses import replace
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.errors import InvalidInputError
from lusifer.ingest.duplicates import DuplicateIds
from lusifer.ingest.sources.base import (
    Accepted,
    DocumentBuilder,
    Reader,
    Record,
    Rejected,
)
from lusifer.ingest.sources.folder import FolderReader
from lusifer.ingest.sources.formats import reader_class
from lusifer.ingest.sources.several import (
    SeveralReader,
    ZipReader,
    partition_of,
    record_readers,
)
from lusifer.ingest.sources.standard_input import StandardInputReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lusifer.stores.fields import FieldRules
    from lusifer.types import Document

__all__ = ["DocumentSource"]

_ID_FIELD = "id"
_HELD = 1000
_HELD_CHARACTERS = 8 * 1024**2
"""Records, and characters of their texts, that are read to see whether one has an id."""


class DocumentSource:
    """Documents of one source or several; each iteration reads them from their beginning.

    Args:
        source: A file ``.jsonl``, ``.ndjson``, ``.json`` (one object a line), ``.csv`` or ``.tsv``
            (with a header), each also as ``.gz``, ``.bz2`` or ``.zst``; a file ``.parquet``; a
            folder or a ``.zip``, of which the ``.txt`` and ``.md`` files are read, or, without any,
            the files above, except in hidden folders; a pattern such as ``data/*.jsonl``; or ``-``
            for JSON lines or CSV on standard input. Several of them make one source.
        text_field: Field or column that holds the text.
        id_field: Field or column that holds the id. Where a record has none, its id is a hash of
            all its fields; in a folder, the id is the file's relative path. All other fields become
            metadata. A name other than ``id`` must be that of a field.
        rules: Rules for fields beyond the name of the one with the text, which they name too.

    Raises:
        InvalidInputError: The source doesn't exist or has no known format.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path],
        *,
        text_field: str = "text",
        id_field: str = _ID_FIELD,
        rules: FieldRules | None = None,
    ) -> None:
        given = [source] if isinstance(source, str | Path) else list(source)
        names = list(map(str, given))
        self.source = ", ".join(names)
        text_field = rules.text_field if rules else text_field
        self.text_field = text_field
        self.id_field = id_field
        self._duplicates = DuplicateIds()
        self._further_fields = rules.further_fields if rules else {}
        self._unseen = set(self._further_fields)
        builder = DocumentBuilder(text_field, id_field, rules=rules, unseen=self._unseen)
        readers = [(name, _choose_reader(name, builder)) for name in names]
        self._reader = readers[0][1] if len(readers) == 1 else SeveralReader(readers)

    @property
    def fraction(self) -> float | None:
        """Share of the source that was read, from 0 to 1, or None where its size is unknown."""
        return self._reader.fraction

    def __iter__(self) -> Iterator[Document | Rejected]:
        """Yield the documents in the order of the source.

        Raises:
            InvalidInputError: The source as a whole can't be read: wrong columns, no text files.
        """
        self._duplicates.clear()
        records = iter(self._reader)
        if self.id_field not in {_ID_FIELD, self.text_field} and not isinstance(
            self._reader, FolderReader
        ):
            records = self._with_ids(records)
        for record in records:
            yield self._check_id(record) if isinstance(record, Accepted) else record

    @property
    def notes(self) -> list[str]:
        """What a reader should know about what was read so far, in sentences."""
        unseen = [
            f"No record that was read has the field {name!r}, which {self._further_fields[name]} "
            "names."
            for name in sorted(self._unseen)
        ]
        return [*self._reader.notes, *unseen]

    def _with_ids(self, records: Iterator[Record]) -> Iterator[Record]:
        """Yield the records once one of the first has an id.

        Raises:
            InvalidInputError: None has one.
        """
        held: list[Record] = []
        size = count = 0
        for record in records:
            held.append(record)
            if isinstance(record, Accepted):
                if record.has_id:
                    yield from held
                    yield from records
                    return
                count += 1
                size += len(record.document.text)
                if count == _HELD or size > _HELD_CHARACTERS:
                    break
        fields = next(
            (list(each.document.metadata) for each in held if isinstance(each, Accepted)), None
        )
        if fields is None:
            yield from held
            return
        shown = ", ".join(map(repr, [self.text_field, *fields][:20]))
        raise InvalidInputError(
            f"None of the first {count:,} records of {self.source} has the field "
            f"{self.id_field!r}; the first has {shown}.",
            next_step="Name the field with the id: --id-field NAME, or leave --id-field out.",
        )

    def _check_id(self, record: Accepted) -> Document | Rejected:
        """Return the document, or a rejection if its id belongs to another document already."""
        document = record.document
        content = json.dumps([document.text, document.metadata], ensure_ascii=False, sort_keys=True)
        if self._duplicates.is_same(document.id, content):
            return document
        return Rejected(
            record.where,
            f"The id {document.id!r} was used before in this source, with another text or other "
            "fields.",
            "Give each document its own id, or name another field with --id-field "
            f"(now {self.id_field!r}).",
        )


def _choose_reader(source: str, builder: DocumentBuilder) -> Reader:
    if source == "-":
        return StandardInputReader(builder)
    path = Path(source)
    try:
        is_folder = path.is_dir()
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"The source {source!r} can't be opened: {error}.",
            next_step="Name a file or folder.",
        ) from error
    if not exists:
        matching = sorted(glob(source, recursive=True)) if has_magic(source) else []  # noqa: PTH207 - the pattern may be absolute
        if matching:
            return SeveralReader(
                [
                    (each, _choose_reader(each, replace(builder, partition=partition_of(each))))
                    for each in matching
                ]
            )
        raise InvalidInputError(
            f"There is no file or folder {path}.",
            next_step="Check the path; - reads standard input.",
        )
    if is_folder:
        # Texts first: data beside them are rather theirs than documents.
        texts = FolderReader(path, builder)
        return texts if texts.has_texts() else record_readers(path, builder) or texts
    if path.suffix.lower() == ".zip":
        return ZipReader(path, builder)
    if found := reader_class(path.name):
        return found(path, builder)
    raise InvalidInputError(
        f"{path} has no format that can be indexed.",
        next_step="Name a .jsonl or .csv file (.gz, .bz2 or .zst too), a .parquet file, a folder "
        "or .zip of such files or of .txt or .md files, or - for standard input.",
    )
