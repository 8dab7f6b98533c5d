"""Shared by the readers of all formats: turns a record into a document or a rejection."""

from __future__ import annotations

import hashlib
import os
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol, TypeAlias
from zipfile import BadZipFile

from lusifer.common.validation import check_text
from lusifer.errors import InvalidInputError, InvalidTextError
from lusifer.ingest.encoding import Utf8Stream
from lusifer.ingest.sources.packed import unpacked
from lusifer.stores.fields import FieldRules, has_field
from lusifer.stores.payloads import check_document, content_sha256
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from lusifer.types import JSON

__all__ = [
    "UNREADABLE",
    "Accepted",
    "DocumentBuilder",
    "FileReader",
    "PathReader",
    "Reader",
    "Record",
    "Rejected",
    "missing_column",
    "unreadable",
]

UNREADABLE = (EOFError, BadZipFile, zlib.error, OSError)
"""Exceptions that a damaged file raises while it is read."""

_COLUMNS_SHOWN = 50
_NAME_SHOWN = 100
"""Columns, and characters of a name, that a message quotes at most."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can't be indexed."""

    where: str
    """File and line, or file."""
    reason: str
    """Fault of the record."""
    next_step: str
    """Advice in the imperative."""

    def as_dict(self) -> dict[str, str]:
        """Return the fields as JSON."""
        return {"where": self.where, "reason": self.reason, "next_step": self.next_step}


class Accepted(NamedTuple):
    """A document, and where its record stands."""

    where: str
    document: Document
    has_id: bool = True
    """Whether the record had an id; otherwise the id is a hash of the content."""


Record: TypeAlias = Accepted | Rejected
"""The result of one record."""


class Reader(Protocol):
    """Reads the records of one source; each iteration starts at its beginning."""

    @property
    def fraction(self) -> float | None:
        """Share of the source that was read, from 0 to 1, or None where its size is unknown."""

    @property
    def notes(self) -> list[str]:
        """What a reader should know about what was read so far, in sentences."""

    def __iter__(self) -> Iterator[Record]: ...


@dataclass(frozen=True)
class DocumentBuilder:
    """Turns records into documents, or into the reason why they can't be indexed."""

    text_field: str = "text"
    """Field or column that holds the text."""
    id_field: str = "id"
    """Field or column that holds the id."""
    partition: Mapping[str, JSON] = field(default_factory=dict)
    """Fields that all records of a file have by its place, as ``year=2024/data.parquet``; a
    record's own field counts more."""
    rules: FieldRules | None = None
    """Rules for fields beyond the name of the one with the text."""
    unseen: set[str] = field(default_factory=set)
    """Fields that no record had so far, of those that the rules name."""

    @property
    def _rules(self) -> FieldRules:
        return self.rules or FieldRules(self.text_field)

    def has_text(self, columns: Iterable[str]) -> bool:
        """Return whether a table with these columns has one that a text can be made of."""
        known = set(columns)
        return any(
            not known.isdisjoint({each, each.partition(".")[0]}) for each in self._rules.text_fields
        )

    def from_fields(self, fields: Mapping[str, JSON], where: str) -> Record:
        """Build a document from a record's fields; all but text and id become metadata."""
        fields = {**self.partition, **fields}
        rules = self._rules
        if self.unseen:
            self.unseen.difference_update([n for n in self.unseen if has_field(fields, n)])
        text = rules.find_text(fields)
        if text is None and (rules.template or rules.text_field not in fields):
            found = ", ".join(repr(each[:_NAME_SHOWN]) for each in islice(fields, 10)) or "none"
            wanted = " or ".join(map(repr, rules.text_fields))
            reason = f"The field {wanted} is missing; the fields are {found}."
            return Rejected(
                where, _printable(reason), "Name the field with the text: --text-field NAME."
            )
        if not isinstance(text, str):
            reason = f"The field {self.text_field!r} holds a {type(text).__name__}, not a text."
            return Rejected(where, reason, "Write the text as a JSON string.")
        given = fields.get(self.id_field) if self.id_field != self.text_field else None
        if isinstance(given, bool) or not isinstance(given, str | int | None):
            reason = f"The field {self.id_field!r} holds a {type(given).__name__}."
            return Rejected(where, reason, "Write the id as a text or a whole number.")
        others = {name: fields[name] for name in fields if name != self.id_field}
        try:
            metadata = rules.without_text(others)
        except InvalidInputError as error:
            return Rejected(where, error.message, error.next_step)
        return self.from_text("" if given is None else str(given), text, metadata, where)

    def from_text(self, id_: str, text: str, metadata: Mapping[str, JSON], where: str) -> Record:
        """Build a document and check it.

        Without an id, its id is the hash of all its fields, so that two documents with the same
        text and other fields stay apart.
        """
        try:
            check_text(text)
        except InvalidTextError as error:
            # Python keeps the undecodable byte 0xE9 as U+DCE9. The message names the byte, which is
            # what the file holds.
            escaped = next((c for c in text if "\udc80" <= c <= "\udcff"), None)
            if escaped is not None and "\x00" not in text and "lone surrogate" in error.message:
                reason = f"The text is not UTF-8: it holds the byte 0x{ord(escaped) - 0xDC00:02X}."
                return Rejected(where, reason, "Save the source as UTF-8.")
            return Rejected(where, error.message, error.next_step)
        document = Document(id_ or "-", text, metadata)
        try:
            check_document(document)
            if not id_:
                document = replace(document, id=_content_id(document))
        except InvalidInputError as error:
            return Rejected(where, error.message, error.next_step)
        except RecursionError:
            return Rejected(
                where, "The fields are too deeply nested.", "Flatten them, or leave them out."
            )
        return Accepted(where, document, has_id=bool(id_))


