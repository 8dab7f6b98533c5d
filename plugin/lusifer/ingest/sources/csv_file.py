"""Reads CSV and TSV files with a header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from io import StringIO
from itertools import islice, zip_longest
from typing import IO, TYPE_CHECKING, NoReturn

from lusifer.errors import InvalidInputError
from lusifer.ingest.encoding import HEAD_BYTES, Utf8Stream
from lusifer.ingest.line_reader import MAXIMUM_LINE_BYTES
from lusifer.ingest.sources.base import (
    UNREADABLE,
    FileReader,
    Record,
    Rejected,
    missing_column,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.ingest.sources.base import DocumentBuilder

__all__ = ["CsvReader", "TsvReader"]


_SEPARATORS = (",", ";", "\t", "|")


class CsvReader(FileReader):
    """Reads a file ``.csv``, whose first line names the columns."""

    separator = ","
    """Character between two columns, unless the file shows another one."""

    def __init__(self, path: Path, builder: DocumentBuilder, name: str = "") -> None:
        super().__init__(path, builder, name)
        self._dropped = False
        self._without_name: set[str] = set()

    def read(self, file: IO[bytes], name: str) -> Iterator[Record]:
        """Yield a record for each row of an open file.

        Raises:
            InvalidInputError: The header can't be read, or does not name the column with the text.
        """
        csv.field_size_limit(MAXIMUM_LINE_BYTES + 1)
        buffered = file if isinstance(file, io.BufferedReader) else Utf8Stream.buffered(file)[0]
        try:
            head = buffered.peek(HEAD_BYTES)[:HEAD_BYTES].decode("utf-8", "replace")
        except UNREADABLE as error:
            yield unreadable(f"{name} at its beginning", error)
            return
        # Undecodable bytes become lone surrogates, which the builder refuses with their line.
        text = io.TextIOWrapper(buffered, encoding="utf-8", errors="surrogateescape", newline="")
        try:
            separator = self.separator
            if named := re.match(r'"?sep=(.)"?\r?\n', head):
                # Excel's own line before the header.
                separator = named[1]
                text.readline()
            else:
                separator = _separator_of(head, self.separator, self.builder.text_field)
            if separator != self.separator:
                self.notes.append(f"{name}: its columns are separated by {separator!r}.")
            yield from self._rows(text, name, separator, skipped=bool(named))
        finally:
            text.detach()

    def _rows(self, text: IO[str], name: str, separator: str, *, skipped: bool) -> Iterator[Record]:
        # Strict, because otherwise a quote that is never closed swallows the rest of the file as
        # one text.
        lines = _BoundedLines(text, MAXIMUM_LINE_BYTES)
        rows = csv.reader(lines, delimiter=separator, strict=True)
        header: list[str] | None = None
        short = 0
        while True:
            lines.start_row()
            start = rows.line_num + 1 + skipped
            where = f"{name} line {start}"
            try:
                row = next(rows, None)
            except (csv.Error, _TooLongError) as error:
                if header is None:
                    self._refuse_header(name, str(error))
                if rows.line_num + skipped > start:
                    where += f" to {rows.line_num + skipped}"
                yield Rejected(
                    where, f"The row is not CSV: {error}.", "Check the quotes in this row."
                )
                continue
            except UNREADABLE as error:
                yield unreadable(f"{name} after line {rows.line_num}", error)
                return
            if row is None:
                break
            if not row:
                continue
            if header is None:
                header = self._checked_header(row, name)
            elif any(surplus := row[len(header) :]):
                reason = f"The row has {len(row)} columns, the header {len(header)}."
                yield Rejected(where, reason, "Put quotes around fields that hold the separator.")
            else:
                self._dropped |= bool(surplus)
                short += len(row) < len(header)
                cells = dict(zip_longest(header, row[: len(header)], fillvalue=""))
                yield self.builder.from_fields(self._named(cells), where)
        if header is None:
            self._refuse_header(name, "it is empty")
        if self._dropped:
            self.notes.append(f"{name}: empty cells after the last named column were dropped.")
        if short:
            self.notes.append(
                f"{name}: {short:,} rows have fewer cells than the header; the missing ones are "
                "empty."
            )

    def _named(self, cells: dict[str, str]) -> dict[str, str]:
        """Return the cells without the empty ones of columns that have no name."""
        return {
            name: cell for name, cell in cells.items() if cell or name not in self._without_name
        }

    def _checked_header(self, row: list[str], name: str) -> list[str]:
        named = len(row)
        while named and not row[named - 1].strip():
            named -= 1
        self._dropped = named < len(row)
        row = [each if each.strip() else f"column {i}" for i, each in enumerate(row[:named], 1)]
        self._without_name = {each for i, each in enumerate(row, 1) if each == f"column {i}"}
        twice = sorted(column for column, count in Counter(row).items() if count > 1)
        if twice:
            self._refuse_header(name, f"it names the column {twice[0]!r} twice")
        text_field = self.builder.text_field
        if not self.builder.has_text(row):
            raise missing_column(name, text_field, map(repr, row))
        return row

    def _refuse_header(self, name: str, reason: str) -> NoReturn:
        raise InvalidInputError(
            f"{name} has no header that can be read: {reason}.",
            next_step="Write the names of the columns in the first line, one of them "
            f"{self.builder.text_field!r}.",
        )


def _separator_of(head: str, usual: str, text_field: str) -> str:
    """Return the separator by which the header names the text, and the rows fit the header.

    Args:
        head: Beginning of the file.
        usual: Separator that counts unless another one fits better.
        text_field: Column that the header should have.
    """

    def fit(separator: str) -> tuple[bool, bool, float]:
        try:
            rows = [
                row for row in islice(csv.reader(StringIO(head), delimiter=separator), 20) if row
            ]
        except csv.Error:
            return False, False, 0.0
        if not rows:
            return False, False, 0.0
        header = rows[0]
        # The last row may be cut.
        same = sum(len(row) == len(header) for row in rows[1:-1])
        return text_field in header, len(header) > 1, same / max(1, len(rows) - 2)

    return max((usual, *(each for each in _SEPARATORS if each != usual)), key=fit)


class _TooLongError(Exception):
    """A row has more characters than are read."""


class _BoundedLines:
    """Lines of a text for the CSV parser, which would hold a row of any length.

    Args:
        text: Opened with ``newline=""``.
        maximum: Most characters of one row, over all its lines.
    """

    def __init__(self, text: IO[str], maximum: int) -> None:
        self._text = text
        self._maximum = maximum
        self._left = maximum

    def start_row(self) -> None:
        """Begin a row, whose characters are counted from here."""
        self._left = self._maximum

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._left + 1)
        if not line:
            raise StopIteration
        self._left -= len(line)
        if self._left >= 0:
            return line
        while line and not line.endswith(("\n", "\r")):
            line = self._text.readline(self._maximum)
        # The parser begins its next row at the next line.
        raise _TooLongError(f"it has more than {self._maximum} characters")


class TsvReader(CsvReader):
    """Reads a file ``.tsv``, whose columns are separated by tabs."""

    separator = "\t"
