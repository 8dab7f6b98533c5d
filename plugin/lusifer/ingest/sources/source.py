"""Documents from JSON lines, CSV, Parquet, a folder of text files or standard input.

A record that can't be indexed comes out as a :class:`Rejected` value in its place: the rest goes
on, and nothing is dropped in silence. Everything is streamed: memory does not grow with the source.
What must be remembered, a checksum for each id to notice one that is used for two texts, goes to a
temporary file.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import sys
import zlib
from dataclasses import dataclass
from datetime import date
from datetime import time as dt_time
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from lusifer.common.validation import check_text
from lusifer.errors import InvalidInputError, InvalidTextError, MissingExtraError
from lusifer.ingest.duplicates import DuplicateIds
from lusifer.ingest.line_reader import MAXIMUM_LINE_BYTES, Line, decode_utf8, read_lines
from lusifer.stores.payloads import check_document
from lusifer.types import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["DocumentSource", "Rejected"]

TEXT_SUFFIXES = frozenset({".txt", ".md"})
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PARQUET_ROWS = 512
_PARQUET_BUFFER_BYTES = 1024**2
_UNREADABLE = (EOFError, gzip.BadGzipFile, zlib.error, OSError)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can't be indexed."""

    where: str
    """File and line, or file."""
    reason: str
    next_step: str

    def as_dict(self) -> dict[str, str]:
        """JSON-ready fields."""
        return {"where": self.where, "reason": self.reason, "next_step": self.next_step}