class PathReader:
    """Base of readers of a path.

    Args:
        path: File or folder to read.
        builder: Turns records into documents.
    """

    def __init__(self, path: Path, builder: DocumentBuilder) -> None:
        self.path = path
        self.builder = builder


class FileReader(PathReader, ABC):
    """Reads the records of one file, which is unpacked while it is read.

    Args:
        path: The file.
        builder: Turns records into documents.
        name: What to call the file in messages; by default its name.
    """

    is_text = True
    """Whether the file is text, which may be in any encoding."""

    def __init__(self, path: Path, builder: DocumentBuilder, name: str = "") -> None:
        super().__init__(path, builder)
        self.name = name or path.name
        self.notes: list[str] = []
        self._position: Callable[[], float | None] = lambda: None

    @property
    def fraction(self) -> float | None:
        """Share of the file that was read, from 0 to 1; None before the first record."""
        return self._position()

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in the order of the file.

        Raises:
            InvalidInputError: The file as a whole can't be read.
            MissingExtraError: A package that unpacks or reads it is not installed.
        """
        try:
            raw = self.path.open("rb")
        except OSError as error:
            raise InvalidInputError(
                f"{self.path} can't be opened: {error.strerror}.",
                next_step="Check the file's permissions.",
            ) from error
        with raw:
            self.notes = []
            total_bytes = max(1, os.fstat(raw.fileno()).st_size)
            self._position = lambda: 1.0 if raw.closed else min(1.0, raw.tell() / total_bytes)
            yield from self.read_packed(raw)

    def read_packed(self, raw: IO[bytes]) -> Iterator[Record]:
        """Yield the records of an open file that may be packed, in any encoding."""
        with unpacked(raw, self.path.suffix.lower()) as file:
            yield from self._read_encoded(file)

    def _read_encoded(self, file: IO[bytes]) -> Iterator[Record]:
        """Yield the records of an open file in any encoding."""
        if not self.is_text:
            yield from self.read(file, self.name)
            return
        try:
            text, encoding = Utf8Stream.buffered(file)
        except UNREADABLE as error:
            yield unreadable(f"{self.name} at its beginning", error)
            return
        if encoding not in {"utf-8", "utf-8-sig"}:
            self.notes.append(f"{self.name} was read as {encoding}.")
        yield from self.read(text, self.name)

    @abstractmethod
    def read(self, file: IO[bytes], name: str) -> Iterator[Record]:
        """Yield the records of an open file, which is called ``name`` in messages.

        Raises:
            InvalidInputError: The file as a whole can't be read.
        """


def _content_id(document: Document) -> str:
    """Return the id of a document without one."""
    if not document.metadata:
        return hashlib.sha256(document.text.encode()).hexdigest()
    return content_sha256(document)


def unreadable(where: str, error: BaseException) -> Rejected:
    """Return the last record of a file that is damaged after ``where``."""
    return Rejected(
        where,
        f"The rest of the file can't be read: {error}.",
        "The file is damaged. Download or compress it again.",
    )


def missing_column(name: str, text_field: str, columns: Iterable[str]) -> InvalidInputError:
    """Return the error of a table that has no column with the text; it names some of its own."""
    named = [each[:_NAME_SHOWN] for each in islice(columns, _COLUMNS_SHOWN + 1)]
    more = ", …" if len(named) > _COLUMNS_SHOWN else ""
    return InvalidInputError(
        f"{name} has no column {text_field!r}; its columns are "
        f"{', '.join(named[:_COLUMNS_SHOWN])}{more}.",
        next_step="Name the column with the text: --text-field NAME.",
    )


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
