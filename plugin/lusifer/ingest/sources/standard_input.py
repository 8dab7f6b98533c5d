"""Reads JSON lines or CSV from standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lusifer.ingest.encoding import Utf8Stream
from lusifer.ingest.sources.csv_file import CsvReader
from lusifer.ingest.sources.jsonl import read_json_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lusifer.ingest.sources.base import DocumentBuilder, Record

__all__ = ["StandardInputReader"]

_NAME = "standard input"


class StandardInputReader:
    """Reads standard input, whose size is unknown: CSV unless it begins as JSON does."""

    fraction = None

    def __init__(self, builder: DocumentBuilder) -> None:
        self.builder = builder
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[Record]:
        """Yield the records that have not been read yet.

        Raises:
            InvalidInputError: A CSV has no header that can be used.
        """
        text, encoding = Utf8Stream.buffered(sys.stdin.buffer, wait=False)
        self.notes = []
        if encoding not in {"utf-8", "utf-8-sig"}:
            self.notes.append(f"{_NAME} was read as {encoding}.")
        beginning = text.peek().lstrip()[:1]
        if beginning in {b"{", b"[", b""}:
            yield from read_json_lines(text, _NAME, self.builder)
            return
        table = CsvReader(Path(_NAME), self.builder)
        yield from table.read(text, _NAME)
        self.notes += table.notes