class DocumentSource:
    """Documents of one source, read anew by each iteration.

    Args:
        source: A file ``.jsonl``, ``.ndjson``, ``.json`` (one object a line), ``.csv`` or ``.tsv``
            (with a header), each also as ``.gz``; a file ``.parquet``; a folder, of which the
            ``.txt`` and ``.md`` files are read, except in hidden folders; or ``-`` for JSON lines
            on standard input.
        text_field: Field or column that holds the text.
        id_field: Field or column that holds the id. Where a record has none, its id is the sha256
            of its text; in a folder, the id is the file's relative path. All other fields become
            metadata.

    Raises:
        InvalidInputError: The source doesn't exist or is of no known kind.
    """

    def __init__(
        self, source: str | Path, *, text_field: str = "text", id_field: str = "id"
    ) -> None:
        self.source = str(source)
        self.text_field = text_field
        self.id_field = id_field
        self._position: Callable[[], float | None] = lambda: None
        self._duplicates = DuplicateIds()
        self._read = self._reader()

    @property
    def fraction(self) -> float | None:
        """How much of the source was read, from 0 to 1, or None where its size is unknown."""
        return self._position()

    def __iter__(self) -> Iterator[Document | Rejected]:
        """Documents in the order of the source.

        Raises:
            InvalidInputError: The source as a whole can't be read: wrong columns, no text files.
        """
        self._duplicates.clear()
        for item in self._read():
            yield self._refuse_other_use_of_id(*item) if isinstance(item, tuple) else item

    def _reader(self) -> Callable[[], Iterator[tuple[str, Document] | Rejected]]:
        if self.source == "-":
            return lambda: self._json_lines(sys.stdin.buffer, "standard input")
        path = Path(self.source)
        try:
            is_folder = path.is_dir()
            exists = path.exists()
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"The source {self.source!r} can't be opened: {error}.",
                next_step="Name a file or folder.",
            ) from error
        if not exists:
            raise InvalidInputError(
                f"There is no file or folder {path}.",
                next_step="Check the path; - reads standard input.",
            )
        if is_folder:
            return lambda: self._folder(path)
        suffixes = [suffix.lower() for suffix in path.suffixes]
        if suffixes[-1:] == [".gz"]:
            suffixes.pop()
        kind = suffixes[-1] if suffixes else ""
        if kind in {".jsonl", ".ndjson", ".json"}:
            return lambda: self._file(path, self._json_lines)
        if kind in _SEPARATORS:
            return lambda: self._file(
                path, lambda file, name: self._csv(file, name, _SEPARATORS[kind])
            )
        if kind == ".parquet" and path.suffix.lower() == ".parquet":
            return lambda: self._file(path, self._parquet)
        raise InvalidInputError(
            f"{path} is of no kind that can be indexed.",
            next_step="Name a .jsonl or .csv file (.gz too), a .parquet file, a folder of .txt or .md "
            "files, or - for JSON lines on standard input.",
        )

    def _file(
        self,
        path: Path,
        read: Callable[[IO[bytes], str], Iterator[tuple[str, Document] | Rejected]],
    ) -> Iterator[tuple[str, Document] | Rejected]:
        try:
            raw = path.open("rb")
        except OSError as error:
            raise InvalidInputError(
                f"{path} can't be opened: {error.strerror}.",
                next_step="Check the file's permissions.",
            ) from error
        with raw:
            total_bytes = max(1, os.fstat(raw.fileno()).st_size)
            self._position = lambda: 1.0 if raw.closed else min(1.0, raw.tell() / total_bytes)
            packed = path.suffix.lower() == ".gz"
            if packed:
                with gzip.open(raw) as unpacked:
                    yield from read(unpacked, path.name)  # type: ignore[arg-type]
            else:
                yield from read(raw, path.name)

    def _json_lines(self, file: IO[bytes], name: str) -> Iterator[tuple[str, Document] | Rejected]:
        number, first = 0, True
        lines = read_lines(file)
        while True:
            try:
                line = next(lines, None)
            except _UNREADABLE as error:
                yield _unreadable(f"{name} after line {number}", error)
                return
            if line is None:
                return
            number = line.number
            if line.error is None and not line.raw.strip():
                continue
            if first and line.raw.lstrip().startswith(b"["):
                raise InvalidInputError(
                    f"{name} holds one JSON list, not one JSON object a line.",
                    next_step=f"Convert it, for example with: jq -c '.[]' {name} > documents.jsonl",
                )
            first = False
            yield self._json_line(line, f"{name} line {number}")

    def _json_line(self, line: Line, where: str) -> tuple[str, Document] | Rejected:
        try:
            fields = json.loads(decode_utf8(line), parse_constant=_refuse_constant)
        except InvalidTextError as error:
            return Rejected(where, error.message, error.next_step)
        except (ValueError, RecursionError) as error:
            reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
            return Rejected(
                where, f"The line is not JSON: {reason}.", "Write one JSON object a line."
            )
        if not isinstance(fields, dict):
            kind = type(fields).__name__
            return Rejected(
                where,
                f"The line holds a {kind}, not a JSON object.",
                "Write one JSON object a line.",
            )
        return self._document(fields, where)

    def _csv(
        self, file: IO[bytes], name: str, separator: str
    ) -> Iterator[tuple[str, Document] | Rejected]:
        csv.field_size_limit(MAXIMUM_LINE_BYTES)
        # Undecodable bytes become lone surrogates, which are refused below with the line they stand
        # in.
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        try:
            yield from self._rows(text, name, separator)
        finally:
            text.detach()

    def _rows(
        self, text: IO[str], name: str, separator: str
    ) -> Iterator[tuple[str, Document] | Rejected]:
        # Strict, because otherwise a quote that is never closed swallows the rest of the file as
        # one text.
        rows = csv.reader(text, delimiter=separator, strict=True)
        header: list[str] | None = None
        while True:
            start = rows.line_num + 1
            where = f"{name} line {start}"
            try:
                row = next(rows, None)
            except csv.Error as error:
                if header is None:
                    self._refuse_header(name, str(error))
                if rows.line_num > start:
                    where += f" to {rows.line_num}"
                yield Rejected(
                    where, f"The row is not CSV: {error}.", "Check the quotes in this row."
                )
                continue
            except _UNREADABLE as error:
                yield _unreadable(f"{name} after line {rows.line_num}", error)
                return
            if row is None:
                break
            if not row:
                continue
            if header is None:
                header = self._checked_header(row, name)
            elif len(row) != len(header):
                reason = f"The row has {len(row)} columns, the header {len(header)}."
                yield Rejected(where, reason, "Put quotes around fields that hold the separator.")
            else:
                yield self._document(dict(zip(header, row, strict=True)), where)
        if header is None:
            self._refuse_header(name, "it is empty")

    def _refuse_header(self, name: str, reason: str) -> NoReturn:
        raise InvalidInputError(
            f"{name} has no header that can be read: {reason}.",
            next_step=f"Write the names of the columns in the first line, one of them {self.text_field!r}.",
        )

    def _checked_header(self, row: list[str], name: str) -> list[str]:
        twice = sorted({column for column in row if row.count(column) > 1})
        if twice:
            self._refuse_header(name, f"the column {twice[0]!r} stands there twice")
        if self.text_field not in row:
            raise InvalidInputError(
                f"{name} has no column {self.text_field!r}; its columns are {', '.join(map(repr, row))}.",
                next_step="Name the column with the text: --text-field NAME.",
            )
        return row

    def _parquet(self, file: IO[bytes], name: str) -> Iterator[tuple[str, Document] | Rejected]:
        try:
            from pyarrow import ArrowException
            from pyarrow.parquet import ParquetFile
        except ImportError as error:
            raise MissingExtraError(
                f"Parquet files need pyarrow: {error}.",
                next_step="Run pip install 'lusifer[parquet]'.",
            ) from error
        row = 0
        try:
            # Neither pre-buffered nor read a column at a time: both would hold a whole row group.
            table = ParquetFile(file, pre_buffer=False, buffer_size=_PARQUET_BUFFER_BYTES)
            columns = table.schema_arrow.names
            if self.text_field not in columns:
                raise InvalidInputError(
                    f"{name} has no column {self.text_field!r}; its columns are {', '.join(columns)}.",
                    next_step="Name the column with the text: --text-field NAME.",
                )
            total = max(1, table.metadata.num_rows)
            self._position = lambda: min(1.0, row / total)
            for batch in table.iter_batches(batch_size=_PARQUET_ROWS):
                for fields in batch.to_pylist():
                    row += 1
                    plain = {
                        key: _plain(value) for key, value in fields.items() if value is not None
                    }
                    yield self._document(plain, f"{name} row {row}")
        except (ArrowException, OSError) as error:
            yield _unreadable(f"{name} after row {row}", error)

    def _folder(self, folder: Path) -> Iterator[tuple[str, Document] | Rejected]:
        total = sum(1 for _ in _text_files(folder))
        if total == 0:
            raise InvalidInputError(
                f"{folder} holds no .txt or .md file.",
                next_step="Name another folder, or a .jsonl or .csv file.",
            )
        done = 0
        self._position = lambda: min(1.0, done / total)
        for path in _text_files(folder):
            yield self._text_file(path, path.relative_to(folder).as_posix())
            done += 1

    def _text_file(self, path: Path, name: str) -> tuple[str, Document] | Rejected:
        where = name.encode("utf-8", "backslashreplace").decode()
        if not path.is_file():
            return Rejected(
                where, "It is not a regular file.", "Replace it with a file, or remove it."
            )
        try:
            with path.open("rb") as file:
                raw = file.read(MAXIMUM_LINE_BYTES + 1)
        except OSError as error:
            return Rejected(
                where, f"It can't be read: {error.strerror}.", "Check the file's permissions."
            )
        if len(raw) > MAXIMUM_LINE_BYTES:
            reason = f"It has more than {MAXIMUM_LINE_BYTES} bytes."
            return Rejected(where, reason, "Split it into several files.")
        try:
            text = decode_utf8(Line(1, raw))
        except InvalidTextError as error:
            return Rejected(where, error.message, error.next_step)
        return self._checked(name, text, {"path": name}, where)

    def _document(self, fields: dict[str, Any], where: str) -> tuple[str, Document] | Rejected:
        if self.text_field not in fields:
            found = ", ".join(map(repr, list(fields)[:10])) or "none"
            reason = f"The field {self.text_field!r} is missing; the fields are {found}."
            return Rejected(
                where, _printable(reason), "Name the field with the text: --text-field NAME."
            )
        text = fields[self.text_field]
        if not isinstance(text, str):
            reason = f"The field {self.text_field!r} holds a {type(text).__name__}, not a text."
            return Rejected(where, reason, "Write the text as a JSON string.")
        given = fields.get(self.id_field) if self.id_field != self.text_field else None
        if isinstance(given, bool) or not isinstance(given, str | int | None):
            reason = f"The field {self.id_field!r} holds a {type(given).__name__}."
            return Rejected(where, reason, "Write the id as a text or a whole number.")
        metadata = {
            name: fields[name] for name in fields if name not in (self.text_field, self.id_field)
        }
        return self._checked("" if given is None else str(given), text, metadata, where)

    def _checked(
        self, id_: str, text: str, metadata: dict[str, Any], where: str
    ) -> tuple[str, Document] | Rejected:
        try:
            check_text(text)
        except InvalidTextError as error:
            # Python keeps the undecodable byte 0xE9 as U+DCE9: name the byte, which is what the
            # file holds.
            escaped = next((c for c in text if "\udc80" <= c <= "\udcff"), None)
            if escaped is not None and "\x00" not in text and "lone surrogate" in error.message:
                reason = f"The text is not UTF-8: it holds the byte 0x{ord(escaped) - 0xDC00:02X}."
                return Rejected(where, reason, "Save the source as UTF-8.")
            return Rejected(where, error.message, error.next_step)
        document = Document(id_ or hashlib.sha256(text.encode()).hexdigest(), text, metadata)
        try:
            check_document(document)
        except InvalidInputError as error:
            return Rejected(where, error.message, error.next_step)
        except RecursionError:
            return Rejected(
                where, "The fields are too deeply nested.", "Flatten them, or leave them out."
            )
        return where, document

    def _refuse_other_use_of_id(self, where: str, document: Document) -> Document | Rejected:
        content = json.dumps([document.text, document.metadata], ensure_ascii=False, sort_keys=True)
        if self._duplicates.is_same(document.id, content):
            return document
        return Rejected(
            where,
            f"The id {document.id!r} was used before in this source, with another text or other fields.",
            f"Give each document its own id, or name another field with --id-field (now {self.id_field!r}).",
        )


def _plain(value: Any) -> Any:
    """A Parquet value as JSON has it: dates as ISO 8601, decimals as text, bytes refused later on."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, date | dt_time):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal | UUID) else value


def _text_files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in TEXT_SUFFIXES:
                yield Path(where, name)


def _unreadable(where: str, error: BaseException) -> Rejected:
    return Rejected(
        where,
        f"The rest of the file can't be read: {error}.",
        "The file is damaged: fetch or pack it again.",
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
